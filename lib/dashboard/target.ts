/** The target of a request, taken apart: what one program may read as another path than the next is refused. Pure. */

import { Refused } from "./refused.ts";

/** Bytes of a target: a query for 300 servers fits. */
export const TARGET_BYTES_MAX = 8192;

/** A path in its parts, and a query. */
export interface Target {
  /** The parts of the path, decoded. */
  readonly parts: readonly string[];
  /** As received, without its question mark. */
  readonly query: string;
}

/** Visible ASCII: what may stand in a request target (RFC 9112, section 3.2). */
const VISIBLE = /^\/[!-~]*$/;

/** Reads a target. Throws `Refused` for anything but a plain path with a query. */
export function readTarget(target: string): Target {
  if (target.length > TARGET_BYTES_MAX) throw bad(`is longer than ${TARGET_BYTES_MAX} bytes`);
  if (!VISIBLE.test(target)) throw bad("is not a path");
  if (/[\\#]/.test(target)) throw bad("has a character that no path has");
  const [path, ...query] = target.split("?");
  return { parts: path.slice(1).split("/").map(readPart), query: query.join("?") };
}

function readPart(raw: string, _index: number, all: readonly string[]): string {
  const part = decoded(raw);
  if (part === "" && all.length > 1) throw bad("has an empty part");
  if (part === "." || part === "..") throw bad("leads out of itself");
  // deno-lint-ignore no-control-regex -- what is looked for
  if (/[/\\\u0000-\u001f\u007f]/.test(part)) throw bad("has an encoded slash or control character");
  return part;
}

function decoded(raw: string): string {
  try {
    return decodeURIComponent(raw);
  } catch {
    throw bad("is not encoded as UTF-8");
  }
}

function bad(why: string): Refused {
  return new Refused("badRequest", `The path of the request ${why}`);
}
