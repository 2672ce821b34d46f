/** Draws the ring on a canvas. Turns begin at the top and go clockwise. */

import { formatCount } from "../model/format.ts";
import { SLICES_APART_MAX } from "../model/ring_places.ts";
import type { Arc, Needle, OwnedArc, Slice, Takeover } from "../model/ring_places.ts";
import type { Colours } from "../model/words.ts";
import { hatch, type Paint, setFont } from "./paint.ts";

/** What is drawn. */
export interface RingDrawing {
  /** Empty where the policy has no owners. */
  readonly arcs: readonly OwnedArc[];
  readonly slices: readonly Slice[];
  readonly takeovers: readonly Takeover[];
  readonly needle: Needle | null;
  /** What a plan would change: of the circle, and of the slices. */
  readonly changed: readonly Arc[];
  readonly gives: readonly Arc[];
  readonly takes: readonly string[];
  /** What stands in the middle. */
  readonly open: number;
  readonly caption: string;
  /** The server under the pointer. */
  readonly lit: string | null;
}

const FULL = 2 * Math.PI;
const LOAD_MAX = 1.25;
/** Slices longer than this have room for a name. */
const NAMED_TURN = 0.05;
/** With more take-overs their heads would be one black ring. */
const HEADS_MAX = 60;

/** Draws it in the middle of a place of this size. */
export function drawRing(
  pen: CanvasRenderingContext2D,
  paint: Paint,
  colours: Colours,
  drawing: RingDrawing,
  width: number,
  height: number,
): void {
  const outer = Math.min(width, height) / 2 - 8;
  const circle = { outer: outer, inner: outer - 9 };
  const slice = { outer: outer - 14, inner: outer * 0.62 };
  pen.save();
  pen.translate(width / 2, height / 2);
  const isMany = drawing.slices.length > SLICES_APART_MAX;
  const colourOf = (server: string | null) => {
    if (server === null) return paint.line;
    return isMany ? server === drawing.lit ? paint.ink : paint.servers[0] : paint.servers[colours.of(server)];
  };
  const ownerOf = (server: string | null) => isMany && server !== drawing.lit ? paint.line : colourOf(server);
  const hatched = hatch(pen, paint.panel);
  drawCircle(pen, drawing, circle, ownerOf);
  const isPlain = ({ state, server }: Slice) => isMany && state === "up" && server !== drawing.lit;
  if (isMany) drawPlain(pen, paint, drawing.slices.filter(isPlain), slice);
  for (const one of drawing.slices) {
    if (!isPlain(one)) drawSlice(pen, paint, one, slice, colourOf(one.server), hatched, isMany ? null : drawing.lit);
  }
  drawTakeovers(pen, paint, drawing.takeovers, slice.inner, colourOf);
  drawPlan(pen, paint, drawing, circle, slice);
  drawCaption(pen, paint, drawing);
  if (drawing.needle !== null) drawNeedle(pen, paint, drawing.needle, drawing.slices, circle, slice, colourOf);
  pen.restore();
}

interface Band {
  readonly outer: number;
  readonly inner: number;
}

function angle(turn: number): number {
  return turn * FULL - FULL / 4;
}

function place(turn: number, radius: number): [x: number, y: number] {
  return [radius * Math.cos(angle(turn)), radius * Math.sin(angle(turn))];
}

function sector(pen: CanvasRenderingContext2D, arc: Arc, band: Band): void {
  pen.beginPath();
  addSector(pen, arc, band);
}

/** Adds a sector to the path: many that are filled at once take a fraction of the time. */
function addSector(pen: CanvasRenderingContext2D, { from, to }: Arc, { outer, inner }: Band): void {
  pen.moveTo(...place(from, outer));
  pen.arc(0, 0, outer, angle(from), angle(to));
  pen.arc(0, 0, inner, angle(to), angle(from), true);
  pen.closePath();
}

function drawCircle(
  pen: CanvasRenderingContext2D,
  { arcs }: RingDrawing,
  band: Band,
  colourOf: (server: string | null) => string,
): void {
  pen.globalAlpha = 0.9;
  for (const [colour, same] of Map.groupBy(arcs, ({ server }) => colourOf(server))) {
    pen.fillStyle = colour;
    pen.beginPath();
    for (const arc of same) addSector(pen, arc, band);
    pen.fill();
  }
  pen.globalAlpha = 1;
}

/** A slice: its length is the share, its filling the load, the line in it the load bound. Hatched where it gets no clients. */
function drawSlice(
  pen: CanvasRenderingContext2D,
  paint: Paint,
  slice: Slice,
  band: Band,
  colour: string,
  hatched: CanvasPattern | string,
  lit: string | null,
): void {
  const depth = band.outer - band.inner;
  const radiusOf = (load: number) => band.inner + depth * load / LOAD_MAX;
  const isOut = slice.state !== "up";
  pen.fillStyle = isOut ? paint.faint : colour;
  pen.globalAlpha = lit !== null && lit !== slice.server ? 0.12 : isOut ? 0.5 : 0.26;
  sector(pen, slice, band);
  pen.fill();
  pen.globalAlpha = lit !== null && lit !== slice.server ? 0.35 : 0.95;
  if (slice.load > 0) {
    pen.fillStyle = colour;
    sector(pen, slice, { outer: radiusOf(slice.load), inner: band.inner });
    pen.fill();
  }
  pen.globalAlpha = 1;
  if (isOut) {
    pen.fillStyle = hatched;
    sector(pen, slice, band);
    pen.fill();
    pen.strokeStyle = slice.state === "down" || slice.state === "resting" ? paint.tones.bad : paint.tones.calm;
    pen.lineWidth = 1.5;
    sector(pen, slice, band);
    pen.stroke();
  } else if (!Number.isNaN(slice.bound) && slice.to - slice.from > 0.01) {
    pen.strokeStyle = paint.ink;
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.arc(0, 0, radiusOf(slice.bound), angle(slice.from), angle(slice.to));
    pen.stroke();
  }
  if (slice.to - slice.from > NAMED_TURN) drawName(pen, paint, slice, (band.outer + band.inner) / 2);
}

/** Slices of one colour, and one line for the bounds of all: each slice is filled up to its own. */
function drawPlain(pen: CanvasRenderingContext2D, paint: Paint, slices: readonly Slice[], band: Band): void {
  const depth = band.outer - band.inner;
  pen.fillStyle = paint.servers[0];
  for (
    const [alpha, outerOf] of [
      [0.26, () => band.outer],
      [0.95, ({ load }: Slice) => band.inner + depth * load / LOAD_MAX],
    ] as const
  ) {
    pen.globalAlpha = alpha;
    pen.beginPath();
    for (const slice of slices) addSector(pen, slice, { outer: outerOf(slice), inner: band.inner });
    pen.fill();
  }
  pen.globalAlpha = 1;
  if (slices.every(({ bound }) => Number.isNaN(bound))) return;
  pen.strokeStyle = paint.dim;
  pen.lineWidth = 1;
  pen.beginPath();
  pen.arc(0, 0, band.inner + (band.outer - band.inner) / LOAD_MAX, 0, FULL);
  pen.stroke();
}

function drawName(pen: CanvasRenderingContext2D, paint: Paint, { name, from, to }: Slice, radius: number): void {
  setFont(pen, paint, 10.5, 600);
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  const [x, y] = place((from + to) / 2, radius);
  pen.lineJoin = "round";
  pen.strokeStyle = paint.panel;
  pen.lineWidth = 3.5;
  pen.strokeText(name, x, y);
  pen.fillStyle = paint.ink;
  pen.fillText(name, x, y);
}

/** Bands across the middle, from the slice that lost its clients to those who take them. */
function drawTakeovers(
  pen: CanvasRenderingContext2D,
  paint: Paint,
  takeovers: readonly Takeover[],
  radius: number,
  colourOf: (server: string | null) => string,
): void {
  for (const { start, end, to } of takeovers) {
    pen.fillStyle = colourOf(to);
    pen.globalAlpha = 0.55;
    const tip = radius - 9;
    pen.beginPath();
    pen.arc(0, 0, radius - 2, angle(start.from), angle(start.to));
    pen.quadraticCurveTo(0, 0, ...place(end.from, tip));
    pen.lineTo(...place((end.from + end.to) / 2, radius - 1)); // the head of the arrow
    pen.lineTo(...place(end.to, tip));
    pen.quadraticCurveTo(0, 0, ...place(start.from, radius - 2));
    pen.closePath();
    pen.fill();
    pen.globalAlpha = 1;
    if (takeovers.length >= HEADS_MAX) continue;
    const middle = (end.from + end.to) / 2;
    pen.fillStyle = paint.ink;
    pen.beginPath();
    pen.moveTo(...place(middle, radius - 1));
    pen.lineTo(...place(middle - 0.012, tip - 1));
    pen.lineTo(...place(middle + 0.012, tip - 1));
    pen.closePath();
    pen.fill();
  }
}

function drawPlan(
  pen: CanvasRenderingContext2D,
  paint: Paint,
  { changed, gives, takes, slices }: RingDrawing,
  circle: Band,
  band: Band,
): void {
  pen.strokeStyle = paint.ink;
  pen.lineWidth = 2;
  for (const { from, to } of changed) {
    pen.beginPath();
    pen.arc(0, 0, circle.outer + 3, angle(from), angle(to));
    pen.stroke();
  }
  pen.setLineDash([4, 3]);
  for (const arc of gives) {
    sector(pen, arc, { outer: band.outer - 1, inner: band.inner + 1 });
    pen.stroke();
  }
  pen.setLineDash([]);
  for (const { server, from, to } of slices) {
    if (!takes.includes(server)) continue;
    setFont(pen, paint, 13, 700);
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillStyle = paint.ink;
    pen.fillText("+", ...place((from + to) / 2, band.inner - 9));
  }
}

function drawCaption(pen: CanvasRenderingContext2D, paint: Paint, { open, caption, takeovers }: RingDrawing): void {
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  const halo = takeovers.length > 0;
  for (
    const [text, size, weight, y, colour] of [
      [formatCount(open), 22, 650, -6, paint.ink],
      [caption, 11, 400, 13, paint.dim],
    ] as const
  ) {
    setFont(pen, paint, size, weight);
    if (halo) {
      pen.lineJoin = "round";
      pen.strokeStyle = paint.panel;
      pen.lineWidth = 5;
      pen.strokeText(text, 0, y);
    }
    pen.fillStyle = colour;
    pen.fillText(text, 0, y);
  }
}

/** Small rings where the probes fall, a long hand to the point that wins, and a line to the slice of its server. */
function drawNeedle(
  pen: CanvasRenderingContext2D,
  paint: Paint,
  { probes, best, server }: Needle,
  slices: readonly Slice[],
  circle: Band,
  band: Band,
  colourOf: (server: string | null) => string,
): void {
  pen.strokeStyle = paint.ink;
  pen.fillStyle = paint.panel;
  pen.lineWidth = 1.5;
  for (const probe of probes) {
    pen.beginPath();
    pen.arc(...place(probe, (circle.inner + circle.outer) / 2), 3, 0, FULL);
    pen.fill();
    pen.stroke();
  }
  const slice = slices.find((slice) => slice.server === server);
  if (slice !== undefined) {
    pen.strokeStyle = paint.ink;
    pen.lineWidth = 2.5;
    sector(pen, slice, { outer: band.outer, inner: band.inner });
    pen.stroke();
  }
  if (best === null) return;
  const [x, y] = place(best.point, circle.outer - 4);
  pen.lineWidth = 2;
  pen.beginPath();
  pen.moveTo(...place(best.point, 42));
  pen.lineTo(x, y);
  pen.stroke();
  pen.fillStyle = colourOf(server);
  pen.beginPath();
  pen.arc(x, y, 5.5, 0, FULL);
  pen.fill();
  pen.stroke();
}
