/**
 * Files that the daemon writes for itself: JSON with the name of a format, a version and a checksum, replaced whole. A file that is
 * invalid or written by another program is renamed, never overwritten. Knows nothing of what is in them.
 */

import { timingSafeEqual } from "@std/crypto";
import { failWith, messageOf, OperatorError } from "../values/errors.ts";
import { folderOf } from "../values/paths.ts";
import { ifMissing, readPlain } from "../values/plain_file.ts";
import { formatSize } from "../values/size.ts";

/** A format of such a file. */
export interface SealedFormat {
  /** What a file of it is called in a sentence. */
  readonly what: string;
  readonly format: string;
  readonly version: number;
  readonly bytesMax: number;
  /** The field of the content, and what is wrong with it in a file, as a clause; undefined for nothing. */
  readonly field: string;
  readonly faultOf: (content: unknown) => string | undefined;
}

/** A file that was kept aside: why, as a clause, and under which path. */
export interface KeptAside {
  readonly why: string;
  readonly aside: string;
}

/** How a file is written: `synced` files are on disk when the promise resolves. */
export type Durability = "synced" | "buffered";

/**
 * Reads the content of a file; undefined if there is none. A file that cannot be used is renamed. Throws an operator error if the
 * file cannot be read or renamed, or is not a plain file.
 */
export async function readSealed(
  path: string,
  kind: SealedFormat,
): Promise<{ readonly content: unknown } | KeptAside | undefined> {
  const cannot = `Cannot read the ${kind.what} ${JSON.stringify(path)}`;
  const bytes = await readPlain(path, kind.bytesMax, cannot).catch(ifMissing(undefined)).catch(failWith(cannot));
  if (bytes === undefined) return undefined;
  const parsed = bytes === null
    ? `it is larger than the limit of ${formatSize(kind.bytesMax)}`
    : await parse(new TextDecoder().decode(bytes), kind);
  return typeof parsed === "string" ? { why: parsed, aside: await keepAside(path, kind.what, parsed) } : parsed;
}

/** The text of a file with this content. */
export async function formatSealed({ format, version, field }: SealedFormat, content: unknown): Promise<string> {
  const sha256 = (await digest(content)).toHex();
  return JSON.stringify({ format, version, sha256, [field]: content }, null, 1) + "\n";
}

/** Replaces a file whole; the old one is intact if this rejects. */
export async function replaceFile(path: string, text: string, durability: Durability): Promise<void> {
  const temporary = `${path}.new`;
  await removeLeftover(temporary);
  await writeNew(temporary, text, durability);
  await Deno.rename(temporary, path);
  if (durability === "synced") await syncFolder(path);
}

/** Writes a file that does not exist yet. */
export async function writeNew(path: string, text: string, durability: Durability): Promise<void> {
  using file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
  const bytes = new TextEncoder().encode(text);
  for (let written = 0; written < bytes.length;) written += await file.write(bytes.subarray(written));
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

/** The content, or the reason why the text cannot be used, as a clause. */
async function parse(text: string, { format, version, field, faultOf }: SealedFormat): Promise<{ content: unknown } | string> {
  if (text.trim() === "") return "it is empty";
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    return "it is incomplete or not JSON";
  }
  if (!isRecord(file) || file.format !== format) return "another program wrote it";
  if (file.version !== version) return `it has version ${JSON.stringify(file.version)}, and this program reads version ${version}`;
  const content = file[field];
  const fault = faultOf(content);
  if (fault !== undefined) return fault;
  const isWhole = typeof file.sha256 === "string" && isDigest(file.sha256, await digest(content));
  return isWhole ? { content } : "its checksum is wrong";
}

async function digest(content: unknown): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify(content))));
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
