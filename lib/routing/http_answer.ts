/**
 * Tells final HTTP/1 answers from interim ones (1xx, RFC 9110, section 15.2). Between an interim answer and the final one the
 * client may still be sending its request. Bytes of any other protocol are a final answer. Pure. The parser works byte by byte,
 * since an answer may be split anywhere: its progress is a number from 0 to PROGRESS_MAX.
 */

/** The bytes are a final answer, or are not HTTP. */
export const ANSWER = -1;
/** The bytes switch to another protocol (101), after which requests are no longer independent. */
export const UPGRADE = -2;

/** A status line up to the first digit of the status code; "x" stands for any digit of the version. */
const STATUS_LINE = Uint8Array.from("HTTP/1.x 1", (letter) => letter.charCodeAt(0));
const VERSION_AT = 7;
/** Progress below FIRST_DIGIT is the number of bytes of STATUS_LINE read so far; the values from there are parser states. */
const FIRST_DIGIT = STATUS_LINE.length;
const DIGIT_ZERO = FIRST_DIGIT + 1;
const OTHER_DIGIT = FIRST_DIGIT + 2;
const IN_LINE = FIRST_DIGIT + 3;
const LINE_START = FIRST_DIGIT + 4;
const LINE_START_CR = FIRST_DIGIT + 5;

/** The greatest progress that `classifyAnswer` returns. */
export const PROGRESS_MAX: number = LINE_START_CR;

const [ZERO, ONE, NINE, CR, LF] = [0x30, 0x31, 0x39, 13, 10];

/**
 * Classifies the first `length` bytes: ANSWER, UPGRADE or, if they are only interim answers, the progress with which the next bytes
 * are read. `progress` is that of the bytes before them, 0 at the start.
 */
export function classifyAnswer(bytes: Uint8Array, length: number, progress: number): number {
  let state = progress;
  for (let at = 0; at < length && state >= 0; at++) state = next(state, bytes[at]);
  return state;
}

/** The next state. An empty line ends an interim answer, and the next status line begins at 0. */
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
