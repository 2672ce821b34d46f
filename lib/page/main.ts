/**
 * The dashboard's page: the parts of the screen, what feeds them, and when they are drawn. All that is known and chosen is in the
 * desk; parts draw the view that follows from it, all at once, in one frame after something has changed; with very many servers
 * the pictures follow in the next frames.
 */

import { type Choices, Desk, type View } from "./model/desk.ts";
import type { RingPicture } from "./model/ring_places.ts";
import { barPanel } from "./screen/bar_panel.ts";
import { connectionsPanel } from "./screen/connections_panel.ts";
import { make, setText } from "./screen/dom.ts";
import { eventsPanel } from "./screen/events_panel.ts";
import { exportJson, exportPng } from "./screen/exports.ts";
import { type Paint, readPaint } from "./screen/paint.ts";
import type { Host, Panel } from "./screen/panel.ts";
import { poolPanel } from "./screen/pool_panel.ts";
import { ringPanel } from "./screen/ring_panel.ts";
import { ask, feed, tell } from "./screen/source.ts";
import { timePanel } from "./screen/time_panel.ts";
import { verdictPanel } from "./screen/verdict_panel.ts";
import { whatIfPanel } from "./screen/what_if_panel.ts";

/** The ring changes with the pool and with who is up; it is not asked for more often than this. */
const RING_PAUSE_MS = 1000;

/** Rows that only pass under the pointer, as when the table is scrolled, are not lit. */
const LIGHT_PAUSE_MS = 40;

/** With more servers, pictures are drawn in the frames after the others: all at once would take longer than is not noticed. */
const ROWS_AT_ONCE_MAX = 100;

const desk = new Desk();
let lighting = 0;
let view: View | undefined;
/** What the next frame draws: everything, or only what shows the server that is pointed at. */
let asked: "all" | "lit" | undefined;
/** Pictures that are yet to be drawn. */
const pictures: Panel[] = [];

function draws(what: "all" | "lit"): void {
  if (asked === undefined) {
    requestAnimationFrame(() => {
      const wanted = asked;
      asked = undefined;
      if (wanted === "all") draw();
      else if (view !== undefined) drawLit(view);
    });
  }
  if (asked !== "all") asked = what;
}

const host: Host = {
  desk,
  choose(choices: Partial<Choices>) {
    const isOther = choices.service !== undefined && choices.service !== desk.choices.service;
    desk.choices = { ...desk.choices, ...choices };
    if (isOther) [desk.ring, desk.explanation, desk.foresight] = [null, null, null];
    host.redraw();
  },
  light(lit) {
    clearTimeout(lighting);
    if (lit === desk.choices.lit) return;
    lighting = setTimeout(() => {
      desk.choices = { ...desk.choices, lit };
      draws("lit");
    }, LIGHT_PAUSE_MS);
  },
  redraw: () => draws("all"),
  ask,
  tell,
};

const trouble = make("p", { class: "trouble", role: "alert" });
const waiting = make("p", { class: "waiting", text: "Waiting for the balancer…" });
const bar = barPanel(host, [
  ["Picture (PNG)", () => view && exportPng(view, paint())],
  ["Data (JSON)", () => view && exportJson(view)],
]);
const panels: readonly Panel[] = [
  bar,
  verdictPanel(),
  poolPanel(host),
  ringPanel(host),
  timePanel(host),
  eventsPanel(host),
  whatIfPanel(host),
  connectionsPanel(host),
];
const [, ...parts] = panels;
const main = make("main", { hidden: true }, ...parts.map(({ element }) => element));
document.getElementById("page")!.append(bar.element, trouble, waiting, main);
document.addEventListener("keydown", ({ key, target }) => {
  if (key === "Escape" && !(target instanceof HTMLInputElement)) host.choose({ moment: null });
});

let painted: { theme: string; paint: Paint } | undefined;

/** The colours, read again when the theme is another one. */
function paint(): Paint {
  const theme = document.documentElement.dataset.theme ?? "";
  if (painted?.theme !== theme) painted = { theme, paint: readPaint() };
  return painted.paint;
}

function draw(): void {
  view = desk.view();
  trouble.hidden = desk.trouble === null || view === undefined && desk.trouble === "Connecting";
  setText(
    trouble,
    desk.trouble === null ? "" : `✖ ${desk.trouble}${view === undefined ? "" : ". What you see is how it was before"}`,
  );
  waiting.hidden = view !== undefined;
  if (view === undefined) return;
  if (desk.choices.service === "") desk.choices = { ...desk.choices, service: view.service.service };
  main.hidden = false;
  const { level } = view.verdict;
  document.title = `${level === "good" ? "✔" : level === "warning" ? "▲" : "✖"} ${
    view.status.name === "default" ? "" : `${view.status.name} `
  }balancer`;
  const isMany = view.rows.length > ROWS_AT_ONCE_MAX;
  for (const panel of panels) if (!isMany || !panel.isPicture) panel.draw(view, paint());
  if (isMany) drawPictures();
  void readRing(view);
}

/** Draws the pictures of the newest view, each in a frame of its own. */
function drawPictures(): void {
  const isUnderWay = pictures.length > 0;
  pictures.push(...panels.filter((panel) => panel.isPicture && !pictures.includes(panel))); // those that wait draw the newest view
  if (isUnderWay) return;
  const next = () => {
    pictures.shift()!.draw(view!, paint());
    if (pictures.length > 0) requestAnimationFrame(next);
  };
  requestAnimationFrame(next);
}

function drawLit(known: View): void {
  view = { ...known, choices: { ...known.choices, lit: desk.choices.lit } };
  for (const panel of panels) if (panel.isLit) panel.draw(view, paint());
}

let ringKey = "";
let ringReadMs = 0;

/** Asks for the ring if the pool, or who gets clients, has changed. */
async function readRing({ service: { service, fingerprint }, servers }: View): Promise<void> {
  const key = `${service} ${fingerprint} ${servers.map(({ server, state }) => state === "up" ? "" : `${server} ${state}`).join()}`;
  if (key === ringKey || performance.now() - ringReadMs < RING_PAUSE_MS && ringKey !== "") return;
  [ringKey, ringReadMs] = [key, performance.now()];
  try {
    const ring = await ask<RingPicture>("/v1/ring", { service });
    if (ringKey === key) desk.ring = ring;
    host.redraw();
  } catch {
    ringKey = ""; // the next second asks again
  }
}

feed(desk, () => host.redraw());
