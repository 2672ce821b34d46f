/**
 * The id of a connection as logs, the API and PROXY headers show it: which run of the daemon, and which of its connections. No two
 * connections of any two daemons have the same id. Pure, and callable from every thread.
 */

import { OperatorError } from "./errors.ts";

/** Random bytes of a start id. With 64 bits, two of a million starts are alike with a chance of one in 37 million. */
const START_ID_BYTES = 8;

/** A random id for one run of the daemon: 16 hexadecimal digits. */
export function newStartId(): string {
  return crypto.getRandomValues(new Uint8Array(START_ID_BYTES)).toHex();
}

/**
 * The id of a connection: `<start id>-<number>`, both in hexadecimal, at most 31 ASCII characters. `number` is the engine's number
 * of the connection (`id` of an OpenConnection): an integer from 0 to 2⁵³ - 1 that the engine gives to one connection only.
 */
export function formatConnectionId(startId: string, number: number): string {
  // In two halves: V8 writes a number of more than 32 bits ten times more slowly.
  const high = Math.floor(number / 2 ** 32);
  const low = (number >>> 0).toString(16);
  return high === 0 ? `${startId}-${low}` : `${startId}-${high.toString(16)}${low.padStart(8, "0")}`;
}

/** The most hexadecimal digits of a number. */
const DIGITS_MAX = 14;

/** What an id says: the start of a daemon, and the engine's number of the connection. */
export interface ConnectionId {
  readonly startId: string;
  readonly number: number;
}

/** Reads an id as `formatConnectionId` writes it, and in capitals. Throws a `usage` error for anything else. */
export function parseConnectionId(text: string): ConnectionId {
  const [, startId, digits] = /^([0-9a-f]{16})-([0-9a-f]{1,14})$/.exec(text.toLowerCase()) ?? [];
  const number = digits === undefined ? NaN : parseInt(digits, 16);
  if (Number.isSafeInteger(number)) return { startId, number };
  const form = `16 hexadecimal digits, "-", and the number, as ${formatConnectionId("0123456789abcdef", 0x1f)}`;
  throw new OperatorError(
    "usage",
    `Cannot read connection id ${JSON.stringify(text)}: it must be ${form}; balancerctl connections shows the ids`,
  );
}

/** Writes ids as ASCII without making a text of each: for headers, which every connection may need. */
export class ConnectionIdWriter {
  readonly #bytes: Uint8Array;
  readonly #start: number;

  constructor(startId: string) {
    this.#start = startId.length + 1;
    this.#bytes = new Uint8Array(this.#start + DIGITS_MAX);
    this.#bytes.set(new TextEncoder().encode(`${startId}-`));
  }

  /** The bytes of `formatConnectionId`, valid until the next call. */
  bytesOf(number: number): Uint8Array {
    let digits = 1;
    for (let rest = number; rest >= 16; rest = Math.floor(rest / 16)) digits++;
    let rest = number;
    for (let at = this.#start + digits - 1; at >= this.#start; at--) {
      const digit = rest % 16;
      this.#bytes[at] = digit < 10 ? 0x30 + digit : 0x57 + digit;
      rest = Math.floor(rest / 16);
    }
    return this.#bytes.subarray(0, this.#start + digits);
  }
}
