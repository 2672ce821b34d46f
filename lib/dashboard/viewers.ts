/**
 * The streams of those who watch. All are sent the same bytes, which are kept once; one that does not read them is dropped and
 * counted, so that it takes no memory.
 */

import { EVENT_STREAM } from "../control/event_stream_type.ts";
import { OperatorError } from "../values/errors.ts";

/** How far a viewer may fall behind what it was first sent, in bytes. */
const BEHIND_BYTES_MAX = 1024 ** 2;

/** Bytes of a stream. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** Limits of Viewers. */
interface ViewersOptions {
  /** Viewers at a time. */
  readonly viewersMax: number;
  readonly behindBytesMax?: number;
  /** Told of each viewer that is dropped. */
  readonly onDrop: () => void;
}

/** Everybody who watches one dashboard. */
export class Viewers {
  readonly #options: ViewersOptions;
  readonly #controllers = new Set<ReadableStreamDefaultController<Bytes>>();

  constructor(options: ViewersOptions) {
    this.#options = options;
  }

  /** How many there are. */
  get size(): number {
    return this.#controllers.size;
  }

  /** Opens a stream that begins with these bytes. Throws `busy` if there are too many. */
  open(first: Bytes): Response {
    const { viewersMax, behindBytesMax = BEHIND_BYTES_MAX } = this.#options;
    if (this.#controllers.size >= viewersMax) {
      throw new OperatorError("busy", `Cannot follow the dashboard: ${viewersMax} viewers do, which is the limit; close a page`);
    }
    let own: ReadableStreamDefaultController<Bytes>;
    const body = new ReadableStream<Bytes>({
      start: (controller) => void this.#controllers.add(own = controller),
      cancel: () => void this.#controllers.delete(own),
    }, new ByteLengthQueuingStrategy({ highWaterMark: behindBytesMax + first.length }));
    own!.enqueue(first);
    // The second header is for nginx, if it is in front: it would keep what is small until there is more.
    return new Response(body, { headers: { "content-type": EVENT_STREAM, "x-accel-buffering": "no" } });
  }

  /** Sends it to all. */
  send(bytes: Bytes): void {
    for (const controller of this.#controllers) {
      if (controller.desiredSize! > 0) controller.enqueue(bytes);
      else this.#drop(controller);
    }
  }

  /** Ends every stream. */
  end(): void {
    for (const controller of this.#controllers) controller.close();
    this.#controllers.clear();
  }

  #drop(controller: ReadableStreamDefaultController<Bytes>): void {
    this.#controllers.delete(controller);
    controller.error(new Error("The viewer does not read"));
    this.#options.onDrop();
  }
}
