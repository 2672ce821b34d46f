/**
 * The lock of a balancer: a file that its process has locked (flock(2)) while it runs. Removing the file does not release the lock,
 * but the next process would then lock a new file. So every lock is checked to be on the file that is at the path.
 */

import { delay } from "@std/async";
import { failWith } from "../values/errors.ts";
import { ifMissing, isSameFile, openPlain } from "../values/plain_file.ts";

/** Locks are held until the process ends. The set keeps their files from being garbage-collected and closed. */
const held = new Set<Lock>();

/** Attempts to take a lock: `isLocked` of another process holds it for a moment. */
const TRIES = 5;
const PAUSE_MS = 20;

/**
 * How long a process that finds a state without a lock waits for the lock: whoever runs with that state restores it. Three times as
 * long as the guard takes to see that the socket is gone, too.
 */
const RESTORED_WITHIN_MS = 300;

/** What was at the path: this lock; no file or an unlocked one, which is locked now; a file that another process has locked. */
type LockFound = "ours" | "renewed" | "taken";

/** A lock of this process. The system releases it when the process ends. */
export class Lock {
  #file: Deno.FsFile;

  private constructor(readonly path: string, file: Deno.FsFile) {
    this.#file = file;
  }

  /**
   * Takes the lock; undefined if another process has it. `state` is the file that a balancer with this lock keeps, if it keeps one.
   * Throws an operator error if the file cannot be opened.
   */
  static async take(path: string, state: string | null = null): Promise<Lock | undefined> {
    if (state !== null && await exists(state)) await untilRestored(path);
    for (let tries = TRIES; tries > 0; tries--) {
      const file = await lockFile(path);
      if (file !== undefined) return keep(new Lock(path, file));
      await delay(PAUSE_MS);
    }
  }

  /**
   * Takes over the lock of another process, whose descriptor is open here as long as this process runs: flock(2) locks what both
   * have open. Throws an operator error if the file cannot be opened.
   */
  static async takeOver(path: string): Promise<Lock> {
    const cannot = `Cannot open lock file ${JSON.stringify(path)}`;
    const file = await openPlain(path, { write: true, create: true, mode: 0o600 }, cannot).catch(failWith(cannot));
    await file.tryLock(true); // fails, as it is locked; a file that has just replaced that one is locked now
    return keep(new Lock(path, file));
  }

  /** Checks that the file at the path is still this lock, and takes the lock again if no other process has. */
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
  const file = await openPlain(path, { read: true }, `Cannot read lock file ${JSON.stringify(path)}`).catch(() => undefined);
  if (file === undefined) return false;
  using _file = file;
  return !await file.tryLock(false);
}

/** A balancer has run here, so there is a lock, unless somebody has removed it. If it still runs, it restores the lock. */
async function untilRestored(path: string): Promise<void> {
  for (let waitedMs = 0; waitedMs < RESTORED_WITHIN_MS && !await exists(path); waitedMs += PAUSE_MS) await delay(PAUSE_MS);
}

/** Whether something is there and can be seen: what hinders that is told by whoever opens it. */
function exists(path: string): Promise<boolean> {
  return Deno.lstat(path).then(() => true, () => false);
}

function keep(lock: Lock): Lock {
  held.add(lock);
  return lock;
}

/** The file at the path, locked; undefined if another process has locked or replaced it. */
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
