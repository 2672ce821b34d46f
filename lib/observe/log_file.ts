/**
 * A log file: appended to, rotated at a size, and reopened when another program has moved it away. Knows nothing about what is
 * logged.
 */

import { failWith, messageOf } from "../values/errors.ts";
import { openPlain } from "../values/plain_file.ts";
import { type Appended, type LineOutput, wholeLines } from "./line_buffer.ts";

/** When a log file is rotated, and what is kept. */
interface Rotation {
  readonly bytesMax: number;
  /** Old files to keep, as `<path>.1` (the newest) and so on. */
  readonly oldFilesMax: number;
  /** Called when a file could not be rotated, with the reason as a clause. The file grows until the next attempt. */
  readonly onStuck: (why: string) => void;
}

/** How every log file of the daemon is rotated: it and its old files take at most 60 MiB. */
export const ROTATION = { bytesMax: 10 * 1024 ** 2, oldFilesMax: 5 } as const;

/** An open log file. */
export class LogFile implements LineOutput {
  /** The last operation: writes and rotations run one after another. */
  #last: Promise<unknown> = Promise.resolve();
  #file: Deno.FsFile;
  #bytes = 0;
  /** The size at which it is rotated. */
  #bytesMax: number;

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

  /** Appends whole lines, and no part of a line. */
  append(lines: Uint8Array): Promise<Appended> {
    return this.#next(async () => {
      if (this.#bytes > 0 && this.#bytes + lines.length > this.#bytesMax) await this.#rotate();
      const { bytes, fault } = await this.#write(lines);
      const whole = wholeLines(lines, bytes);
      if (whole < bytes) await this.#shorten(bytes - whole);
      return { bytes: whole, fault };
    });
  }

  /** What kind of file it is, and which one. */
  stat(): Promise<Deno.FileInfo> {
    return this.#next(() => this.#file.stat());
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

  /** Returns how many bytes were written, and why not all of them. */
  async #write(lines: Uint8Array): Promise<Appended> {
    let bytes = 0;
    try {
      while (bytes < lines.length) bytes += await this.#file.write(lines.subarray(bytes));
      return { bytes, fault: undefined };
    } catch (error) {
      return { bytes, fault: messageOf(error) };
    } finally {
      this.#bytes += bytes;
    }
  }

  /** Cuts the beginning of a line off: programs that read lines of JSON stop at half a one. */
  async #shorten(bytes: number): Promise<void> {
    try {
      const { size } = await this.#file.stat(); // another program may have emptied the file
      await this.#file.truncate(Math.max(0, size - bytes));
      this.#bytes -= bytes;
    } catch { /* the next line then begins in the middle of this one */ }
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
      this.#bytesMax = this.#bytes + rotation.bytesMax;
      rotation.onStuck(messageOf(error));
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
