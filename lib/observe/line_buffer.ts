/**
 * Lines on their way to an output that may be slow, full or gone. Whoever writes a line never waits: lines are kept up to a limit
 * and written in the background, many at a time; lines beyond the limit, or that the output does not take, are dropped and told of.
 * Knows nothing about what is logged.
 */

import { messageOf } from "../values/errors.ts";

/** Where lines go. */
export interface LineOutput {
  /** Writes lines, each with its line feed. Never rejects. */
  append(lines: Uint8Array): Promise<Appended>;
}

/** How far an output got. */
export interface Appended {
  /** The bytes of those first lines that it took whole. */
  readonly bytes: number;
  /** Why it did not take all, as a clause; undefined if it did. */
  readonly fault: string | undefined;
}

/** Options of a LineBuffer. */
interface LineBufferOptions {
  readonly output: LineOutput;
  /** Limit on the lines that are kept, those being written included, in UTF-16 units: for ASCII, in bytes. */
  readonly keptMax: number;
  /** Called when lines were dropped, with their number and the reason as a clause. */
  readonly onDropped?: (count: number, why: string) => void;
  /** Makes a line that says in the output itself how many lines were dropped before the next one. Without it, none does. */
  readonly noticeOf?: (count: number, why: string) => string;
}

const LINE_FEED = 10;

/** Lines that wait to be written. */
export class LineBuffer {
  readonly #options: LineBufferOptions;
  readonly #encoder = new TextEncoder();
  #waiting: string[] = [];
  /** UTF-16 units that wait or are being written. */
  #kept = 0;
  #lines = 0;
  /** Lines that were dropped since the last notice, and why the last of them was. */
  #unsaid = { count: 0, why: "" };
  #writing: Promise<void> | undefined;

  constructor(options: LineBufferOptions) {
    this.#options = options;
  }

  /** Lines that wait or are being written. */
  get lines(): number {
    return this.#lines;
  }

  /** Takes a line, which ends with a line feed, or drops it. */
  write(line: string): void {
    if (this.#kept + line.length > this.#options.keptMax) return this.#drop(1, "they come faster than they can be written");
    this.#waiting.push(line);
    this.#kept += line.length;
    this.#lines++;
    this.#writing ??= this.#writeAll().finally(() => this.#writing = undefined);
  }

  /** Resolves when every line that was taken is written or dropped. */
  async flush(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
  }

  async #writeAll(): Promise<void> {
    await Promise.resolve(); // lines that are written in this turn go out together
    while (this.#waiting.length > 0) {
      const text = this.#waiting.join("");
      const lines = this.#waiting.length;
      this.#waiting = [];
      const isTaken = await this.#append(text);
      this.#kept -= text.length;
      this.#lines -= lines;
      if (isTaken) await this.#giveNotice();
    }
  }

  /** Returns whether the output took all. */
  async #append(text: string): Promise<boolean> {
    const bytes = this.#encoder.encode(text);
    const { bytes: taken, fault } = await this.#options.output.append(bytes);
    if (fault !== undefined) this.#drop(countLines(bytes.subarray(taken)), fault);
    return fault === undefined;
  }

  /** Says in the output how many lines were dropped; if it does not take that either, the next notice does. */
  async #giveNotice(): Promise<void> {
    const { noticeOf, output } = this.#options;
    const { count, why } = this.#unsaid;
    if (count === 0 || noticeOf === undefined) return;
    const { fault } = await output.append(this.#encoder.encode(noticeOf(count, why)));
    if (fault === undefined) this.#unsaid.count -= count;
  }

  #drop(count: number, why: string): void {
    this.#unsaid = { count: this.#unsaid.count + count, why };
    this.#options.onDropped?.(count, why);
  }
}

/** A stream as an output. Once it has failed, it is left alone. */
export function streamOutput(stream: { write(bytes: Uint8Array): Promise<number> }): LineOutput {
  let fault: string | undefined;
  return {
    async append(lines) {
      let sent = 0;
      try {
        while (fault === undefined && sent < lines.length) sent += await stream.write(lines.subarray(sent));
      } catch (error) {
        fault = messageOf(error);
      }
      return { bytes: wholeLines(lines, sent), fault };
    },
  };
}

/** The bytes of the whole lines among the first `sent` bytes. */
export function wholeLines(lines: Uint8Array, sent: number): number {
  return sent === 0 ? 0 : lines.lastIndexOf(LINE_FEED, sent - 1) + 1;
}

function countLines(lines: Uint8Array): number {
  let count = 0;
  for (let at = lines.indexOf(LINE_FEED); at >= 0; at = lines.indexOf(LINE_FEED, at + 1)) count++;
  return count;
}
