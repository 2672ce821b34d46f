/**
 * A moving picture of a terminal: frames that follow each other become one SVG that plays them again and again. A row that stays
 * the same through several frames is drawn once. Who has asked for less motion sees one frame.
 */

import { type Line, screenOf } from "./screen.ts";
import { drawRow, type Frame, frameOf } from "./svg.ts";

/** What is drawn. */
export interface Film {
  /** What the terminal shows in each frame. */
  readonly frames: readonly string[];
  readonly columns: number;
  /** How long a frame stands, in seconds. */
  readonly frameS: number;
  /** The frame that says most by itself, by its place. */
  readonly still: number;
  /** What a screen reader says. */
  readonly title: string;
}

/** A row as it stands from one frame until before another. */
interface Stay {
  readonly from: number;
  readonly until: number;
  readonly drawn: string;
}

/** The film as an SVG document. Throws for control sequences that it cannot show. */
export function drawFilm({ frames, columns, frameS, still, title }: Film): string {
  const screens = frames.map((text) => screenOf(text, columns));
  const rows = Math.max(...screens.map(({ length }) => length));
  const stays = Array.from({ length: rows }, (_, row) => staysOf(screens, row)).flat();
  const spans = new Map(stays.map((stay) => [nameOf(stay), stay]));
  const { head, foot }: Frame = frameOf({ columns, rows, title });
  return [
    head,
    `<style>`,
    `g g{visibility:hidden;animation:${frames.length * frameS}s step-end infinite}`,
    ...[...spans].map(([name, span]) => ruleOf(name, span, frames.length)),
    `@media(prefers-reduced-motion:reduce){g g{animation:none!important}`,
    ...[...spans].filter(([, { from, until }]) => from <= still && still < until).map(([name]) => `.${name}{visibility:visible}`),
    `}</style>`,
    ...stays.map((stay) => `<g class="${nameOf(stay)}">${stay.drawn}</g>`),
    foot,
  ].join("\n");
}

function staysOf(screens: readonly (readonly Line[])[], row: number): Stay[] {
  const stays: Stay[] = [];
  for (const [frame, screen] of screens.entries()) {
    const drawn = drawRow(screen[row] ?? [], row);
    const last = stays.at(-1);
    if (last?.drawn === drawn) stays[stays.length - 1] = { ...last, until: frame + 1 };
    else stays.push({ from: frame, until: frame + 1, drawn });
  }
  return stays.filter(({ drawn }) => drawn !== "");
}

function nameOf({ from, until }: Stay): string {
  return `f${from}_${until}`;
}

/** Visible from its first frame until its last has ended. */
function ruleOf(name: string, { from, until }: Stay, frames: number): string {
  const percent = (frame: number) => `${Math.round(10_000 * frame / frames) / 100}%`;
  const steps = [
    from > 0 ? "0%{visibility:hidden}" : "",
    `${percent(from)}{visibility:visible}`,
    until < frames ? `${percent(until)}{visibility:hidden}` : "",
  ];
  return `.${name}{animation-name:${name}}@keyframes ${name}{${steps.join("")}}`;
}
