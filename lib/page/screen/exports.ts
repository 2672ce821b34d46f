/** The page as a file: a picture, or the data that it shows. Both are made in the browser and leave it only as a download. */

import type { View } from "../model/desk.ts";
import { formatBytes, formatClock, formatCount, formatMs, formatPercent, formatRate } from "../model/format.ts";
import { slicesOf } from "../model/ring_places.ts";
import { STATES } from "../model/words.ts";
import { make } from "./dom.ts";
import { drawRing } from "./draw_ring.ts";
import { type Paint, setFont } from "./paint.ts";
import { ringDrawing } from "./ring_panel.ts";
import { drawCharts } from "./time_panel.ts";

const WIDTH = 1280;
const RATIO = 2;
const EDGE = 24;
const ROW_PX = 24;
const ROWS_MAX = 12;
const RING_PX = 330;
const CHARTS_PX = 520;

/** Saves what the page knows of the service that is shown. */
export function exportJson({ status, service, servers, history, events, at, verdict, isNow }: View): void {
  const data = {
    at: new Date(1000 * at).toISOString(),
    isNow,
    verdict,
    status,
    service,
    servers,
    events,
    series: history.toData(),
  };
  save(new Blob([JSON.stringify(data)], { type: "application/json" }), fileName(status.name, at, "json"));
}

/** Saves a picture of verdict, pool, ring and charts. */
export function exportPng(view: View, paint: Paint): void {
  const rows = view.rows.slice(0, ROWS_MAX);
  const tableHeight = Math.max(RING_PX, (rows.length + 2) * ROW_PX);
  const canvas = make("canvas", { width: WIDTH * RATIO, height: (120 + tableHeight + CHARTS_PX + 2 * EDGE) * RATIO });
  const pen = canvas.getContext("2d")!;
  pen.scale(RATIO, RATIO);
  pen.fillStyle = paint.panel;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  drawHead(pen, paint, view);
  pen.save();
  pen.translate(0, 120);
  drawTable(pen, paint, view, rows);
  pen.translate(WIDTH - RING_PX - EDGE, 0);
  const slices = slicesOf(view.rows);
  drawRing(pen, paint, view.colours, ringDrawing(view, slices), RING_PX, RING_PX);
  pen.restore();
  pen.translate(EDGE / 2, 120 + tableHeight + EDGE);
  drawCharts(pen, paint, view, WIDTH - EDGE, CHARTS_PX);
  canvas.toBlob((blob) => {
    if (blob !== null) save(blob, fileName(view.status.name, view.at, "png"));
  });
}

function drawHead(pen: CanvasRenderingContext2D, paint: Paint, { verdict, status, at, service }: View): void {
  pen.textBaseline = "top";
  pen.fillStyle = paint.dim;
  setFont(pen, paint, 13);
  pen.fillText(
    `balancer ${status.name}, service ${service.service}, ${new Date(1000 * at).toLocaleDateString()} ${formatClock(at)}`,
    EDGE,
    EDGE,
  );
  pen.fillStyle = paint.ink;
  setFont(pen, paint, 18, 600);
  const words = `${verdict.sentence}.`.split(" ");
  let [line, y] = ["", EDGE + 26];
  for (const word of words) {
    if (pen.measureText(`${line} ${word}`).width > WIDTH - 2 * EDGE) {
      pen.fillText(line, EDGE, y);
      [line, y] = ["", y + 24];
    }
    line = line === "" ? word : `${line} ${word}`;
  }
  pen.fillText(line, EDGE, y);
}

function drawTable(pen: CanvasRenderingContext2D, paint: Paint, { rows: all }: View, rows: View["rows"]): void {
  const columns = [EDGE, EDGE + 190, EDGE + 470, EDGE + 540, EDGE + 610, EDGE + 690, EDGE + 770, EDGE + 850];
  const write = (texts: readonly string[], y: number, weight: number, colour: string) => {
    setFont(pen, paint, 12.5, weight);
    pen.fillStyle = colour;
    for (const [i, text] of texts.entries()) {
      pen.fillText(text, columns[i], y, (columns[i + 1] ?? columns[i] + 90) - columns[i] - 8);
    }
  };
  pen.textAlign = "left";
  pen.textBaseline = "top";
  write(["server", "state", "share", "open", "new/s", "bytes/s", "p99", "went wrong"], 0, 400, paint.dim);
  for (const [i, row] of rows.entries()) {
    const { sign, tone } = STATES[row.state];
    write(
      [
        `${sign} ${row.server}`,
        row.standing,
        formatPercent(row.share),
        formatCount(row.open),
        formatRate(row.newPerS),
        formatBytes(row.fromServerPerS),
        formatMs(row.connectP99Ms),
        formatCount(row.reset + row.failed),
      ],
      (i + 1) * ROW_PX,
      500,
      row.state === "up" ? paint.ink : paint.tones[tone],
    );
  }
  if (all.length > rows.length) write([`and ${all.length - rows.length} more`], (rows.length + 1) * ROW_PX, 400, paint.dim);
}

function fileName(name: string, at: number, ending: string): string {
  return `balancer-${name}-${new Date(1000 * at).toISOString().replace(/[:.]/g, "-").slice(0, 19)}.${ending}`;
}

function save(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
