/**
 * The pool as a table. Only the rows that are in sight are in the document, between two spacers: a thousand servers scroll like
 * ten. Rows have one height for that. A row whose state has changed lights up for a moment, unless the person wants no motion.
 */

import type { View } from "../model/desk.ts";
import { formatBytes, formatCount, formatMs, formatPercent, formatRate, formatShort, plural } from "../model/format.ts";
import type { PoolRow, Sort } from "../model/pool_rows.ts";
import { STATES } from "../model/words.ts";
import { make, panel, setAttribute, setText } from "./dom.ts";
import type { Paint } from "./paint.ts";
import type { Host, Panel } from "./panel.ts";
import { Spark } from "./spark.ts";

/** The columns; those with a sort can be sorted by. */
const COLUMNS: readonly { readonly name: string; readonly text: string; readonly help: string; readonly sort?: Sort }[] = [
  { name: "server", text: "Server", help: "Its state, since when, and why, and when its next check is", sort: "trouble" },
  {
    name: "load",
    text: "Share and load",
    help:
      "Its exact share of the clients. Bar: its open connections; pale part: what its share would give it; tick: its load bound",
    sort: "load",
  },
  { name: "open", text: "Open", help: "Open connections, and their limit", sort: "open" },
  { name: "new", text: "New/s", help: "New connections per second, mean of 10 seconds", sort: "new" },
  { name: "bytes", text: "Bytes/s", help: "Bytes per second to the server (▲) and from it (▼), mean of 10 seconds", sort: "bytes" },
  {
    name: "connect",
    text: "Connect p99",
    help: "99 of 100 connects took at most this long, in the last 10 seconds",
    sort: "connect",
  },
  { name: "moved", text: "Moved in/out", help: "Connections that moved to it and away from it, in 5 minutes", sort: "moved" },
  {
    name: "bad",
    text: "Went wrong",
    help: "Connections reset by its loss and connects that it did not accept, in 5 minutes",
    sort: "bad",
  },
];

/** Rows beyond the edges of the sight. */
const SPARE_ROWS = 3;
const SPARE_MAX = 40;

/** Makes the table. */
export function poolPanel(host: Host): Panel {
  const filter = make("input", {
    type: "search",
    placeholder: "Filter servers",
    "aria-label": "Filter servers by a part of their address",
    on: { input: () => host.choose({ filter: filter.value.trim() }) },
  });
  const count = make("span", { class: "count" });
  const heads = COLUMNS.map((column) => ({ column, head: makeHead(column, host) }));
  const list = new RowList(host);
  const table = make(
    "table",
    { class: "pool", "aria-describedby": "pool-title" },
    make("thead", {}, make("tr", {}, ...heads.map(({ head }) => head))),
    list.body,
  );
  const scroller = make("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": "Table of servers" }, table);
  let last: { view: View; paint: Paint } | undefined;
  let isScrolled = false;
  scroller.addEventListener("scroll", () => {
    if (isScrolled) return;
    isScrolled = true;
    requestAnimationFrame(() => {
      isScrolled = false;
      if (last !== undefined) draw(last.view, last.paint);
    });
  }, { passive: true });
  const { section, aside } = panel("pool", "Pool", "worst first", scroller);
  aside.append(count, filter);
  const draw = (view: View, paint: Paint) => {
    last = { view, paint };
    const { rows: all, choices } = view;
    const rows = choices.filter === "" ? all : all.filter(({ server }) => server.includes(choices.filter));
    setText(count, rows.length === all.length ? plural(all.length, "server") : `${rows.length} of ${plural(all.length, "server")}`);
    for (const { column, head } of heads) setAttribute(head, "aria-sort", column.sort === choices.sort ? "descending" : null);
    setAttribute(table, "aria-rowcount", String(rows.length + 1));
    list.draw(rows, scroller, view, paint);
  };
  return { element: section, isLit: true, draw };
}

function makeHead({ name, text, help, sort }: typeof COLUMNS[number], host: Host): HTMLElement {
  const label = sort === undefined
    ? make("span", { text })
    : make("button", { type: "button", text, title: `${help}. Sort by it`, on: { click: () => host.choose({ sort }) } });
  return make("th", { scope: "col", class: `c-${name}` }, label);
}

/** The rows that are in sight, between two spacers. */
class RowList {
  readonly body: HTMLElement;
  readonly #above = spacer();
  readonly #below = spacer();
  readonly #rows = new Map<string, RowElement>();
  /** Rows that have left the sight, for others that come: to make one takes longer than to fill it. */
  readonly #spare: RowElement[] = [];

  constructor(readonly host: Host) {
    this.body = make("tbody", {}, this.#above, this.#below);
  }

  /** Draws what is in sight of the scroller; all rows are as high as the style sheet says. */
  draw(rows: readonly PoolRow[], scroller: HTMLElement, { choices, colours, isNow }: View, paint: Paint): void {
    const rowPx = Number.parseFloat(getComputedStyle(scroller).getPropertyValue("--row"));
    const first = Math.max(0, Math.floor(scroller.scrollTop / rowPx) - SPARE_ROWS);
    const end = Math.min(rows.length, first + Math.ceil(scroller.clientHeight / rowPx) + 2 * SPARE_ROWS);
    const inSight = rows.slice(first, end);
    this.#drop(new Set(inSight.map(({ server }) => server)));
    const scale = scaleOf(rows);
    let before: Element = this.#above;
    for (const row of inSight) {
      const { element } = this.#rowOf(row).draw(row, {
        scale,
        colour: paint.servers[colours.of(row.server)],
        isLit: choices.lit === row.server,
        isNow,
      });
      if (before.nextElementSibling !== element) before.after(element);
      before = element;
    }
    setHeight(this.#above, first * rowPx);
    setHeight(this.#below, (rows.length - end) * rowPx);
  }

  #rowOf(row: PoolRow): RowElement {
    let element = this.#rows.get(row.server);
    if (element !== undefined) return element;
    element = this.#spare.pop() ?? new RowElement(this.host);
    element.name(row.server);
    this.#rows.set(row.server, element);
    return element;
  }

  #drop(kept: ReadonlySet<string>): void {
    for (const [name, row] of this.#rows) {
      if (kept.has(name)) continue;
      row.element.remove();
      this.#rows.delete(name);
      if (this.#spare.length < SPARE_MAX) this.#spare.push(row);
    }
  }
}

function spacer(): HTMLElement {
  return make("tr", { class: "spacer", "aria-hidden": "true" }, make("td", { colspan: COLUMNS.length }));
}

function setHeight(spacer: HTMLElement, height: number): void {
  (spacer.firstElementChild as HTMLElement).style.height = `${height}px`;
  spacer.hidden = height <= 0;
}

/** What there is of these. */
function sentence(...parts: readonly (string | null)[]): string {
  return parts.filter((part) => part !== null).join(" · ");
}

/** The greatest number that bars must have room for. */
function scaleOf(rows: readonly PoolRow[]): number {
  return rows.reduce((max, { open, bound, fair }) => Math.max(max, open || 0, Number.isFinite(bound) ? bound : 0, fair || 0), 1) *
    1.04;
}

/** What a row's look depends on beside its numbers. */
interface RowLook {
  /** The number that a bar of full width stands for. */
  readonly scale: number;
  readonly colour: string;
  readonly isLit: boolean;
  readonly isNow: boolean;
}

/** A row of the table. */
class RowElement {
  readonly element: HTMLTableRowElement;
  readonly #sign = make("span", { class: "sign", "aria-hidden": "true" });
  readonly #name = make("span", { class: "name" });
  readonly #standing = make("span", { class: "standing" });
  readonly #reason = make("span", { class: "reason" });
  readonly #share = make("span", { class: "share" });
  readonly #bar = make("span", { class: "bullet", "aria-hidden": "true" });
  readonly #fair = make("i", { class: "fair" });
  readonly #live = make("i", { class: "live" });
  readonly #tick = make("i", { class: "tick" });
  readonly #cells = new Map<string, HTMLElement>();
  readonly #spark = new Spark("bad-spark");
  #state = "";

  constructor(host: Host) {
    this.#bar.append(this.#fair, this.#live, this.#tick);
    const cell = (name: string, ...children: HTMLElement[]) => {
      const element = make("td", { class: `c-${name}` }, ...children);
      this.#cells.set(name, element);
      return element;
    };
    const bad = cell("bad", make("span", { class: "wrong" }));
    bad.append(this.#spark.element);
    this.element = make(
      "tr",
      {
        on: {
          pointerenter: () => host.light(this.#name.textContent),
          pointerleave: () => host.light(null),
          animationend: () => this.element.removeAttribute("data-pulse"),
        },
      },
      make(
        "th",
        { scope: "row", class: "c-server" },
        this.#sign,
        make("span", { class: "who" }, this.#name, " ", this.#standing, this.#reason),
      ),
      cell("load", make("span", { class: "loads" }, this.#share, this.#bar)),
      cell("open"),
      cell("new"),
      cell("bytes"),
      cell("connect"),
      cell("moved"),
      bad,
    );
  }

  /** Makes it the row of this server. */
  name(server: string): void {
    setText(this.#name, server);
    this.element.removeAttribute("data-pulse");
    this.#state = "";
  }

  draw(row: PoolRow, { scale, colour, isLit, isNow }: RowLook): this {
    const { sign, tone } = STATES[row.state];
    setText(this.#sign, sign);
    const isUp = row.state === "up"; // it has a line for how long, the others one for their reason
    setText(this.#standing, isUp ? sentence(row.standing, row.check) : row.standing);
    setText(this.#reason, isUp ? row.reason ?? "" : sentence(row.reason, row.check));
    setAttribute(this.#reason, "title", row.reason);
    setAttribute(this.element, "data-tone", tone);
    setAttribute(this.element, "data-lit", isLit ? "" : null);
    this.#pulse(isNow ? row.state : "");
    this.#drawLoad(row, scale, colour);
    this.#write("open", `${formatCount(row.open)}${row.limit === null ? "" : ` / ${formatShort(row.limit)}`}`);
    this.#write("new", formatRate(row.newPerS));
    this.#write("bytes", `▲ ${formatBytes(row.toServerPerS)}\n▼ ${formatBytes(row.fromServerPerS)}`);
    this.#write("connect", formatMs(row.connectP99Ms));
    this.#write("moved", `${formatCount(row.movedIn)} / ${formatCount(row.movedAway)}`);
    const wrong = [
      ...(row.reset > 0 ? [`${formatCount(row.reset)} reset`] : []),
      ...(row.failed > 0 ? [`${formatCount(row.failed)} failed`] : []),
    ];
    setText(this.#cells.get("bad")!.firstElementChild!, wrong.length === 0 ? "none" : wrong.join("\n"));
    setAttribute(this.#cells.get("bad")!, "data-tone", wrong.length === 0 ? null : "bad");
    this.#spark.bars(row.badSpark);
    return this;
  }

  #drawLoad({ share, open, fair, bound, weight }: PoolRow, scale: number, colour: string): void {
    setText(this.#share, `${formatPercent(share)}${weight === 1 ? "" : ` × ${weight}`}`);
    const isOver = open >= bound;
    const part = (number: number) => `${Math.min(100, 100 * number / scale).toFixed(2)}%`;
    this.#fair.style.width = part(fair || 0);
    this.#live.style.width = part(open || 0);
    this.#live.style.background = colour;
    this.#tick.hidden = !Number.isFinite(bound);
    if (Number.isFinite(bound)) this.#tick.style.left = part(bound);
    setAttribute(this.#bar, "data-over", isOver ? "" : null);
    const boundText = Number.isFinite(bound) ? `; its load bound is ${formatCount(bound)}` : "";
    setAttribute(this.#bar, "title", `${formatCount(open)} open; its share would give it ${formatCount(fair)}${boundText}`);
  }

  #write(name: string, text: string): void {
    setText(this.#cells.get(name)!, text);
  }

  #pulse(state: string): void {
    if (this.#state !== "" && state !== "" && this.#state !== state) {
      this.element.removeAttribute("data-pulse");
      void this.element.offsetWidth; // begins the animation anew
      this.element.setAttribute("data-pulse", "");
    }
    this.#state = state;
  }
}
