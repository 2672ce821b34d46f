/** Draws what shares the time axis with the lanes: fates minute by minute, events, the times themselves, and the chosen moment. */

import type { FateBar } from "../model/fate_bars.ts";
import { formatClock, formatMinute, formatShort } from "../model/format.ts";
import { ticksOf, type TimeAxis, xOf } from "../model/time_axis.ts";
import type { Mark } from "../model/timeline.ts";
import { EVENT_ROWS } from "../model/words.ts";
import { type Paint, setFont } from "./paint.ts";

/** Where a strip is. */
export interface Strip {
  readonly top: number;
  readonly height: number;
}

const BAR_GAP_PX = 3;
/** What hurts clients is seen however few they are. */
const BAD_MIN_PX = 3;

/** Draws a stacked bar for each minute. */
export function drawFates(
  pen: CanvasRenderingContext2D,
  paint: Paint,
  bars: readonly FateBar[],
  axis: TimeAxis,
  { top, height }: Strip,
): void {
  drawTitle(pen, paint, "ended", "per minute", axis, top);
  const peak = Math.max(1, ...bars.map(({ total }) => total));
  const room = height - 14;
  for (const { from, to, parts, bad } of bars) {
    const left = Math.max(axis.left, xOf(axis, from)) + BAR_GAP_PX / 2;
    const right = Math.min(axis.right, xOf(axis, to)) - BAR_GAP_PX / 2;
    if (right - left < 1) continue;
    let y = top + height;
    for (const { name, count } of parts) {
      const isBad = paint.fates[name] === paint.tones.bad || name === "unserved" || name === "fault";
      const tall = Math.max(isBad ? BAD_MIN_PX : 0, count / peak * room);
      pen.fillStyle = paint.fates[name];
      pen.fillRect(left, y - tall, right - left, tall);
      y -= tall;
    }
    if (bad > 0) {
      setFont(pen, paint, 10.5, 600);
      pen.textAlign = "center";
      pen.textBaseline = "bottom";
      pen.fillStyle = paint.tones.bad;
      pen.fillText(`✖ ${formatShort(bad)}`, (left + right) / 2, y - 1);
    }
  }
  rule(pen, paint, axis, top + height);
  setFont(pen, paint, 11);
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  pen.fillStyle = paint.dim;
  pen.fillText(formatShort(peak), axis.right + 8, top + 14);
}

/** Draws a sign for each mark, on a line for each kind of event. */
export function drawMarks(
  pen: CanvasRenderingContext2D,
  paint: Paint,
  marks: readonly Mark[],
  axis: TimeAxis,
  { top, height }: Strip,
): void {
  const rowHeight = height / EVENT_ROWS.length;
  pen.textBaseline = "middle";
  for (const [row, word] of EVENT_ROWS.entries()) {
    const y = top + rowHeight * (row + 0.5);
    if (axis.left >= 90) {
      setFont(pen, paint, 11);
      pen.textAlign = "left";
      pen.fillStyle = paint.dim;
      pen.fillText(word, 10, y);
    }
    pen.strokeStyle = paint.line;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(axis.left, Math.round(y) + 0.5);
    pen.lineTo(axis.right, Math.round(y) + 0.5);
    pen.stroke();
  }
  pen.textAlign = "center";
  for (const { x, row, sign, tone, events } of marks) {
    const y = top + rowHeight * (row + 0.5);
    setFont(pen, paint, 13);
    pen.strokeStyle = paint.panel;
    pen.lineWidth = 5;
    pen.strokeText(sign, x, y);
    pen.fillStyle = paint.tones[tone];
    pen.fillText(sign, x, y);
    if (events.length === 1) continue;
    setFont(pen, paint, 9.5, 600);
    pen.fillStyle = paint.dim;
    pen.fillText(String(events.length), x + 11, y - 3);
  }
}

/** Draws the times below everything, and faint lines up through all strips. */
export function drawTimes(pen: CanvasRenderingContext2D, paint: Paint, axis: TimeAxis, top: number, bottom: number): void {
  const ticks = ticksOf(axis);
  const isFine = ticks.length > 1 && ticks[1] - ticks[0] < 60;
  setFont(pen, paint, 11);
  pen.textAlign = "center";
  pen.textBaseline = "top";
  pen.lineWidth = 1;
  for (const tick of ticks) {
    const x = Math.round(xOf(axis, tick)) + 0.5;
    pen.strokeStyle = paint.line;
    pen.globalAlpha = 0.6;
    pen.beginPath();
    pen.moveTo(x, top);
    pen.lineTo(x, bottom + 3);
    pen.stroke();
    pen.globalAlpha = 1;
    pen.fillStyle = paint.dim;
    if (x > axis.left + 16 && x < axis.right - 16) pen.fillText(isFine ? formatClock(tick) : formatMinute(tick), x, bottom + 6);
  }
}

/** Draws the chosen moment, and the one under the pointer, through all strips. */
export function drawMoment(
  pen: CanvasRenderingContext2D,
  paint: Paint,
  axis: TimeAxis,
  second: number,
  bottom: number,
  isChosen: boolean,
): void {
  const x = Math.round(xOf(axis, second)) + 0.5;
  pen.strokeStyle = isChosen ? paint.ink : paint.dim;
  pen.lineWidth = isChosen ? 1.5 : 1;
  pen.setLineDash(isChosen ? [] : [3, 3]);
  pen.beginPath();
  pen.moveTo(x, 0);
  pen.lineTo(x, bottom);
  pen.stroke();
  pen.setLineDash([]);
  setFont(pen, paint, 11, 600);
  const text = formatClock(second);
  const half = pen.measureText(text).width / 2 + 5;
  const middle = Math.min(axis.right - half, Math.max(axis.left + half, x));
  pen.fillStyle = isChosen ? paint.ink : paint.dim;
  pen.beginPath();
  pen.roundRect(middle - half, bottom + 2, 2 * half, 17, 4);
  pen.fill();
  pen.fillStyle = paint.panel;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(text, middle, bottom + 11);
}

function drawTitle(pen: CanvasRenderingContext2D, paint: Paint, title: string, detail: string, axis: TimeAxis, top: number): void {
  if (axis.left < 90) return;
  pen.textAlign = "left";
  pen.textBaseline = "top";
  pen.fillStyle = paint.dim;
  setFont(pen, paint, 11);
  pen.fillText(title, 10, top + 14);
  pen.fillText(detail, 10, top + 28);
}

function rule(pen: CanvasRenderingContext2D, paint: Paint, axis: TimeAxis, y: number): void {
  pen.strokeStyle = paint.line;
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(axis.left, Math.round(y) + 0.5);
  pen.lineTo(axis.right, Math.round(y) + 0.5);
  pen.stroke();
}
