/**
 * The charts over one time axis: flow lanes, fates, events. A moment that is picked here, by pointer or by keys, is shown by the
 * whole page. The charts are drawn when something has changed; the line under the pointer is on a canvas of its own.
 */

import type { View } from "../model/desk.ts";
import { fateBars } from "../model/fate_bars.ts";
import { type Lane, placeLanes } from "../model/lanes.ts";
import { describeMoment } from "../model/moment.ts";
import { secondAt, type TimeAxis, WINDOWS } from "../model/time_axis.ts";
import { placeMarks } from "../model/timeline.ts";
import { FATE_CLASS_NAMES, FATE_CLASSES, MOVES } from "../model/words.ts";
import { MOVED_STATES } from "../model/history.ts";
import { choice, make, panel, setAttribute, setText } from "./dom.ts";
import { drawLanes, type LaneFacts } from "./draw_lanes.ts";
import { drawFates, drawMarks, drawMoment, drawTimes } from "./draw_strips.ts";
import type { Host, Panel } from "./panel.ts";
import type { Paint } from "./paint.ts";
import { Surface } from "./surface.ts";

const FATES_PX = 78;
const MARKS_PX = 60;
const TIMES_PX = 24;
const GAP_PX = 14;
const LEFT_PX = 152;
const RIGHT_PX = 58;
/** Below this width names stand in their lanes. */
const NARROW_PX = 620;
const LANE_ROOM_PX = 24;
const LANES_MAX = 14;
/** Empty time at the right edge, as a part of what is shown. */
const AHEAD = 0.045;

/** Draws all charts of the time axis in a place of this size. Returns the axis and where it ends. */
export function drawCharts(
  pen: CanvasRenderingContext2D,
  paint: Paint,
  view: View,
  width: number,
  height: number,
): { axis: TimeAxis; bottom: number } {
  const { history, from, to } = view;
  const ahead = Math.ceil((to - from) * AHEAD); // what has just moved needs room to arrive
  const axis: TimeAxis = {
    from,
    to: to + ahead,
    left: width < NARROW_PX ? 6 : LEFT_PX,
    right: width - (width < NARROW_PX ? 46 : RIGHT_PX),
  };
  const bottom = height - TIMES_PX;
  const lanesHeight = bottom - FATES_PX - MARKS_PX - 2 * GAP_PX;
  const lanesMax = Math.max(3, Math.min(LANES_MAX, Math.floor(lanesHeight / LANE_ROOM_PX)));
  drawTimes(pen, paint, axis, 0, bottom);
  const lanes = placeLanes({ history, axis, top: 0, height: lanesHeight, lanesMax });
  const states = new Map(view.rows.map(({ server, state }) => [server, state]));
  const factsOf = ({ server, open }: Lane): LaneFacts => ({
    state: server === null ? undefined : states.get(server),
    open: server === null ? open : history.valueAt(server, "open", view.at),
    colour: server === null ? paint.faint : paint.servers[view.colours.of(server)],
  });
  drawLanes(pen, paint, lanes, axis, factsOf);
  drawFates(pen, paint, fateBars(history, axis), axis, { top: lanesHeight + GAP_PX, height: FATES_PX });
  drawMarks(pen, paint, placeMarks(view.events, axis), axis, { top: lanesHeight + FATES_PX + 2 * GAP_PX, height: MARKS_PX });
  return { axis, bottom };
}

/** Makes it. */
export function timePanel(host: Host): Panel {
  const charts = new Surface("charts", () => host.redraw());
  const cursor = new Surface("cursor", () => host.redraw());
  const place = make("div", {
    class: "charts-place",
    role: "slider",
    tabindex: 0,
    "aria-label": "Moment that the page shows. Left and right: a second; page up and down: a minute; End or Escape: now",
  });
  place.append(charts.canvas, cursor.canvas);
  const says = make("p", { class: "says" });
  const balance = make("p", { class: "balance" });
  const windows = choice("Time shown", WINDOWS.map(({ seconds, word }) => [seconds, word]), (window) => host.choose({ window }));
  const { section, aside } = panel("time", "Flow", "a lane per server, as wide as its connections", place, says, legend(), balance);
  aside.append(windows.group);
  let axis: TimeAxis | undefined;
  let bottom = 0;
  let hover: number | null = null;
  let last: { view: View; paint: Paint } | undefined;
  const drawCursor = () => {
    if (axis === undefined || last === undefined) return;
    const { view, paint } = last;
    const pen = cursor.begin();
    if (pen === undefined) return;
    if (!view.isNow && view.at >= axis.from) drawMoment(pen, paint, axis, view.at, bottom, true);
    if (hover !== null) drawMoment(pen, paint, axis, hover, bottom, false);
    const shown = hover ?? view.at;
    setText(says, describeMoment(view.history, view.events, shown));
    setAttribute(place, "aria-valuetext", describeMoment(view.history, view.events, view.at));
  };
  place.addEventListener("pointermove", (event) => {
    hover = axis === undefined || last === undefined ? null : Math.min(last.view.to, secondAt(axis, event.offsetX));
    drawCursor();
  });
  place.addEventListener("pointerleave", () => {
    hover = null;
    drawCursor();
  });
  place.addEventListener("click", (event) => {
    if (axis !== undefined && last !== undefined) pick(host, secondAt(axis, event.offsetX), last.view);
  });
  place.addEventListener("keydown", (event) => {
    const step =
      { ArrowLeft: -1, ArrowRight: 1, PageUp: -60, PageDown: 60, Home: -Infinity, End: Infinity, Escape: Infinity }[event.key];
    if (step === undefined || axis === undefined || last === undefined) return;
    event.preventDefault();
    pick(host, last.view.at + step, last.view);
  });
  return {
    element: section,
    isPicture: true,
    draw: (view, paint) => {
      last = { view, paint };
      windows.show(view.choices.window);
      setAttribute(place, "aria-valuemin", String(view.from));
      setAttribute(place, "aria-valuemax", String(view.to));
      setAttribute(place, "aria-valuenow", String(view.at));
      const pen = charts.begin();
      if (pen !== undefined && view.to > 0) ({ axis, bottom } = drawCharts(pen, paint, view, charts.width, charts.height));
      drawCursor();
      const { text, kind } = view.balance;
      const verdict = kind === "zero"
        ? "✔"
        : kind === "moving"
        ? "(connections end while they are counted)"
        : "✖ connections are missing";
      setText(balance, `${text} ${verdict}`);
      setAttribute(balance, "data-tone", kind === "wrong" ? "bad" : kind === "zero" ? "good" : null);
    },
  };
}

/** The newest second is now: there the page goes on with the time. */
function pick(host: Host, second: number, { from, to }: View): void {
  host.choose({ moment: second >= to ? null : Math.max(from, second) });
}

function legend(): HTMLElement {
  const entry = (className: string, text: string, help: string) =>
    make("li", { title: help }, make("i", { class: className }), text);
  const moves = MOVED_STATES.map((state) => entry(`k-${state}`, state, `moved: ${MOVES[state].help}`));
  const fates = FATE_CLASS_NAMES.map((name) => entry(`k-${name}`, FATE_CLASSES[name].word, `ended: ${FATE_CLASSES[name].word}`));
  return make(
    "div",
    { class: "legend" },
    make("ul", { "aria-label": "Moved connections" }, make("li", { class: "of", text: "Moved while" }), ...moves),
    make("ul", { "aria-label": "How connections ended" }, make("li", { class: "of", text: "Ended" }), ...fates),
  );
}
