/**
 * The log file: appended to, rotated at a size, and reopened when another program has moved it away. Knows nothing about what is
 * logged.
 */

import { failWith, messageOf } from "../values/errors.ts";
import { openPlain } from "../values/plain_file.ts";

/** When a log file is rotated, and what is kept. */
interface Rotation {
  readonly bytesMax: number;
  /** Old files to keep, as `<path>.1` (the newest) and so on. */
  readonly oldFilesMax: number;
}

/** An open log file. Lines that cannot be written are dropped, and a later line says so. */
export class LogFile {
  /** The last operation: writes and rotations run one after another. */
  #last: Promise<unknown> = Promise.resolve();
  #file: Deno.FsFile;
  #bytes = 0;
  /** The size at which it is rotated. */
  #bytesMax: number;
  /** Why the last lines were dropped; undefined if they were written. */
  #fault: string | undefined;

  private constructor(readonly path: string, readonly rotation: Rotation, file: Deno.FsFile) {
    this.#file = file;
    this.#bytesMax = rotation.bytesMax;
  }

  /** Opens the file, or creates it with mode 0600. Throws an operator error. */
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
          await this.#append(
            new TextEncoder().encode(faultLine("Log lines were dropped because they could not be written", this.#fault)),
          );
        }
        this.#fault = undefined;
        await this.#append(lines);
      } catch (error) {
        this.#fault = messageOf(error);
      }
      return lines.length;
    });
  }

  /** Reopens the file at the path. If that fails, keeps the current file and throws an operator error. */
  reopen(): Promise<void> {
    return this.#next(() => this.#takeNew());
  }

  /** Closes the file after pending writes. */
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

  /** Rotates the file. If no new file can be created, all files stay, and this one grows until the next attempt. */
  async #rotate(): Promise<void> {
    const { path, rotation } = this;
    const next = `${path}.new`;
    try {
      await Deno.remove(next).catch(() => {}); // left by a process that was killed
      const file = await openLog(next);
      for (let i = rotation.oldFilesMax - 1; i > 0; i--) await Deno.rename(`${path}.${i}`, `${path}.${i + 1}`).catch(() => {});
      await Deno.rename(path, `${path}.1`).catch(() => {}); // missing: another program has moved it
      await Deno.rename(next, path);
      await this.#take(file);
    } catch (error) {
      await this.#append(new TextEncoder().encode(faultLine("The log file could not be rotated", messageOf(error))));
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
  // Starts a new line, since the last line may have been written in part.
  return `\n${JSON.stringify({ level: "WARN", message: `${what}: ${why}` })}\n`;
}
