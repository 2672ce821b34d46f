/** The ring, and the question which server a client gets. */

import type { Explanation } from "../model/contract.ts";
import type { View } from "../model/desk.ts";
import { formatPercent } from "../model/format.ts";
import { changedArcs, needleOf, outlinesOf, ownedArcs, type Slice, sliceAt, slicesOf, takeoversOf } from "../model/ring_places.ts";
import { make, panel, setAttribute, setText } from "./dom.ts";
import { drawRing, type RingDrawing } from "./draw_ring.ts";
import type { Host, Panel } from "./panel.ts";
import type { Paint } from "./paint.ts";
import { Surface } from "./surface.ts";

/** What the ring draws of a view. */
export function ringDrawing(
  { rows, ring, explanation, foresight, isNow, choices, history, at }: View,
  slices: readonly Slice[],
): RingDrawing {
  const outlines = foresight === null ? { gives: [], takes: [] } : outlinesOf(foresight.plan, slices);
  return {
    arcs: ring === null ? [] : ownedArcs(ring.circle),
    slices,
    takeovers: isNow && ring !== null ? takeoversOf(ring.takenOver, slices) : [],
    needle: explanation === null ? null : needleOf(explanation),
    changed: foresight?.ring ? changedArcs(foresight.ring) : [],
    ...outlines,
    open: history.openAt(at) || rows.reduce((sum, { open }) => sum + (open || 0), 0),
    caption: "open connections",
    lit: choices.lit,
  };
}

/** Makes it. */
export function ringPanel(host: Host): Panel {
  const surface = new Surface("ring", () => host.redraw());
  let slices: readonly Slice[] = [];
  surface.canvas.setAttribute("role", "img");
  const point = (event: PointerEvent) => {
    const x = event.offsetX - surface.width / 2;
    const y = event.offsetY - surface.height / 2;
    const turn = (Math.atan2(y, x) / (2 * Math.PI) + 1.25) % 1;
    const isOn = Math.hypot(x, y) > Math.min(surface.width, surface.height) * 0.28;
    const lit = isOn ? sliceAt(slices, turn)?.server ?? null : null;
    host.light(lit);
  };
  surface.canvas.addEventListener("pointermove", point);
  surface.canvas.addEventListener("pointerleave", () => host.light(null));
  const client = make("input", {
    type: "text",
    name: "client",
    placeholder: "192.0.2.1",
    autocomplete: "off",
    "aria-label": "Address of a client",
  });
  const answer = make("p", { class: "answer", role: "status" });
  const form = make(
    "form",
    { class: "find", on: { submit: (event) => (event.preventDefault(), explain()) } },
    make("span", { text: "Which server gets" }),
    client,
    make("button", { type: "submit", text: "Find" }),
  );
  const explain = async () => {
    const text = client.value.trim();
    host.desk.explanation = null;
    if (text === "") setText(answer, "");
    else {
      try {
        const explanation = await host.ask<Explanation>("/v1/explain", { service: host.desk.service!, client: text });
        host.desk.explanation = explanation;
        setText(answer, sentenceOf(explanation));
      } catch (error) {
        setText(answer, (error as Error).message);
      }
    }
    host.redraw();
  };
  const hint = make("p", { class: "hint" });
  const { section } = panel(
    "ring",
    "Ring",
    "who owns which clients",
    make("div", { class: "ring-place" }, surface.canvas),
    hint,
    form,
    answer,
  );
  return {
    element: section,
    isLit: true,
    isPicture: true,
    draw: (view: View, paint: Paint) => {
      slices = slicesOf(view.rows);
      const drawing = ringDrawing(view, slices);
      const pen = surface.begin();
      if (pen !== undefined) drawRing(pen, paint, view.colours, drawing, surface.width, surface.height);
      setText(hint, hintOf(view, drawing));
      const label = slices.slice(0, 20).map(({ server, share, state }) => `${server} ${formatPercent(share)} ${state}`).join(", ");
      setAttribute(
        surface.canvas,
        "aria-label",
        `The ring: ${label}${slices.length > 20 ? ` and ${slices.length - 20} more` : ""}`,
      );
    },
  };
}

/** What is pointed at, or what there is to see. */
function hintOf({ rows, choices, ring, isNow }: View, { takeovers, gives, takes }: RingDrawing): string {
  const row = rows.find(({ server }) => server === choices.lit);
  if (row !== undefined) {
    return `${row.server}: ${formatPercent(row.share)} of the clients, ${row.standing}${
      row.reason === null ? "" : `: ${row.reason}`
    }`;
  }
  if (gives.length + takes.length > 0) return "Dashed: clients that the change below would give to others; + gets some.";
  if (takeovers.length > 0) return "Hatched: gets no clients. Arrows: who takes them over.";
  if (ring !== null && ring.policy !== "ring") return `With the policy ${ring.policy} a client has no owner; slices are by weight.`;
  return isNow
    ? "Outside: the circle by owner. Slices: shares, filled by load up to the bound."
    : "As it was then: load and state; shares as now.";
}

/** The explanation in a sentence. */
function sentenceOf({ client, server, order, reason, probe }: Explanation): string {
  if (server === null) return `${client} gets no server: none can take it.`;
  const passed = order.filter(({ verdict }) => verdict === "passed over");
  const why = passed.length === 0
    ? ""
    : ` Passed over: ${passed.map(({ server, why }) => `${server}, because ${why}`).join("; ")}.`;
  const by = reason ?? (probe === null ? "" : `its probe ${probe} of 16 is nearest to a point of it`);
  return `${client} gets ${server}${by === "" || passed.length > 0 ? "" : `: ${by}`}.${why}`;
}
