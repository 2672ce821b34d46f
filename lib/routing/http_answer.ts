/**
 * As much of HTTP/1 as is needed to see whether a server has answered, or has only said that its answer is to come: between an interim
 * answer (1xx, RFC 9110, section 15.2) and the final one, the client may still be in the middle of its request. Pure; any other protocol
 * is simply an answer. Reads byte by byte, for an answer may be cut anywhere: how far it has come is a number from 0 to PROGRESS_MAX.
 */

/** Bytes of a server's that are an answer, or anything that is not HTTP. */
export const ANSWER = -1;
/** A change to another protocol (101), after which requests no longer stand alone. */
export const UPGRADE = -2;

/** A status line up to the first digit of the status; "x" stands for any digit of the version. */
const STATUS_LINE = Uint8Array.from("HTTP/1.x 1", (letter) => letter.charCodeAt(0));
const VERSION_AT = 7;
/** So much of STATUS_LINE was read, from 0 on; then, what was read after it. */
const FIRST_DIGIT = STATUS_LINE.length;
const DIGIT_ZERO = FIRST_DIGIT + 1;
const OTHER_DIGIT = FIRST_DIGIT + 2;
const IN_LINE = FIRST_DIGIT + 3;
const LINE_START = FIRST_DIGIT + 4;
const LINE_START_CR = FIRST_DIGIT + 5;

/** See above. */
export const PROGRESS_MAX: number = LINE_START_CR;

const [ZERO, ONE, NINE, CR, LF] = [0x30, 0x31, 0x39, 13, 10];

/**
 * What the first `length` of these bytes are: ANSWER, UPGRADE or, where they are nothing but interim answers, the progress from which what
 * follows is to be read. `progress` is that of the bytes before them; 0 where there were none.
 */
export function classifyAnswer(bytes: Uint8Array, length: number, progress: number): number {
  let state = progress;
  for (let at = 0; at < length && state >= 0; at++) state = next(state, bytes[at]);
  return state;
}

/** Where an empty line ends an interim answer's head, the next status line begins: 0. */
function next(state: number, byte: number): number {
  if (state < FIRST_DIGIT) return isExpected(state, byte) ? state + 1 : ANSWER;
  switch (state) {
    case FIRST_DIGIT:
      return byte === ZERO ? DIGIT_ZERO : OTHER_DIGIT;
    case DIGIT_ZERO:
      return byte === ONE ? UPGRADE : IN_LINE;
    case LINE_START:
      return byte === LF ? 0 : byte === CR ? LINE_START_CR : IN_LINE;
    case LINE_START_CR:
      return byte === LF ? 0 : IN_LINE;
    default:
      return byte === LF ? LINE_START : IN_LINE;
  }
}

function isExpected(place: number, byte: number): boolean {
  return place === VERSION_AT ? byte >= ZERO && byte <= NINE : byte === STATUS_LINE[place];
}
