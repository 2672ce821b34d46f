/**
 * As much of HTTP/1 as is needed to see whether a server has answered, or has only said that its answer is to come: between an interim
 * answer (1xx, RFC 9110, section 15.2) and the final one, the client may still be in the middle of its request. Pure; any other protocol
 * is simply an answer.
 */

/**
 * What bytes of a server's are: an answer, or anything that is not HTTP; nothing but interim answers, of which the last may be incomplete;
 * or a change to another protocol (101), after which requests no longer stand alone.
 */
export type Answer = "answer" | "interim" | "upgrade";

/** A status line up to the first digit of the status; "x" stands for any digit of the version. */
const STATUS_LINE = encode("HTTP/1.x 1");
const VERSION_AT = STATUS_LINE.indexOf("x".charCodeAt(0));
const STATUS_LENGTH = 3;
const SWITCHING_PROTOCOLS = encode("01");
const HEAD_END = encode("\r\n\r\n");

/** What the first `length` of these bytes are; `wasInterim`: those before them were interim answers, of which the last may go on here. */
export function classifyAnswer(bytes: Uint8Array, length: number, wasInterim: boolean): Answer {
  let at = 0;
  if (wasInterim && matchedBytes(bytes, at, length) === 0) at = headEnd(bytes, at, length);
  while (at < length) {
    const matched = matchedBytes(bytes, at, length);
    if (matched < STATUS_LINE.length) return at + matched < length ? "answer" : "interim";
    if (isSwitch(bytes, at + matched, length)) return "upgrade";
    at = headEnd(bytes, at, length);
  }
  return "interim";
}

/** How many bytes from there on can be the beginning of an interim answer. */
function matchedBytes(bytes: Uint8Array, at: number, length: number): number {
  let matched = 0;
  while (matched < STATUS_LINE.length && at + matched < length && isExpected(matched, bytes[at + matched])) matched++;
  return matched;
}

function isExpected(place: number, byte: number): boolean {
  return place === VERSION_AT ? byte >= 0x30 && byte <= 0x39 : byte === STATUS_LINE[place];
}

/** Whether the status whose first digit is before `at` is 101. */
function isSwitch(bytes: Uint8Array, at: number, length: number): boolean {
  return at + STATUS_LENGTH - 1 <= length && SWITCHING_PROTOCOLS.every((byte, i) => bytes[at + i] === byte);
}

/** Where the head that goes on there has ended, after its empty line; `length`: it has not. */
function headEnd(bytes: Uint8Array, at: number, length: number): number {
  for (let i = at; i + HEAD_END.length <= length; i++) {
    if (HEAD_END.every((byte, j) => bytes[i + j] === byte)) return i + HEAD_END.length;
  }
  return length;
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
