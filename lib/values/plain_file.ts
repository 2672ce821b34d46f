/**
 * Files that must be plain ones: the state, the lock, the log. Opening a FIFO waits for its other end, and reading a device may
 * have no end, so what is at a path is looked at before it is opened and again afterwards. A link to a plain file is as good as the
 * file.
 */

import { OperatorError } from "./errors.ts";

const OTHER_KINDS = [
  ["isDirectory", "a folder"],
  ["isFifo", "a FIFO"],
  ["isSocket", "a socket"],
  ["isCharDevice", "a character device"],
  ["isBlockDevice", "a block device"],
] as const satisfies readonly (readonly [keyof Deno.FileInfo, string])[];

/** What is read at a time. */
const CHUNK_BYTES = 64 * 1024;

/** What a file is, in words. */
export function kindOf(info: Deno.FileInfo): string {
  if (info.isFile) return "a file";
  return OTHER_KINDS.find(([kind]) => info[kind])?.[1] ?? "something else";
}

/** Whether two looks saw the same file. Where files have no numbers (Windows) they are taken for the same. */
export function isSameFile(one: Deno.FileInfo, other: Deno.FileInfo): boolean {
  return one.ino === other.ino && one.dev === other.dev;
}

/**
 * Opens a plain file. Throws an operator error that begins with `cannot`, which names the path, for anything else; `Deno.errors` as
 * they come.
 */
export async function openPlain(path: string, options: Deno.OpenOptions, cannot: string): Promise<Deno.FsFile> {
  const before = await Deno.stat(path).catch(ifMissing(undefined));
  if (before !== undefined) requirePlain(before, cannot);
  const file = await Deno.open(path, options);
  try {
    requirePlain(await file.stat(), cannot); // it may have been replaced since
    return file;
  } catch (error) {
    file.close();
    throw error;
  }
}

/** Gives `value` for a file that is not there, and throws anything else. */
export function ifMissing<T>(value: T): (error: unknown) => T {
  return (error) => {
    if (error instanceof Deno.errors.NotFound) return value;
    throw error;
  };
}

/** The bytes of a plain file, or null where it has more than `bytesMax`, of which no more is read than that, however it grows. */
export async function readPlain(path: string, bytesMax: number, cannot: string): Promise<Uint8Array<ArrayBuffer> | null> {
  using file = await openPlain(path, { read: true }, cannot);
  const { size } = await file.stat();
  if (size > bytesMax) return null;
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  for (let total = 0; total <= bytesMax;) {
    const chunk = new Uint8Array(Math.min(CHUNK_BYTES, bytesMax + 1 - total));
    const count = await file.read(chunk);
    if (count === null) return await new Blob(chunks).bytes();
    chunks.push(chunk.subarray(0, count));
    total += count;
  }
  return null;
}

function requirePlain(info: Deno.FileInfo, cannot: string): void {
  if (info.isFile) return;
  throw new OperatorError(
    "failed",
    `${cannot}: it is ${kindOf(info)} and must be a plain file; move it away or choose another path`,
  );
}
