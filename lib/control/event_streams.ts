/**
 * Events as streams of server-sent events (WHATWG HTML, section 9.2). A stream is a place in the list of kept events and goes on as
 * fast as its reader reads, so a slow one takes no memory; one that falls too far behind is ended and counted.
 */

import type { Counters } from "../observe/counters.ts";
import { type Event, type EventFilter, type Events, isMeant } from "../observe/events.ts";
import { LIMITS } from "../values/config.ts";
import { OperatorError } from "../values/errors.ts";
import { EVENT_STREAM } from "./event_stream_type.ts";

/** How often a comment shows that a quiet stream is alive. */
const COMMENT_MS = 15_000;
/** Events in one piece. */
const BATCH = 100;

/** Where a stream begins, and what it is about. */
export interface StreamQuery extends EventFilter {
  /** What the reader has read last, `<startId>-<number>`; undefined: it has not said. */
  readonly lastId?: string;
  readonly after?: number;
  readonly sinceMs?: number;
}

interface StreamsOptions {
  readonly events: Events;
  readonly counters: Counters;
  readonly commentMs?: number;
  readonly behindBytesMax?: number;
}

const encoder = new TextEncoder();

/** The streams of one server. Disposing of them ends them. */
export class EventStreams implements Disposable {
  readonly #options: StreamsOptions;
  readonly #streams = new Set<EventStream>();

  constructor(options: StreamsOptions) {
    this.#options = options;
  }

  /** Opens a stream, as an answer. Throws `busy` if there are too many. */
  open(query: StreamQuery): Response {
    if (this.#streams.size >= LIMITS.eventStreamsMax) {
      const why =
        `${LIMITS.eventStreamsMax} streams are open, which is the limit; end one, or ask without Accept: text/event-stream`;
      throw new OperatorError("busy", `Cannot follow the events: ${why}`);
    }
    const stream = new EventStream(this.#options, query, () => this.#streams.delete(stream));
    this.#streams.add(stream);
    const headers = { "content-type": EVENT_STREAM, "cache-control": "no-store" };
    return new Response(stream.body, { headers });
  }

  [Symbol.dispose](): void {
    for (const stream of [...this.#streams]) stream.end();
  }
}

class EventStream {
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly #options: StreamsOptions;
  readonly #filter: EventFilter;
  readonly #sinceMs: number | undefined;
  readonly #onEnd: () => void;
  readonly #unsubscribe: () => void;
  readonly #timer: ReturnType<typeof setInterval>;
  /** The number of the last event that was sent, or was not meant. */
  #sent: number;
  /** What is to be sent before any event. */
  #prelude: string;
  /** Bytes of the events that have come since the reader last took something. */
  #behind = 0;
  #isOver = false;
  #controller!: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>;
  /** Wakes the stream, which waits for news. */
  #wake: (() => void) | undefined;

  constructor(options: StreamsOptions, query: StreamQuery, onEnd: () => void) {
    const { events, commentMs = COMMENT_MS } = options;
    this.#options = options;
    this.#filter = query;
    this.#onEnd = onEnd;
    const place = placeOf(events, query);
    this.#sent = place.sent;
    this.#sinceMs = place.sinceMs;
    // With the id alone, a reader that has lost the stream before the first event knows where to go on.
    this.#prelude = `id: ${events.startId}-${place.sent}\n\n${place.hasGap ? gapOf(events) : ""}`;
    this.#unsubscribe = events.subscribe((event) => this.#onEvent(event));
    this.#timer = setInterval(() => this.#comment(), commentMs);
    this.body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (controller) => void (this.#controller = controller),
      pull: () => this.#pull(),
      cancel: () => void this.#stop(),
    }, { highWaterMark: 0 });
  }

  /** Ends the stream; the reader may open it anew. */
  end(): void {
    if (this.#stop()) this.#controller.close();
  }

  /** Sends what there is. Resolves when something was sent, or the stream is over. */
  async #pull(): Promise<void> {
    for (;;) {
      if (this.#isOver) return;
      const text = this.#prelude + this.#take();
      this.#prelude = "";
      this.#behind = 0;
      if (text !== "") return this.#controller.enqueue(encoder.encode(text));
      await new Promise<void>((resolve) => this.#wake = resolve);
      this.#wake = undefined;
    }
  }

  /** The next events, as text. */
  #take(): string {
    const { events } = this.#options;
    if (this.#sent < events.first - 1) { // it was too slow, though not by many bytes
      this.#sent = events.first - 1;
      return gapOf(events);
    }
    let text = "";
    for (const event of events.between(this.#sent, BATCH)) {
      this.#sent = event.number;
      if (isMeant(event, this.#filter, this.#sinceMs)) text += textOf(events.startId, event);
    }
    return text;
  }

  #onEvent(event: Event): void {
    if (this.#wake !== undefined) return this.#wake();
    this.#behind += textOf(this.#options.events.startId, event).length;
    if (this.#behind <= (this.#options.behindBytesMax ?? LIMITS.eventStreamBytesMax) || !this.#stop()) return;
    this.#options.counters.add("eventStreamsDropped");
    this.#controller.error(new Error("The reader of the events does not read"));
  }

  #comment(): void {
    if (this.#wake === undefined) return; // it has something to send
    this.#prelude = ":\n\n";
    this.#wake();
  }

  /** Returns false if it was over already. */
  #stop(): boolean {
    if (this.#isOver) return false;
    this.#isOver = true;
    clearInterval(this.#timer);
    this.#unsubscribe();
    this.#onEnd();
    this.#wake?.();
    return true;
  }
}

/** Where a stream begins: after which event, from when on, and whether events lack before it. */
function placeOf(
  events: Events,
  { lastId, after, sinceMs }: StreamQuery,
): { readonly sent: number; readonly sinceMs?: number; readonly hasGap: boolean } {
  const { startId, first, last } = events;
  const oldest = Math.max(0, first - 1);
  const known = lastId === undefined ? after : numberOf(lastId, startId);
  if (known !== undefined && known >= oldest && known <= last) return { sent: known, hasGap: false };
  if (lastId !== undefined || known !== undefined) return { sent: oldest, hasGap: true };
  return sinceMs === undefined ? { sent: last, hasGap: false } : { sent: oldest, sinceMs, hasGap: false };
}

/** The number in an id of this start; -1 if it is of another one, or none at all. */
function numberOf(id: string, startId: string): number {
  const number = id.startsWith(`${startId}-`) ? id.slice(startId.length + 1) : "";
  return /^[0-9]{1,15}$/.test(number) ? Number(number) : -1;
}

/** JSON has no line feed, so an event is one line of data. */
function textOf(startId: string, event: Event): string {
  return `id: ${startId}-${event.number}\nevent: event\ndata: ${JSON.stringify(event)}\n\n`;
}

/** Says that events lack, and which there are. Without an id: the reader's last one stays until there is an event. */
function gapOf({ startId, first, last }: Events): string {
  return `event: gap\ndata: ${JSON.stringify({ startId, first, last })}\n\n`;
}
