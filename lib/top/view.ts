/** What a person has chosen to see, and what a key makes of it. Pure: a key gives the next view, and at most one thing to do. */

import type { Key } from "./keys.ts";
import { type Sort, SORTS } from "./moment.ts";

/** The panes by their digit; 0 is all of them on one screen. */
export const PANES = ["overview", "pool", "flows", "events", "connections"] as const;
export type Pane = typeof PANES[number];

/** How connections are sorted, as the API can. */
export const CONNECTION_SORTS = ["age", "bytes", "idle"] as const;
export type ConnectionSort = typeof CONNECTION_SORTS[number];

/** A question that `y` answers with yes and any other key with no. */
export interface Question {
  readonly service: string;
  readonly server: string;
  /** Whether the server would be drained, or put back into service. */
  readonly draining: boolean;
  /** What a drain would do; undefined until that is known. */
  readonly effect?: string;
}

/** What is seen. */
export interface View {
  readonly pane: Pane;
  readonly sort: Sort;
  readonly connectionSort: ConnectionSort;
  readonly filter: string;
  /** Whether a filter is being typed. */
  readonly isTyping: boolean;
  readonly isHelp: boolean;
  readonly isPaused: boolean;
  /** The key of the server that is selected; undefined: the first one. */
  readonly selected: string | undefined;
  /** How many lines of a pane other than the pool are passed over. */
  readonly offset: number;
  readonly question: Question | undefined;
  /** What the last key led to, in a sentence. */
  readonly notice: string | undefined;
}

/** What must be known to judge a key. */
export interface Surroundings {
  /** The rows of the pool as they are shown, and the state of each. */
  readonly rows: readonly {
    readonly key: string;
    readonly service: string;
    readonly server: { readonly server: string; readonly state: string };
  }[];
  /** Whether servers may be drained (`--write`). */
  readonly mayWrite: boolean;
  /** How many rows a page has. */
  readonly page: number;
}

/** What a key asks the program to do. */
export type Deed =
  | { readonly kind: "quit" }
  | { readonly kind: "suspend" }
  | { readonly kind: "redraw" }
  | { readonly kind: "foresee"; readonly question: Question }
  | { readonly kind: "drain"; readonly question: Question };

/** The next view, and what is to be done. */
export interface Pressed {
  readonly view: View;
  readonly deed?: Deed;
}

/** What is seen first. */
export const FIRST_VIEW: View = {
  pane: "overview",
  sort: "trouble",
  connectionSort: "age",
  filter: "",
  isTyping: false,
  isHelp: false,
  isPaused: false,
  selected: undefined,
  offset: 0,
  question: undefined,
  notice: undefined,
};

const FILTER_MAX = 64;
/** More lines than any pane has. */
const OFFSET_MAX = 1_000_000;

/** A key: what the help says of it, and what it does. `shown`: as it stands in the last line; undefined: only in the help. */
interface KeyRow {
  readonly keys: readonly Key[];
  readonly name: string;
  readonly shown?: string;
  readonly help: string;
  readonly press: (view: View, around: Surroundings, key: Key) => Pressed;
}

/** Keys that always work. */
const ALWAYS: Readonly<Record<Key, Deed>> = {
  "ctrl-c": { kind: "quit" },
  "ctrl-\\": { kind: "quit" },
  "ctrl-z": { kind: "suspend" },
  "ctrl-l": { kind: "redraw" },
};

/** How far a key moves; pages, the first and the last line as well. */
const MOVES: Readonly<Record<Key, (page: number) => number>> = {
  "up": () => -1,
  "k": () => -1,
  "down": () => 1,
  "j": () => 1,
  "page up": (page) => -page,
  "page down": (page) => page,
  "home": () => -Infinity,
  "g": () => -Infinity,
  "end": () => Infinity,
  "G": () => Infinity,
};

/** Every key, in the order of the help. */
export const KEYS: readonly KeyRow[] = [
  {
    keys: PANES.map((_, digit) => String(digit)),
    name: "0-4",
    shown: "panes",
    help: "show all panes (0), or one: 1 pool, 2 flows, 3 events, 4 connections",
    press: (view, _, key) => ({ view: { ...view, pane: PANES[Number(key)], offset: 0 } }),
  },
  { keys: ["/"], name: "/", shown: "filter", help: "show only what contains a text; Esc ends that", press: startFilter },
  {
    keys: ["s"],
    name: "s",
    shown: "sort",
    help: "sort the pool by another column, or the connections in their pane",
    press: nextSort,
  },
  { keys: ["p", " "], name: "p", shown: "pause", help: "pause: nothing is asked until p again", press: pause },
  {
    keys: ["d"],
    name: "d",
    shown: "drain",
    help: "drain the selected server, or put it back; asks first, needs --write",
    press: ask,
  },
  { keys: ["?", "h"], name: "?", shown: "help", help: "show this help", press: help },
  { keys: ["q"], name: "q", shown: "quit", help: "quit", press: (view) => ({ view, deed: { kind: "quit" } }) },
  { keys: Object.keys(MOVES), name: "arrows", help: "select a server, or scroll; PgUp, PgDn, Home and End as well", press: move },
  { keys: ["escape"], name: "Esc", help: "back: ends the filter, then shows all panes", press: back },
];

/** What a key does. Keys without a use do nothing. */
export function press(view: View, key: Key, around: Surroundings): Pressed {
  const always = Object.hasOwn(ALWAYS, key) ? ALWAYS[key] : undefined;
  if (always !== undefined) return { view, deed: always };
  if (view.question !== undefined) return answer(view, key, view.question);
  if (view.isTyping) return { view: type(view, key) };
  if (view.isHelp) return key === "q" ? { view, deed: { kind: "quit" } } : { view: { ...view, isHelp: false } };
  const row = KEYS.find(({ keys }) => keys.includes(key));
  return row === undefined ? { view } : row.press({ ...view, notice: undefined }, around, key);
}

/** The index of the selected row; of the first one if it is not shown. */
export function selectedIndex({ selected }: View, rows: readonly { readonly key: string }[]): number {
  return Math.max(0, rows.findIndex(({ key }) => key === selected));
}

function startFilter(view: View): Pressed {
  return { view: { ...view, isTyping: true } };
}

function type(view: View, key: Key): View {
  const { filter } = view;
  if (key === "enter") return { ...view, isTyping: false };
  if (key === "escape") return { ...view, isTyping: false, filter: "" };
  if (key === "ctrl-u") return { ...view, filter: "" };
  if (key === "backspace") return { ...view, filter: Array.from(filter).slice(0, -1).join("") };
  const isText = Array.from(key).length === 1 && filter.length + key.length <= FILTER_MAX;
  return isText ? { ...view, filter: filter + key, offset: 0 } : view;
}

function nextSort(view: View): Pressed {
  if (view.pane === "connections") {
    return { view: { ...view, connectionSort: after(CONNECTION_SORTS, view.connectionSort), offset: 0 } };
  }
  return { view: { ...view, sort: after(SORTS, view.sort) } };
}

function after<T>(all: readonly T[], one: T): T {
  return all[(all.indexOf(one) + 1) % all.length];
}

function pause(view: View): Pressed {
  return { view: { ...view, isPaused: !view.isPaused } };
}

function help(view: View): Pressed {
  return { view: { ...view, isHelp: true } };
}

function back(view: View): Pressed {
  return { view: view.filter === "" ? { ...view, pane: "overview", offset: 0 } : { ...view, filter: "" } };
}

function move(view: View, { rows, page }: Surroundings, key: Key): Pressed {
  const by = MOVES[key](page);
  if (view.pane !== "overview" && view.pane !== "pool") {
    return { view: { ...view, offset: Math.max(0, Math.min(OFFSET_MAX, view.offset + by)) } };
  }
  if (rows.length === 0) return { view };
  const index = Math.max(0, Math.min(rows.length - 1, selectedIndex(view, rows) + by));
  return { view: { ...view, selected: rows[index].key } };
}

function ask(view: View, { rows, mayWrite }: Surroundings): Pressed {
  if (!mayWrite) return { view: { ...view, notice: "Read-only: start top with --write to drain servers" } };
  const row = rows[selectedIndex(view, rows)];
  if (row === undefined) return { view: { ...view, notice: "There is no server to drain" } };
  const { service, server: { server, state } } = row;
  if (state === "removing") return { view: { ...view, notice: `Server ${server} is on its way out of the pool already` } };
  const question = { service, server, draining: state !== "draining" };
  const next = { ...view, selected: row.key, question };
  return question.draining ? { view: next, deed: { kind: "foresee", question } } : { view: next };
}

function answer(view: View, key: Key, question: Question): Pressed {
  const next = { ...view, question: undefined };
  if (key === "y" || key === "Y") return { view: next, deed: { kind: "drain", question } };
  return { view: { ...next, notice: "Nothing was changed" } };
}
