/** What happened, the newest first; a click shows the moment everywhere. */

import type { BalancerEvent } from "../model/contract.ts";
import type { View } from "../model/desk.ts";
import { formatClock } from "../model/format.ts";
import { secondOf, signOf } from "../model/timeline.ts";
import { EVENT_KINDS, toneOfEvent } from "../model/words.ts";
import { make, panel, setAttribute } from "./dom.ts";
import type { Host, Panel } from "./panel.ts";

const SHOWN_MAX = 100;

/** Makes the list. */
export function eventsPanel(host: Host): Panel {
  const list = make("ol", { class: "events", tabindex: 0, "aria-label": "Events, the newest first" });
  const none = make("p", { class: "none", text: "Nothing has happened in the last 15 minutes." });
  const { section } = panel("events", "Events", "newest first", list, none);
  let shown = "";
  return {
    element: section,
    draw: ({ events, at, isNow }: View) => {
      const last = events.slice(-SHOWN_MAX).reverse();
      const key = last.map(({ at, number }) => `${at} ${number}`).join();
      if (key !== shown) list.replaceChildren(...last.map((event) => entry(event, host)));
      shown = key;
      none.hidden = last.length > 0;
      list.hidden = last.length === 0;
      for (const [i, event] of last.entries()) {
        setAttribute(list.children[i], "data-later", !isNow && secondOf(event) > at + 1 ? "" : null);
      }
    },
  };
}

function entry(event: BalancerEvent, host: Host): HTMLElement {
  const { word } = EVENT_KINDS[event.kind] ?? EVENT_KINDS.daemon;
  const second = Math.floor(secondOf(event));
  const time = make("button", {
    type: "button",
    class: "when",
    text: formatClock(second),
    title: "Show this moment",
    on: { click: () => host.choose({ moment: second + 1 }) },
  });
  return make(
    "li",
    { "data-tone": toneOfEvent(event) },
    time,
    make("span", { class: "sign", title: word, "aria-label": word, role: "img", text: signOf(event) }),
    make("span", { class: "text", text: event.text }),
    event.who === null ? null : make("span", { class: "by", text: event.who }),
  );
}
