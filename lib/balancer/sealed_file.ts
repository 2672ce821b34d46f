/**
 * Files that the daemon writes for itself: JSON with the name of a format, a version and a checksum, replaced whole. A file that is
 * invalid or written by another program is renamed, never overwritten; one that a newer version of the program wrote is refused and
 * left alone. Knows nothing of what is in them.
 */

import { timingSafeEqual } from "@std/crypto";
import { failWith, messageOf, OperatorError } from "../values/errors.ts";
import { folderOf } from "../values/paths.ts";
import { ifMissing, readPlain } from "../values/plain_file.ts";
import { formatSize } from "../values/size.ts";

/** What is wrong with a file, as a clause. */
export interface Fault {
  readonly why: string;
  /** The file may be right: a newer version of the program may have written it. */
  readonly isNewer?: boolean;
}

/** Where a version of a format has its content, and what is wrong with it in a file; undefined for nothing. */
interface SealedVersion {
  readonly field: string;
  readonly faultOf: (content: unknown) => Fault | undefined;
}

/** A version that is read and no longer written. */
interface EarlierVersion extends SealedVersion {
  /** The content in the form of the version that is written. */
  readonly migrate: (content: unknown) => unknown;
}

/** A format of such a file. */
export interface SealedFormat extends SealedVersion {
  /** What a file of it is called in a sentence. */
  readonly what: string;
  readonly format: string;
  /** The version that is written. */
  readonly version: number;
  readonly bytesMax: number;
  readonly earlier?: Readonly<Record<number, EarlierVersion>>;
}

/** What a file has: its content in the form of the version that is written, the version that it is of, and all its bytes. */
interface Sealed {
  readonly content: unknown;
  readonly version: number;
  readonly bytes: Uint8Array;
}

/** A file that was kept aside: why, as a clause, and under which path. */
export interface KeptAside {
  readonly why: string;
  readonly aside: string;
}

/** How a file is written: `synced` files are on disk when the promise resolves. */
export type Durability = "synced" | "buffered";

const encoder = new TextEncoder();

/**
 * Reads a file; undefined if there is none. A file that cannot be used is renamed. Throws an operator error if the file cannot be
 * read or renamed, is not a plain file, or is newer than this program.
 */
export async function readSealed(path: string, kind: SealedFormat): Promise<Sealed | KeptAside | undefined> {
  const read = await inspectSealed(path, kind);
  if (read === undefined || "content" in read) return read;
  if (read.isNewer !== true) return { why: read.why, aside: await keepAside(path, kind.what, read.why) };
  const wayOut = "start the version that wrote it, or move the file away";
  throw new OperatorError("failed", `Cannot use the ${kind.what} ${JSON.stringify(path)}: ${read.why}; ${wayOut}`);
}

/** Like `readSealed`, but leaves every file where it is. */
export async function inspectSealed(path: string, kind: SealedFormat): Promise<Sealed | Fault | undefined> {
  const cannot = `Cannot read the ${kind.what} ${JSON.stringify(path)}`;
  const bytes = await readPlain(path, kind.bytesMax, cannot).catch(ifMissing(undefined)).catch(failWith(cannot));
  if (bytes === undefined) return undefined;
  if (bytes === null) return { why: `it is larger than the limit of ${formatSize(kind.bytesMax)}` };
  const parsed = await parse(new TextDecoder().decode(bytes), kind);
  return "content" in parsed ? { ...parsed, bytes } : parsed;
}

/**
 * A file with this content, in parts: to join them takes as long as to write them. `json`: the content in one line, as
 * `JSON.stringify` writes it.
 */
export async function formatSealed({ format, version, field }: SealedFormat, json: Uint8Array): Promise<Uint8Array[]> {
  const sha256 = (await digest(json)).toHex();
  const head = JSON.stringify({ format, version, sha256 }, null, 1).slice(0, -"\n}".length);
  return [encoder.encode(`${head},\n "${field}": `), json, encoder.encode("\n}\n")];
}

/** A value as JSON, for `formatSealed`. */
export function jsonBytes(value: unknown): Uint8Array {
  return encoder.encode(JSON.stringify(value));
}

/** These bytes one behind the other. */
export function joinBytes(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** Replaces a file whole, by these parts one behind the other; the old one is intact if this rejects. */
export async function replaceFile(path: string, parts: readonly Uint8Array[], durability: Durability): Promise<void> {
  await writeBeside(path, parts, durability);
  await putInPlace(path, durability);
}

/** The first half of `replaceFile`: the new file is beside the old one. */
export async function writeBeside(path: string, parts: readonly Uint8Array[], durability: Durability): Promise<void> {
  const temporary = besideOf(path);
  await removeLeftover(temporary);
  await writeNew(temporary, parts, durability);
}

/** The second half: the new file takes the place of the old one. */
export async function putInPlace(path: string, durability: Durability): Promise<void> {
  await Deno.rename(besideOf(path), path);
  if (durability === "synced") await syncFolder(path);
}

function besideOf(path: string): string {
  return `${path}.new`;
}

/** Writes a file that does not exist yet. */
export async function writeNew(path: string, parts: readonly Uint8Array[], durability: Durability): Promise<void> {
  using file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
  for (const part of parts) {
    for (let written = 0; written < part.length;) written += await file.write(part.subarray(written));
  }
  if (durability === "synced") await file.sync();
}

/** Removes what a killed daemon may have left; it may have another mode or be a link. */
export async function removeLeftover(path: string): Promise<void> {
  await Deno.remove(path).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
}

/** Writes a rename to disk by syncing the folder (fsync(2)). Windows has no such call and does not need it. */
export async function syncFolder(path: string): Promise<void> {
  if (Deno.build.os === "windows") return;
  using folder = await Deno.open(folderOf(path));
  await folder.sync();
}

/** Whether a value that was read is an object. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

async function parse(text: string, kind: SealedFormat): Promise<Omit<Sealed, "bytes"> | Fault> {
  if (text.trim() === "") return { why: "it is empty" };
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    return { why: "it is incomplete or not JSON" };
  }
  if (!isRecord(file) || file.format !== kind.format) return { why: "another program wrote it" };
  const { version, sha256 } = file;
  const earlier = typeof version === "number" ? kind.earlier?.[version] : undefined;
  if (earlier === undefined && version !== kind.version) return faultOfVersion(version, kind);
  const { field, faultOf } = earlier ?? kind;
  const content = file[field];
  const fault = faultOf(content);
  if (fault !== undefined && fault.isNewer !== true) return fault;
  const isWhole = typeof sha256 === "string" && isDigest(sha256, await digest(jsonBytes(content)));
  if (!isWhole) return { why: "its checksum is wrong" };
  return fault ?? { content: earlier === undefined ? content : earlier.migrate(content), version: version as number };
}

/** What is wrong with a version that is not known. */
function faultOfVersion(version: unknown, { version: known, earlier }: SealedFormat): Fault {
  const reads = earlier === undefined ? `version ${known}` : `versions up to ${known}`;
  const isNewer = Number.isInteger(version) && (version as number) > known;
  return { why: `it has version ${JSON.stringify(version)}, and this program reads ${reads}`, isNewer };
}

async function digest(json: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", json as Uint8Array<ArrayBuffer>));
}

function isDigest(text: string, expected: Uint8Array): boolean {
  return /^[0-9a-f]{64}$/.test(text) && timingSafeEqual(Uint8Array.fromHex(text), expected);
}

async function keepAside(path: string, what: string, why: string): Promise<string> {
  const aside = `${path}.aside-${new Date().toISOString().replaceAll(":", "")}`;
  try {
    await Deno.rename(path, aside);
    return aside;
  } catch (error) {
    const both = `it cannot be used (${why}) and cannot be renamed: ${messageOf(error)}`;
    throw new OperatorError("failed", `Cannot start with the ${what} ${JSON.stringify(path)}: ${both}`);
  }
}
