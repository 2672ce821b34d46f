/**
 * The track file: one number that says whether the balancer is ready, for a program that watches a file instead of asking, such as
 * keepalived (keepalived.conf(5), `track_file`: with weight 0 any number but 0 is a fault). It is replaced whole at every change.
 */

import { replaceFile } from "../balancer/sealed_file.ts";
import { logger } from "../observe/log.ts";
import { messageOf, OperatorError } from "../values/errors.ts";

/** What the file says. */
const READY = "0\n";
const NOT_READY = "1\n";

/** How often readiness is looked at. */
const INTERVAL_MS = 250;

const encoder = new TextEncoder();
const log = logger("daemon");

/** The file of one daemon. Disposing of it says that the balancer is not ready. */
export class TrackFile implements AsyncDisposable {
  readonly #path: string;
  #written = NOT_READY;
  #timer: ReturnType<typeof setInterval> | undefined;
  #lastWrite: Promise<void> = Promise.resolve();

  private constructor(path: string) {
    this.#path = path;
  }

  /** The file of an earlier process, which says what `show` is about to say. */
  static takeOver(path: string): TrackFile {
    return new TrackFile(path);
  }

  /** Writes that the balancer is not ready. Throws an operator error if it cannot. */
  static async open(path: string): Promise<TrackFile> {
    try {
      await write(path, NOT_READY);
    } catch (error) {
      throw new OperatorError("failed", `Cannot write track file ${JSON.stringify(path)}: ${messageOf(error)}`);
    }
    return new TrackFile(path);
  }

  /** From now on the file says what `isReady` says, a quarter of a second later at most. */
  show(isReady: () => boolean): void {
    clearInterval(this.#timer);
    const look = () => this.#say(isReady() ? READY : NOT_READY);
    look();
    this.#timer = setInterval(look, INTERVAL_MS);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#say(NOT_READY);
    await this.#lastWrite;
  }

  #say(text: string): void {
    if (text === this.#written) return;
    this.#written = text;
    this.#lastWrite = this.#lastWrite.then(() => write(this.#path, text)).catch((error) => {
      log.error("Cannot write track file {path}: {why}; it is tried again", { path: this.#path, why: messageOf(error) });
      this.#written = ""; // neither of the two: the next look writes
    });
  }
}

async function write(path: string, text: string): Promise<void> {
  await replaceFile(path, [encoder.encode(text)], "buffered");
}
