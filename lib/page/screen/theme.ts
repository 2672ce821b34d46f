/** Light or dark: as the system says, or as the person has said in this browser. */

import { make, setText } from "./dom.ts";

const KEY = "balancer-theme";
const THEMES = ["system", "light", "dark"] as const;
type Theme = typeof THEMES[number];
const SIGNS: Readonly<Record<Theme, string>> = { system: "◐", light: "○", dark: "●" };

/** A button that goes through the themes; `onChange` is called after each change, also one of the system's. */
export function themeButton(onChange: () => void): HTMLButtonElement {
  const system = matchMedia("(prefers-color-scheme: dark)");
  let theme = readTheme();
  const set = (next: Theme) => {
    theme = next;
    document.documentElement.dataset.theme = theme === "system" ? system.matches ? "dark" : "light" : theme;
    writeTheme(theme);
    setText(button, `${SIGNS[theme]} ${theme}`);
    button.setAttribute("aria-label", `Colours: ${theme}. Change`);
    onChange();
  };
  const button = make("button", {
    type: "button",
    class: "theme",
    on: { click: () => set(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]) },
  });
  set(theme);
  system.addEventListener("change", () => set(theme));
  return button;
}

/** A browser may forbid pages to keep anything. */
function readTheme(): Theme {
  try {
    return THEMES.find((theme) => theme === localStorage.getItem(KEY)) ?? "system";
  } catch {
    return "system";
  }
}

function writeTheme(theme: Theme): void {
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // it holds until the page is closed
  }
}
