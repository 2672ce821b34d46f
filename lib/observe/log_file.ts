/**
 * The log as a file: a plain one that is appended to, cut at a size, and opened anew when another program has moved it away. Knows
 * nothing of what is logged.
 */

import { failWith, messageOf } from "../values/errors.ts";
import { openPlain } from "../values/plain_file.ts";

/** How a log file is cut. */
export interface Rotation {
  readonly bytesMax: number;
  /** Old files that are kept, as `<path>.1` (the last) and so on. */
  readonly oldFilesMax: number;
}

/** A log file that is open. What cannot be written is left out and told as soon as something can. */
export class LogFile {
  /** What is under way: a write never meets a change of the file. */
  #last: Promise<unknown> = Promise.resolve();
  #file: Deno.FsFile;
  #bytes = 0;
  /** From so many bytes on it is cut. */
  #bytesMax: number;
  /** Why the last lines were not written. */
  #fault: string | undefined;

  private constructor(readonly path: string, readonly rotation: Rotation, file: Deno.FsFile) {
    this.#file = file;
    this.#bytesMax = rotation.bytesMax;
  }

  /** Opens the file, and makes it for its owner alone if it is not there. Throws an operator error. */
  static async open(path: string, rotation: Rotation): Promise<LogFile> {
    const opened = new LogFile(path, rotation, await openLog(path));
    opened.#bytes = (await opened.#file.stat()).size;
    return opened;
  }

  /** Appends whole lines. Never rejects. */
  write(lines: Uint8Array): Promise<number> {
    return this.#next(async () => {
      try {
        if (this.#bytes > 0 && this.#bytes + lines.length > this.#bytesMax) await this.#rotate();
        if (this.#fault !== undefined) {
          await this.#append(new TextEncoder().encode(faultLine("Lines of the log could not be written", this.#fault)));
        }
        this.#fault = undefined;
        await this.#append(lines);
      } catch (error) {
        this.#fault = messageOf(error);
      }
      return lines.length;
    });
  }

  /** Opens what is at the path now; where it cannot, goes on with the file that it has and throws an operator error. */
  reopen(): Promise<void> {
    return this.#next(() => this.#takeNew());
  }

  /** Closes it after all that was to be written. */
  close(): Promise<void> {
    return this.#next(() => Promise.resolve(this.#file.close()));
  }

  #next<T>(act: () => Promise<T>): Promise<T> {
    const done = this.#last.then(act);
    this.#last = done.catch(() => {});
    return done;
  }

  async #append(bytes: Uint8Array): Promise<void> {
    for (let written = 0; written < bytes.length;) {
      const count = await this.#file.write(bytes.subarray(written));
      written += count;
      this.#bytes += count;
    }
  }

  /** Cuts the file. Where no new one can be made the old ones stay as they are, and this one grows until it is tried again. */
  async #rotate(): Promise<void> {
    const { path, rotation } = this;
    const next = `${path}.new`;
    try {
      await Deno.remove(next).catch(() => {}); // what a process that was killed may have left
      const file = await openLog(next);
      for (let i = rotation.oldFilesMax - 1; i > 0; i--) await Deno.rename(`${path}.${i}`, `${path}.${i + 1}`).catch(() => {});
      await Deno.rename(path, `${path}.1`).catch(() => {}); // gone: another program was quicker
      await Deno.rename(next, path);
      await this.#take(file);
    } catch (error) {
      await this.#append(new TextEncoder().encode(faultLine("The log could not be cut", messageOf(error))));
      this.#bytesMax = this.#bytes + rotation.bytesMax;
    }
  }

  async #takeNew(): Promise<void> {
    await this.#take(await openLog(this.path));
  }

  async #take(file: Deno.FsFile): Promise<void> {
    this.#file.close();
    this.#file = file;
    this.#bytes = (await file.stat()).size;
    this.#bytesMax = this.rotation.bytesMax;
  }
}

async function openLog(path: string): Promise<Deno.FsFile> {
  const cannot = `Cannot log to ${JSON.stringify(path)}`;
  return await openPlain(path, { append: true, create: true, mode: 0o600 }, cannot).catch(failWith(cannot));
}

function faultLine(what: string, why: string): string {
  // On a line of its own: of the last line that was tried the beginning may be there.
  return `\n${JSON.stringify({ level: "WARN", message: `${what}: ${why}` })}\n`;
}
