/** Draws the flow lanes on a canvas. */

import { formatCount, formatShort } from "../model/format.ts";
import { MOVED_STATES } from "../model/history.ts";
import type { Burst } from "../model/bursts.ts";
import type { Fall, Lane, Lanes, Ribbon } from "../model/lanes.ts";
import type { TimeAxis } from "../model/time_axis.ts";
import type { ServerState } from "../model/contract.ts";
import { STATES } from "../model/words.ts";
import { hatch, type Paint, setFont } from "./paint.ts";

/** What a lane's label says beside its name. */
export interface LaneFacts {
  readonly state: ServerState | undefined;
  readonly open: number;
  readonly colour: string;
}

const BAND_ALPHA = 0.8;
const RIBBON_ALPHA = 0.9;
const FALL_PX = 22;
/** So many moved connections deserve a line by state. */
const DETAIL_MIN = 20;
/** Ends of bands are cut where nothing was known. */
const LABEL_PX = 12;
/** A narrow screen has no room beside the lanes. */
const NARROW_LEFT_PX = 90;

/** Draws everything between the axis' edges, names at the left and open connections at the right of them. */
export function drawLanes(
  pen: CanvasRenderingContext2D,
  paint: Paint,
  { lanes, ribbons, falls, bursts }: Lanes,
  axis: TimeAxis,
  factsOf: (lane: Lane) => LaneFacts,
): void {
  const hatched = hatch(pen, paint.line);
  const facts = lanes.map(factsOf);
  for (const [i, lane] of lanes.entries()) {
    drawOutages(pen, paint, lane, hatched);
    drawBand(pen, lane, facts[i].colour);
  }
  for (const ribbon of ribbons.toSorted((a, b) => b.count - a.count)) {
    drawRibbon(pen, ribbon, paint.moves[ribbon.state], facts[ribbon.to].colour);
  }
  for (const fall of falls) drawFall(pen, paint, fall);
  for (const burst of bursts) drawBurst(pen, paint, burst, lanes[burst.lane].middle, axis);
  for (const [i, lane] of lanes.entries()) drawLabel(pen, paint, lane, facts[i], axis);
}

function drawOutages(
  pen: CanvasRenderingContext2D,
  paint: Paint,
  { middle, height, outages }: Lane,
  hatched: CanvasPattern | string,
): void {
  for (const { left, right, isDown } of outages) {
    pen.fillStyle = hatched;
    pen.fillRect(left, middle - height / 2 + 3, right - left, height - 6);
    pen.fillStyle = isDown ? paint.tones.bad : paint.tones.calm;
    pen.fillRect(left, middle - height / 2 + 3, 1.5, height - 6);
  }
}

function drawBand(pen: CanvasRenderingContext2D, { xs, halves, middle }: Lane, colour: string): void {
  pen.globalAlpha = BAND_ALPHA;
  pen.fillStyle = colour;
  for (let from = 0; from < xs.length;) {
    let to = from;
    while (to < xs.length && halves[to] > 0) to++;
    if (to > from) fillBand(pen, xs, halves, middle, from, to);
    from = to + 1;
  }
  pen.globalAlpha = 1;
}

function fillBand(
  pen: CanvasRenderingContext2D,
  xs: readonly number[],
  halves: readonly number[],
  middle: number,
  from: number,
  to: number,
): void {
  pen.beginPath();
  pen.moveTo(xs[from], middle - halves[from]);
  for (let i = from + 1; i < to; i++) pen.lineTo(xs[i], middle - halves[i]);
  for (let i = to - 1; i >= from; i--) pen.lineTo(xs[i], middle + halves[i]);
  pen.closePath();
  pen.fill();
}

/** In the colour of its state, until it joins the lane that took it. */
function drawRibbon(pen: CanvasRenderingContext2D, { start, end, width }: Ribbon, colour: string, taker: string): void {
  const half = width / 2;
  const bend = (end.x - start.x) / 2;
  pen.globalAlpha = RIBBON_ALPHA;
  const fading = pen.createLinearGradient(start.x, 0, end.x, 0);
  fading.addColorStop(0, colour);
  fading.addColorStop(0.6, colour);
  fading.addColorStop(1, taker);
  pen.fillStyle = fading;
  pen.beginPath();
  pen.moveTo(start.x, start.y - half);
  pen.bezierCurveTo(start.x + bend, start.y - half, end.x - bend, end.y - half, end.x, end.y - half);
  pen.lineTo(end.x, end.y + half);
  pen.bezierCurveTo(end.x - bend, end.y + half, start.x + bend, start.y + half, start.x, start.y + half);
  pen.closePath();
  pen.fill();
  pen.globalAlpha = 1;
}

/** What was reset falls out of the band and ends in a cross. */
function drawFall(pen: CanvasRenderingContext2D, paint: Paint, { x, y, width }: Fall): void {
  pen.fillStyle = paint.tones.bad;
  pen.beginPath();
  pen.moveTo(x, y - width);
  pen.bezierCurveTo(x + 8, y - width, x + 14, y + 2, x + 15, y + FALL_PX - 8);
  pen.lineTo(x + 11, y + FALL_PX - 8);
  pen.bezierCurveTo(x + 9, y + 4, x + 6, y, x, y);
  pen.closePath();
  pen.fill();
  pen.strokeStyle = paint.tones.bad;
  pen.lineWidth = 1.8;
  pen.beginPath();
  for (const slope of [1, -1]) {
    pen.moveTo(x + 9.5, y + FALL_PX - 3.5 * slope - 3);
    pen.lineTo(x + 16.5, y + FALL_PX + 3.5 * slope - 3);
  }
  pen.stroke();
}

function drawBurst(
  pen: CanvasRenderingContext2D,
  paint: Paint,
  { x, moved, states, reset }: Burst,
  middle: number,
  axis: TimeAxis,
): void {
  const isNarrow = axis.left < NARROW_LEFT_PX;
  const detail = moved < DETAIL_MIN || isNarrow
    ? ""
    : MOVED_STATES.toReversed().flatMap((state) => states[state] > 0 ? [`${formatCount(states[state])} ${state}`] : []).join(" · ");
  const y = isNarrow ? middle + 8 : detail === "" ? middle : middle - 6.5;
  setFont(pen, paint, 11.5, 600);
  pen.textBaseline = "middle";
  const movedText = moved > 0 ? `${formatCount(moved)} moved` : "";
  const resetText = reset > 0 ? `${movedText === "" ? "" : "  "}✖ ${formatCount(reset)} reset` : "";
  const width = Math.max(pen.measureText(movedText + resetText).width, detail.length * 5.6);
  const fits = x + 54 + width < axis.right;
  const left = fits ? x + 54 : Math.max(axis.left, x - width - 8);
  pen.fillStyle = paint.panel;
  pen.globalAlpha = 0.82;
  pen.beginPath();
  if (detail === "") pen.roundRect(left - 6, y - 9, width + 12, 18, 6);
  else pen.roundRect(left - 6, middle - 15, width + 12, 30, 6);
  pen.fill();
  pen.globalAlpha = 1;
  write(pen, paint, movedText, left, y, paint.ink);
  write(pen, paint, resetText, left + pen.measureText(movedText).width, y, paint.tones.bad);
  if (detail === "") return;
  setFont(pen, paint, 10.5);
  write(pen, paint, detail, left, middle + 7, paint.dim);
}

/** Text that stays readable on whatever is below. */
function write(pen: CanvasRenderingContext2D, paint: Paint, text: string, x: number, y: number, colour: string): void {
  pen.textAlign = "left";
  pen.lineJoin = "round";
  pen.strokeStyle = paint.panel;
  pen.lineWidth = 4;
  pen.strokeText(text, x, y);
  pen.fillStyle = colour;
  pen.fillText(text, x, y);
}

function drawLabel(pen: CanvasRenderingContext2D, paint: Paint, lane: Lane, { state, open }: LaneFacts, axis: TimeAxis): void {
  pen.textBaseline = "middle";
  const isInside = axis.left < NARROW_LEFT_PX;
  const y = isInside ? lane.middle - lane.height / 2 + 8 : lane.middle;
  setFont(pen, paint, LABEL_PX, 500);
  let x = isInside ? axis.left + 4 : 10;
  if (state !== undefined) {
    const { sign, tone } = STATES[state];
    write(pen, paint, sign, x, y, paint.tones[tone]);
    x += 16;
  }
  const name = fitted(pen, lane.label, isInside ? axis.right - x : axis.left - x - 8);
  if (isInside) write(pen, paint, name, x, y, paint.ink);
  else {
    pen.textAlign = "left";
    pen.fillStyle = paint.ink;
    pen.fillText(name, x, y);
  }
  setFont(pen, paint, LABEL_PX, 600);
  pen.fillStyle = paint.ink;
  pen.textAlign = "left";
  pen.fillText(formatShort(open), axis.right + 8, lane.middle);
}

function fitted(pen: CanvasRenderingContext2D, text: string, width: number): string {
  if (pen.measureText(text).width <= width) return text;
  let length = text.length;
  while (length > 1 && pen.measureText(`…${text.slice(-length)}`).width > width) length--;
  return `…${text.slice(-length)}`; // addresses differ at their ends
}
