/** The colours and fonts of the canvases, read from the style sheet: one place says how the page looks. */

import type { MovedState } from "../model/contract.ts";
import type { FateClass, Tone } from "../model/words.ts";
import { SERVER_COLOURS } from "../model/words.ts";

/** Colours as CSS texts. */
export interface Paint {
  readonly ink: string;
  readonly dim: string;
  readonly faint: string;
  readonly line: string;
  readonly panel: string;
  readonly tones: Readonly<Record<Tone, string>>;
  readonly servers: readonly string[];
  readonly moves: Readonly<Record<MovedState, string>>;
  readonly fates: Readonly<Record<FateClass, string>>;
  /** A family of fonts. */
  readonly font: string;
}

/** Reads them as they are now. */
export function readPaint(): Paint {
  const style = getComputedStyle(document.documentElement);
  const of = (name: string) => style.getPropertyValue(`--${name}`).trim();
  return {
    ink: of("ink"),
    dim: of("dim"),
    faint: of("faint"),
    line: of("line"),
    panel: of("panel"),
    tones: { good: of("good"), warn: of("warn"), bad: of("bad"), calm: of("calm"), plain: of("dim") },
    servers: Array.from({ length: SERVER_COLOURS }, (_, i) => of(`server-${i}`)),
    moves: { unsent: of("unsent"), unanswered: of("unanswered"), idle: of("idle") },
    fates: {
      finished: of("fate-finished"),
      left: of("fate-left"),
      closed: of("fate-closed"),
      timed: of("fate-timed"),
      refused: of("warn"),
      reset: of("bad"),
      unserved: of("fate-unserved"),
      fault: of("fate-fault"),
    },
    font: getComputedStyle(document.body).fontFamily,
  };
}

/** Sets the font of what is written next. */
export function setFont(pen: CanvasRenderingContext2D, { font }: Paint, size: number, weight = 400): void {
  pen.font = `${weight} ${size}px ${font}`;
}

/** Slanted lines, for what is out of service. Made once per colour and canvas. */
export function hatch(pen: CanvasRenderingContext2D, colour: string): CanvasPattern | string {
  const size = 6;
  const tile = document.createElement("canvas");
  const ratio = pen.getTransform().a || 1;
  tile.width = tile.height = size * ratio;
  const drawn = tile.getContext("2d")!;
  drawn.scale(ratio, ratio);
  drawn.strokeStyle = colour;
  drawn.lineWidth = 1.2;
  drawn.beginPath();
  for (const from of [-size, 0, size]) {
    drawn.moveTo(from, size);
    drawn.lineTo(from + size, 0);
  }
  drawn.stroke();
  const pattern = pen.createPattern(tile, "repeat");
  pattern?.setTransform(new DOMMatrix().scale(1 / ratio));
  return pattern ?? colour;
}
