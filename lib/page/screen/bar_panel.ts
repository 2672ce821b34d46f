/** The bar on top: whose page this is, which service, what time is shown, and the page's own settings. */

import type { View } from "../model/desk.ts";
import { formatClock } from "../model/format.ts";
import { make, setAttribute, setOptions, setText } from "./dom.ts";
import type { Host, Panel } from "./panel.ts";
import { themeButton } from "./theme.ts";

/** Makes the bar; `exports` are the ways to take the picture along. */
export function barPanel(host: Host, exports: readonly (readonly [text: string, act: () => void])[]): Panel {
  const name = make("span", { class: "name" });
  const services = make("select", { on: { change: () => host.choose({ service: services.value, moment: null }) } });
  const servicesField = make("label", { class: "service" }, make("span", { class: "unseen", text: "Service" }), services);
  const time = make("span", { class: "time" });
  const now = make("button", {
    type: "button",
    class: "now",
    text: "Back to now",
    on: { click: () => host.choose({ moment: null }) },
  });
  const menu = make(
    "details",
    { class: "menu" },
    make("summary", { text: "Export" }),
    make(
      "div",
      {},
      ...exports.map(([text, act]) =>
        make("button", { type: "button", text, on: { click: () => (act(), menu.removeAttribute("open")) } })
      ),
    ),
  );
  const element = make(
    "header",
    { class: "bar" },
    logo(),
    make("h1", {}, "balancer ", name),
    servicesField,
    make("div", { class: "clock", role: "status" }, time, now),
    menu,
    themeButton(() => host.redraw()),
  );
  return {
    element,
    draw: ({ status, services: list, choices, at, isNow }: View) => {
      setText(name, `${status.name === "default" ? "" : `${status.name} `}on ${status.address}`);
      servicesField.hidden = list.length < 2;
      setOptions(services, list.map(({ service }) => [service, service]));
      services.value = choices.service;
      const isLost = host.desk.trouble !== null;
      setAttribute(element, "data-time", isLost ? "lost" : isNow ? "now" : "then");
      setText(time, isLost ? "✖ Not connected" : isNow ? "● Live" : `◆ As it was at ${formatClock(at)}`);
      now.hidden = isNow;
    },
  };
}

function logo(): SVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  for (const [name, value] of [["viewBox", "0 0 20 16"], ["aria-hidden", "true"], ["class", "logo"]]) svg.setAttribute(name, value);
  for (const d of ["M1 8h5c6 0 4-6 12-6", "M6 8h12", "M6 8c6 0 4 6 12 6"]) {
    const path = document.createElementNS(space, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}
