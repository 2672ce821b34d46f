/**
 * The id of a connection as logs, the API and PROXY headers show it: which run of the daemon, and which of its connections. No two
 * connections of any two daemons have the same id. Pure, and callable from every thread.
 */

/** Random bytes of a start id. With 64 bits, two of a million starts are alike with a chance of one in 37 million. */
const START_ID_BYTES = 8;

/** Numbers below this one have at most seven hexadecimal digits. */
const LOW = 2 ** 28;

/** A random id for one run of the daemon: 16 hexadecimal digits. */
export function newStartId(): string {
  return crypto.getRandomValues(new Uint8Array(START_ID_BYTES)).toHex();
}

/**
 * The id of a connection: `<start id>-<number>`, both in hexadecimal, at most 31 ASCII characters. `number` is the engine's number
 * of the connection (`id` of an OpenConnection): an integer from 0 to 2⁵³ - 1 that the engine gives to one connection only.
 */
export function formatConnectionId(startId: string, number: number): string {
  return `${startId}-${hex(number)}`;
}

/** Like `toString(16)`, which takes three times as long for integers beyond 31 bits. */
function hex(number: number): string {
  const high = Math.floor(number / LOW);
  const low = number - high * LOW;
  return high === 0 ? low.toString(16) : high.toString(16) + (LOW + low).toString(16).slice(1);
}
