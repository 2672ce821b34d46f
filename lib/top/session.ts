/** `top` while somebody watches: asks, draws, and does what keys say. */

import { deadline } from "@std/async";
import { messageOf, OperatorError } from "../values/errors.ts";
import type { Answers } from "../control/api.ts";
import type { ControlClient } from "../control/client.ts";
import { plural } from "../values/count.ts";
import type { Feed, Wants } from "./feed.ts";
import { composeFrame, pageOf } from "./frame.ts";
import type { Glyphs } from "./glyphs.ts";
import { type Key, keysIn } from "./keys.ts";
import { type Moment, type PoolRow, poolRows, type Sort } from "./moment.ts";
import type { Screen } from "./screen.ts";
import { sizeOfTerminal, type Terminal } from "./terminal.ts";
import { type Deed, FIRST_VIEW, press, type Question, type View } from "./view.ts";

/** What a session works with. */
export interface SessionParts {
  readonly feed: Feed;
  readonly clientOf: (service: string) => Pick<ControlClient, "plan" | "change">;
  readonly terminal: Terminal;
  readonly screen: Screen;
  readonly glyphs: Glyphs;
  readonly intervalMs: number;
  readonly mayWrite: boolean;
}

/** The clock on the screen, and how long an answer may be late before it is said. */
const CLOCK_MS = 1000;
const LATE_MS = 3000;
/** How long a notice stays in the last line. */
const NOTICE_MS = 6000;
/** Among other panes connections are listed only where they are this few: listing reads all of them. */
const CONNECTIONS_BESIDE_MAX = 2000;

/** A session. */
export class Session {
  readonly #parts: SessionParts;
  #view: View = FIRST_VIEW;
  #moment: Moment;
  #lost: { readonly sinceMs: number; readonly why: string } | undefined;
  #noticedMs = 0;
  #drawnMs = 0;
  #made: { moment?: Moment; sort?: Sort; filter?: string; rows: readonly PoolRow[] } = { rows: [] };
  /** Ends the pause between two questions to the daemon. */
  #wake = () => {};
  readonly #ended = Promise.withResolvers<void>();

  /** `moment`: what is shown first. */
  constructor(parts: SessionParts, moment: Moment) {
    this.#parts = parts;
    this.#moment = moment;
  }

  /** Resolves when the person quits, the terminal goes or `interrupted` is aborted. */
  async run(interrupted: AbortSignal): Promise<void> {
    const end = () => this.#ended.resolve();
    const resize = () => this.#draw();
    const clock = setInterval(() => this.#tick(), CLOCK_MS);
    interrupted.addEventListener("abort", end);
    if (interrupted.aborted) end();
    if (Deno.build.os !== "windows") Deno.addSignalListener("SIGWINCH", resize);
    try {
      this.#draw();
      this.#until(this.#listen());
      this.#until(this.#ask());
      await this.#ended.promise;
    } finally {
      clearInterval(clock);
      if (Deno.build.os !== "windows") Deno.removeSignalListener("SIGWINCH", resize);
    }
  }

  /** A part of the session whose failure ends all of it. */
  #until(part: Promise<void>): void {
    part.catch(this.#ended.reject);
  }

  async #listen(): Promise<void> {
    for await (const text of this.#parts.terminal.typed()) for (const key of keysIn(text)) this.#take(key);
    this.#ended.resolve();
  }

  /** Asks again and again; not while nothing is to change. */
  async #ask(): Promise<void> {
    for (;;) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await deadline(promise, this.#parts.intervalMs).catch(() => {}); // the interval is over
      if (this.#view.isPaused) continue;
      try {
        this.#moment = await this.#parts.feed.read(this.#wants(), Date.now());
        this.#lost = undefined;
      } catch (error) {
        if (!(error instanceof OperatorError)) throw error;
        this.#lost = { sinceMs: this.#moment.atMs, why: error.message };
      }
      this.#draw();
    }
  }

  #wants(): Wants {
    const { pane, connectionSort } = this.#view;
    if (pane === "connections") return { connections: connectionSort, connectionsMax: Infinity };
    return { connections: pane === "overview" ? connectionSort : undefined, connectionsMax: CONNECTIONS_BESIDE_MAX };
  }

  #tick(): void {
    if (Date.now() - this.#noticedMs >= NOTICE_MS) this.#view = { ...this.#view, notice: undefined };
    const sinceMs = this.#moment.atMs;
    const isLate = Date.now() - sinceMs > this.#parts.intervalMs + LATE_MS;
    if (isLate && !this.#view.isPaused) this.#lost ??= { sinceMs, why: "the daemon does not answer" };
    if (Date.now() - this.#drawnMs >= CLOCK_MS) this.#draw(); // otherwise news have just been drawn
  }

  #take(key: Key): void {
    const { pane, connectionSort, isPaused } = this.#view;
    const { view, deed } = press(this.#view, key, this.#surroundings());
    this.#view = view;
    this.#noticedMs = Date.now();
    const isOther = view.pane !== pane || view.connectionSort !== connectionSort || view.isPaused !== isPaused;
    if (isOther) this.#wake();
    if (deed !== undefined) this.#do(deed);
    this.#draw();
  }

  /** The rows of the pool, made once for each moment and view of it. */
  #rows(): readonly PoolRow[] {
    const { sort, filter } = this.#view;
    const { moment } = this.#made;
    if (moment !== this.#moment || this.#made.sort !== sort || this.#made.filter !== filter) {
      this.#made = { moment: this.#moment, sort, filter, rows: poolRows(this.#moment, sort, filter) };
    }
    return this.#made.rows;
  }

  #surroundings() {
    return { rows: this.#rows(), mayWrite: this.#parts.mayWrite, page: pageOf(sizeOfTerminal()) };
  }

  #do(deed: Deed): void {
    const { terminal, screen } = this.#parts;
    if (deed.kind === "quit") this.#ended.resolve();
    if (deed.kind === "redraw" || deed.kind === "suspend") screen.forget();
    if (deed.kind === "suspend") terminal.suspend();
    if (deed.kind === "foresee") this.#until(this.#foresee(deed.question));
    if (deed.kind === "drain") this.#until(this.#drain(deed.question));
  }

  /** Says what a drain would do, while the question stands. */
  async #foresee(question: Question): Promise<void> {
    const { service, server } = question;
    const effect = await this.#tried(async () => effectOf(await this.#parts.clientOf(service).plan({ change: "remove", server })));
    if (this.#view.question === question) this.#view = { ...this.#view, question: { ...question, effect } };
    this.#draw();
  }

  async #drain({ service, server, draining }: Question): Promise<void> {
    const notice = await this.#tried(async () => {
      const { open } = await this.#parts.clientOf(service).change(server, { draining });
      return draining
        ? `Server ${server} gets no more clients; it has ${plural(open, "open connection")}`
        : `Server ${server} gets clients again`;
    });
    this.#view = { ...this.#view, notice };
    this.#noticedMs = Date.now();
    this.#wake();
    this.#draw();
  }

  /** What came of it, or why nothing did. */
  async #tried(what: () => Promise<string>): Promise<string> {
    try {
      return await what();
    } catch (error) {
      if (error instanceof OperatorError) return messageOf(error);
      throw error;
    }
  }

  #draw(): void {
    const { terminal, screen, glyphs, mayWrite } = this.#parts;
    const size = sizeOfTerminal();
    this.#drawnMs = Date.now();
    const setting = { glyphs, size, nowMs: Date.now(), lost: this.#lost, mayWrite, isLive: true };
    const text = screen.update(composeFrame(this.#moment, this.#rows(), this.#view, setting), size);
    if (text !== "") terminal.write(text);
  }
}

/** What taking out a server would do to its open connections. */
export function effectOf({ connections }: Answers["plan"]): string {
  const sum = (some: typeof connections) => some.reduce((sum, { count }) => sum + count, 0);
  const all = sum(connections);
  if (all === 0) return "It has no open connections";
  const moving = sum(connections.filter(({ outcome }) => /^(moves|is replayed)/.test(outcome)));
  const left = all - moving;
  if (left === 0) return `Its ${plural(all, "open connection")} can move`;
  return `Of its ${plural(all, "open connection")} ${moving} can move, ${left} ${left === 1 ? "stays" : "stay"} until ` +
    `${left === 1 ? "it ends" : "they end"}`;
}
