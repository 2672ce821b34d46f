/**
 * `GET /live`: one stream of what the daemon does, for any number of viewers. The daemon is asked once a second, while somebody
 * watches; each viewer gets what has changed. Where an answer takes long, as with very many servers, it is asked less often, so
 * that viewers take a fifth of the daemon's time at most.
 */

import { delay } from "@std/async";
import type { Answers } from "../control/api.ts";
import { messageOf } from "../values/errors.ts";
import type { DaemonLink } from "./daemon_link.ts";
import { changesBetween, type Picture, pictureOf } from "./live_changes.ts";
import type { LiveMessages } from "./live_messages.ts";
import { type Bytes, Viewers } from "./viewers.ts";

/** How often the daemon is asked. */
const PERIOD_MS = 1000;
/** The time between two looks is this many times that of a look, at least. */
const REST_FACTOR = 5;

/** Options of a LiveFeed. */
export interface FeedOptions {
  readonly daemon: DaemonLink;
  /** Whether the dashboard may change something. */
  readonly writes: boolean;
  readonly viewersMax: number;
  readonly behindBytesMax?: number;
  readonly periodMs?: number;
  /** Told of each viewer that is dropped because it does not read. */
  readonly onDrop: () => void;
}

/** What is known of the daemon while it can be asked. */
interface Known {
  readonly picture: Picture;
  readonly at: string;
  /** Of this start of the daemon. */
  readonly startId: string;
  readonly lastEvent: number;
  /** The first second of the last step of the series. */
  readonly lastSecond: number | undefined;
}

const encoder = new TextEncoder();
/** The page comes back to a dashboard that went away after so many milliseconds (WHATWG HTML, section 9.2.4). */
const RETRY = "retry: 1000\n\n";

/** The feed of one dashboard. Disposing of it ends its streams. */
export class LiveFeed implements Disposable {
  readonly #options: FeedOptions;
  readonly #viewers: Viewers;
  readonly #ending = new AbortController();
  #known: Known | undefined;
  /** Why the daemon cannot be asked; undefined: it can, or nobody knows yet. */
  #why: string | undefined;
  #snapshot: Bytes | undefined;
  #isRunning = false;
  /** When the next look is due, by the monotonic clock. */
  #dueMs = 0;

  constructor(options: FeedOptions) {
    this.#options = options;
    this.#viewers = new Viewers(options);
  }

  /** A stream for one more viewer, as an answer. Throws `busy` if there are too many. */
  open(): Response {
    const answer = this.#viewers.open(this.#beginning());
    if (!this.#isRunning) void this.#run();
    return answer;
  }

  [Symbol.dispose](): void {
    this.#ending.abort();
    this.#viewers.end();
  }

  /** What a new viewer is sent first. */
  #beginning(): Bytes {
    if (this.#why !== undefined) return encoder.encode(RETRY + textOf("daemon", { connected: false, why: this.#why }));
    if (this.#known === undefined) return encoder.encode(RETRY);
    return this.#snapshot ??= encoder.encode(RETRY + this.#snapshotText(this.#known));
  }

  #snapshotText({ at, picture: { status, servers } }: Known): string {
    const { writes } = this.#options;
    return textOf("daemon", { connected: true, why: null }) + textOf("snapshot", { at, writes, status, servers });
  }

  /** Looks again and again, until nobody watches. */
  async #run(): Promise<void> {
    this.#isRunning = true;
    const { signal } = this.#ending;
    while (this.#viewers.size > 0) {
      await delay(Math.max(0, this.#dueMs - performance.now()), { signal }).catch(() => {}); // it ends
      if (signal.aborted) return;
      await this.#turn();
    }
    this.#isRunning = false;
    this.#know(undefined); // it will be old when somebody comes
    this.#why = undefined;
  }

  async #turn(): Promise<void> {
    const startMs = performance.now();
    const said = await this.#look().then((news) => this.#tell(news), (error) => this.#lose(messageOf(error)));
    const tookMs = performance.now() - startMs;
    this.#dueMs = startMs + Math.max(this.#options.periodMs ?? PERIOD_MS, REST_FACTOR * tookMs);
    if (!this.#ending.signal.aborted) this.#viewers.send(encoder.encode(said));
  }

  /** What the daemon says, and what happened since the look before. */
  async #look(): Promise<Answers["look"]> {
    const known = this.#known;
    return await this.#options.daemon.look(known && { event: known.lastEvent, second: known.lastSecond });
  }

  /** What all viewers are told of a look. */
  #tell(look: Answers["look"]): string {
    const before = this.#known;
    const at = new Date().toISOString();
    const { events, series } = look;
    const picture = pictureOf({ status: look.status, servers: look.servers });
    const isSame = before !== undefined && before.startId === events.startId;
    const lastSecond = series.steps > 0 ? series.from + (series.steps - 1) * series.step : isSame ? before.lastSecond : undefined;
    const known = { picture, at, startId: events.startId, lastEvent: events.last, lastSecond };
    this.#know(known);
    this.#why = undefined;
    if (!isSame) return this.#snapshotText(known);
    const changes = changesBetween(before.picture, picture);
    return textOf("second", { at, ...changes, ...(series.steps > 0 ? { series } : {}) }) + eventsText(events, before.lastEvent);
  }

  /** What all viewers are told where the daemon cannot be asked. A comment, if they know: it shows that the stream is alive. */
  #lose(why: string): string {
    const isTold = this.#why === why;
    this.#know(undefined);
    this.#why = why;
    return isTold ? ":\n\n" : textOf("daemon", { connected: false, why });
  }

  #know(known: Known | undefined): void {
    this.#known = known;
    this.#snapshot = undefined;
  }
}

/** The events after this number, and a gap where some lack. */
function eventsText({ startId, first, last, events }: Answers["events"], after: number): string {
  const next = events[0]?.number ?? last + 1;
  const gap = next > after + 1 ? textOf("gap", { startId, first, last }) : "";
  return gap + events.map((event) => `id: ${startId}-${event.number}\n${textOf("event", event)}`).join("");
}

/** JSON has no line feed, so a message is one line of data. */
function textOf<Name extends keyof LiveMessages>(name: Name, data: LiveMessages[Name]): string {
  return `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
}
