/** Small lines and bars within text, as SVG: no axes, only the course. */

import { setAttribute } from "./dom.ts";

const SPACE = "http://www.w3.org/2000/svg";
const WIDTH = 100;
const HEIGHT = 24;

/** A small picture of numbers. Decoration: what it shows stands beside it as text. */
export class Spark {
  readonly element: SVGSVGElement;
  readonly #path: SVGPathElement;

  constructor(className: string) {
    this.element = document.createElementNS(SPACE, "svg");
    this.#path = document.createElementNS(SPACE, "path");
    this.element.append(this.#path);
    for (const [name, value] of [["viewBox", `0 0 ${WIDTH} ${HEIGHT}`], ["preserveAspectRatio", "none"], ["aria-hidden", "true"]]) {
      this.element.setAttribute(name, value);
    }
    this.element.setAttribute("class", `spark ${className}`);
  }

  /** Draws a line through the numbers, from zero up; gaps where a number is not known. */
  line(numbers: readonly number[]): void {
    const peak = Math.max(1, ...numbers.filter((number) => !Number.isNaN(number)));
    const parts: string[] = [];
    for (const [i, number] of numbers.entries()) {
      if (Number.isNaN(number)) continue;
      const isFirst = i === 0 || Number.isNaN(numbers[i - 1]);
      const x = numbers.length === 1 ? WIDTH : WIDTH * i / (numbers.length - 1);
      parts.push(`${isFirst ? "M" : "L"}${x.toFixed(1)} ${(HEIGHT - 1 - (HEIGHT - 3) * number / peak).toFixed(1)}`);
    }
    setAttribute(this.#path, "d", parts.join(""));
  }

  /** Draws a bar for each number that is not zero. */
  bars(numbers: readonly number[]): void {
    const peak = Math.max(1, ...numbers);
    const width = WIDTH / Math.max(1, numbers.length);
    const bars = numbers.map((number, i) => {
      const tall = number > 0 ? Math.max(4, (HEIGHT - 2) * number / peak) : 1;
      return `M${(i * width + 1).toFixed(1)} ${HEIGHT}v-${tall.toFixed(1)}h${(width - 2).toFixed(1)}v${tall.toFixed(1)}z`;
    });
    setAttribute(this.#path, "d", bars.join(""));
  }
}
