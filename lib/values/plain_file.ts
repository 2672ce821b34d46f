/**
 * Files that must be plain files: the state, the lock, the log. Opening a FIFO blocks until its other end is opened, and reading a
 * device may never end, so the file type is checked before opening and again afterwards. A link to a plain file is accepted.
 */

import { OperatorError } from "./errors.ts";

const OTHER_KINDS = [
  ["isDirectory", "a folder"],
  ["isFifo", "a FIFO"],
  ["isSocket", "a socket"],
  ["isCharDevice", "a character device"],
  ["isBlockDevice", "a block device"],
] as const satisfies readonly (readonly [keyof Deno.FileInfo, string])[];

/** Bytes per read. */
const CHUNK_BYTES = 64 * 1024;

/** The type of a file, in words. */
export function kindOf(info: Deno.FileInfo): string {
  if (info.isFile) return "a file";
  return OTHER_KINDS.find(([kind]) => info[kind])?.[1] ?? "something else";
}

/** Whether both are the same file. Always true where files have no inode numbers (Windows). */
export function isSameFile(one: Deno.FileInfo, other: Deno.FileInfo): boolean {
  return one.ino === other.ino && one.dev === other.dev;
}

/**
 * Opens a plain file. Throws an operator error that begins with `cannot`, which names the path, for any other type of file, and
 * `Deno.errors` unchanged.
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

/** For `catch`: gives `value` if the file does not exist, and rethrows any other error. */
export function ifMissing<T>(value: T): (error: unknown) => T {
  return (error) => {
    if (error instanceof Deno.errors.NotFound) return value;
    throw error;
  };
}

/** The bytes of a plain file, or null if it has more than `bytesMax`. Never reads more, even if the file grows meanwhile. */
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
