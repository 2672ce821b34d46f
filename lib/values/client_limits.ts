/** Limits of clients as people write them: how many connections, how many new ones in a time, and lists of who may connect. */

import { formatIp, parsePrefixLengths, type PrefixLengths } from "./address.ts";
import { type CidrList, parseCidrs } from "./cidr_list.ts";
import { formatDuration, parseDuration } from "./duration.ts";
import { OperatorError } from "./errors.ts";

/** Clients whose addresses begin with the same bits are counted as one: a whole IPv4 address, and the network of an IPv6 host. */
const COUNTED_BITS: PrefixLengths = { ipv4Bits: 32, ipv6Bits: 64 };

/** The shortest and the longest time of a rate. */
const WINDOW_MIN_MS = 1000;
const WINDOW_MAX_MS = 3_600_000;

/** The most connections that clients with a common prefix may have, and the lengths of that prefix. */
export interface ClientConnections {
  readonly max: number;
  readonly lengths: PrefixLengths;
}

/** The most new connections of clients with a common prefix within a time, and the lengths of that prefix. */
export interface ClientRate extends ClientConnections {
  readonly windowMs: number;
}

/** Where the prefixes of a list come from: the command line, or a file, which is read again on request. */
export type ListSource = { readonly kind: "given"; readonly list: CidrList } | { readonly kind: "file"; readonly path: string };

/** What a path in place of a list begins with. No prefix begins so. */
const FILE_MARK = "@";

/** Reads `off` (null), `20`, `20/24`, `20/64` or `20/24,64`, the number being at most `max`. Throws a `usage` error. */
export function parseClientConnections(text: string, max: number): ClientConnections | null {
  if (text === "off") return null;
  const [, count, bits] = text.match(/^([0-9]{1,9})(?:\/(.*))?$/s) ?? [];
  const lengths = bits === undefined ? COUNTED_BITS : parsePrefixLengths(bits, COUNTED_BITS);
  if (isWithin(count, max) && lengths !== undefined) return { max: Number(count), lengths };
  throw new OperatorError(
    "usage",
    `Client connections ${
      JSON.stringify(text)
    } is not off or a number from 1 to ${max}, alone or with prefix lengths: 20, 20/24, 20/24,64`,
  );
}

/** Reads `off` (null), `100/10s`, `100/10s/24` or `100/10s/24,64`, the number being at most `max`. Throws a `usage` error. */
export function parseClientRate(text: string, max: number): ClientRate | null {
  if (text === "off") return null;
  const [, count, time, bits] = text.match(/^([0-9]{1,9})\/([^/]+)(?:\/(.*))?$/s) ?? [];
  const lengths = bits === undefined ? COUNTED_BITS : parsePrefixLengths(bits, COUNTED_BITS);
  const windowMs = time === undefined ? undefined : windowOf(time);
  if (isWithin(count, max) && lengths !== undefined && windowMs !== undefined) return { max: Number(count), windowMs, lengths };
  const times = `${formatDuration(WINDOW_MIN_MS)} to ${formatDuration(WINDOW_MAX_MS)}`;
  throw new OperatorError(
    "usage",
    `Client rate ${
      JSON.stringify(text)
    } is not off or a number from 1 to ${max} per time (${times}), alone or with prefix lengths: ` +
      "100/10s, 100/10s/24, 100/10s/24,64",
  );
}

/**
 * Reads `off` (null), prefixes separated by commas, or `@` and the absolute path of a file with one prefix per line. The path must
 * be absolute because a daemon goes on where it was started, which its operator may have left. Throws a `usage` error that names
 * `flag`.
 */
export function parseListSource(text: string, flag: string, entriesMax: number): ListSource | null {
  if (text === "off") return null;
  const bad = (why: string) => new OperatorError("usage", `Option --${flag} cannot take ${JSON.stringify(text)}: ${why}`);
  if (text.startsWith(FILE_MARK)) {
    const path = text.slice(FILE_MARK.length);
    if (/^(\/|[A-Za-z]:[\\/])./s.test(path) && !path.includes("\0")) return { kind: "file", path };
    throw bad(`a file is ${FILE_MARK} and its absolute path, such as ${FILE_MARK}/etc/balancer/${flag}.txt`);
  }
  try {
    return { kind: "given", list: parseCidrs(text, entriesMax) };
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    const isPath = text.includes("/") && !/^[0-9A-Fa-f:.]+\//.test(text);
    throw bad(isPath ? `a file is written with ${FILE_MARK} before its absolute path` : error.message);
  }
}

/** `192.0.2.7` where the prefix is the whole address, `192.0.2.0/24` where it is not. `bytes` has the first address. */
export function formatPrefix(bytes: Uint8Array, bits: number): string {
  return bits === bytes.length * 8 ? formatIp(bytes) : `${formatIp(bytes)}/${bits}`;
}

function isWithin(count: string | undefined, max: number): boolean {
  return count !== undefined && Number(count) >= 1 && Number(count) <= max;
}

function windowOf(time: string): number | undefined {
  try {
    return parseDuration(time, "Time", WINDOW_MIN_MS, WINDOW_MAX_MS);
  } catch {
    return undefined;
  }
}
