/** The verdict in one sentence, a light, and the few figures that go with it. */

import type { View } from "../model/desk.ts";
import { formatClock } from "../model/format.ts";
import { type Tile, tilesOf } from "../model/tiles.ts";
import { make, setAttribute, setText } from "./dom.ts";
import type { Panel } from "./panel.ts";
import { Spark } from "./spark.ts";

const LIGHTS = { good: ["✔", "good"], warning: ["▲", "warn"], bad: ["✖", "bad"] } as const;

/** Makes it. A screen reader says the sentence again when it changes. */
export function verdictPanel(): Panel {
  const sign = make("span", { class: "sign", "aria-hidden": "true" });
  const sentence = make("p", { class: "sentence", role: "status" });
  const tiles = make("dl", { class: "tiles" });
  const shown: { value: HTMLElement; spark: Spark; element: HTMLElement }[] = [];
  const element = make("section", { class: "verdict", "aria-label": "Verdict" }, sign, sentence, tiles);
  return {
    element,
    draw: ({ verdict, isNow, at, history, rows, from, service }: View) => {
      const [mark, tone] = LIGHTS[verdict.level];
      setText(sign, mark);
      setAttribute(element, "data-tone", tone);
      setText(sentence, `${isNow ? "" : `At ${formatClock(at)}: `}${verdict.sentence}.`);
      const list = tilesOf(history, rows, from, at, isNow ? service.hold.waiting : 0);
      for (const [i, tile] of list.entries()) drawTile(shown[i] ??= addTile(tiles, tile), tile);
    },
  };
}

function addTile(tiles: HTMLElement, { label }: Tile) {
  const value = make("dd");
  const spark = new Spark("tile-spark");
  const element = make("div", {}, make("dt", { text: label }), value);
  element.append(spark.element);
  tiles.append(element);
  return { value, spark, element };
}

function drawTile({ value, spark, element }: { value: HTMLElement; spark: Spark; element: HTMLElement }, tile: Tile): void {
  setText(value, tile.value);
  setAttribute(element, "data-tone", tile.tone);
  spark.line(tile.trend);
}
