/** A canvas that is as large as its place, sharp on every screen, and asks to be drawn again when that changes. */

import { make } from "./dom.ts";

/** More pixels than this per CSS pixel are not seen, and cost time. */
const RATIO_MAX = 2;

/** A canvas and its size in CSS pixels. */
export class Surface {
  readonly canvas: HTMLCanvasElement;
  #width = 0;
  #height = 0;

  constructor(className: string, onResize: () => void) {
    this.canvas = make("canvas", { class: className });
    new ResizeObserver(([{ contentRect }]) => {
      this.#width = contentRect.width;
      this.#height = contentRect.height;
      onResize();
    }).observe(this.canvas);
  }

  get width(): number {
    return this.#width;
  }

  get height(): number {
    return this.#height;
  }

  /** A pen on an empty canvas whose units are CSS pixels; undefined while it has no size. */
  begin(): CanvasRenderingContext2D | undefined {
    if (this.#width < 1 || this.#height < 1) return undefined;
    const ratio = Math.min(RATIO_MAX, devicePixelRatio);
    const [width, height] = [Math.round(this.#width * ratio), Math.round(this.#height * ratio)];
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    const pen = this.canvas.getContext("2d")!;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, this.#width, this.#height);
    return pen;
  }
}
