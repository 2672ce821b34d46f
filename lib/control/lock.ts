/**
 * The lock of a balancer: a file that one process at a time has locked (flock(2)), for as long as it lives. Whoever removes the
 * file removes no lock, but the next process would lock another file: so whether it is still the file at the path is looked at
 * again.
 */

import { failWith } from "../values/errors.ts";
import { ifMissing, isSameFile, openPlain } from "../values/plain_file.ts";

/** Locks that are held until the process ends; kept here so that nothing may take them for unused and close them. */
const held = new Set<Lock>();

/** A look at the lock by somebody else lasts a moment, and is no reason to give up. */
const TRIES = 5;
const PAUSE_MS = 20;

/** What was at the lock's path: this lock; no file or another, which is locked now; a file that another process has locked. */
export type LockFound = "ours" | "renewed" | "taken";

/** A lock that this process holds. It is never given back: the system does that when the process has ended. */
export class Lock {
  #file: Deno.FsFile;

  private constructor(readonly path: string, file: Deno.FsFile) {
    this.#file = file;
  }

  /** Takes the lock; undefined where another process has it. Throws an operator error where there can be no such file. */
  static async take(path: string): Promise<Lock | undefined> {
    for (let tries = TRIES; tries > 0; tries--) {
      const file = await lockFile(path);
      if (file !== undefined) return keep(new Lock(path, file));
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  /** Looks whether this is still the lock, and takes it anew if it is not and nobody else has. */
  async check(): Promise<LockFound> {
    if (await isAt(this.path, this.#file)) return "ours";
    const file = await lockFile(this.path);
    if (file === undefined) return "taken";
    this.#file.close();
    this.#file = file;
    return "renewed";
  }
}

/** Whether a process holds the lock at the path. */
export async function isLocked(path: string): Promise<boolean> {
  const file = await openPlain(path, { read: true }, `Cannot look at lock file ${JSON.stringify(path)}`).catch(() => undefined);
  if (file === undefined) return false;
  using _file = file;
  return !await file.tryLock(false);
}

function keep(lock: Lock): Lock {
  held.add(lock);
  return lock;
}

/** The file at the path, locked; undefined where another process has locked it or put another there meanwhile. */
async function lockFile(path: string): Promise<Deno.FsFile | undefined> {
  const cannot = `Cannot open lock file ${JSON.stringify(path)}`;
  const file = await openPlain(path, { write: true, create: true, mode: 0o600 }, cannot).catch(failWith(cannot));
  if (await file.tryLock(true) && await isAt(path, file)) return file;
  file.close();
}

async function isAt(path: string, file: Deno.FsFile): Promise<boolean> {
  const info = await Deno.stat(path).catch(ifMissing(undefined));
  return info !== undefined && isSameFile(info, await file.stat());
}
