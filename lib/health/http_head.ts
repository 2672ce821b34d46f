/** What the head of an HTTP/1 answer says to a check: its status, and whether the server asks to be drained. Pure. */

/** The status line of an answer (RFC 9112, section 4). */
const STATUS_LINE = /^HTTP\/1\.[0-9] ([1-5][0-9]{2})(?: .*)?\r?$/s;
/** The header by which a server asks to be drained. */
const DRAIN_HEADER = /^drain:[ \t]*1[ \t]*\r?$/i;

const START = new TextEncoder().encode("HTTP/1.");
const NEWLINE = 10;

/** The head of an answer as far as it is known. */
export interface HttpHead {
  readonly status: number;
  /** The status line as text. */
  readonly line: string;
  readonly asksToDrain: boolean;
  /** Whether all of the head has arrived. */
  readonly isWhole: boolean;
}

/** Reads the bytes received so far. Undefined: the status line may still come. Null: they are not the beginning of an answer. */
export function readHttpHead(received: Uint8Array): HttpHead | null | undefined {
  const isStart = START.subarray(0, received.length).every((byte, i) => byte === received[i]);
  const end = received.indexOf(NEWLINE);
  if (end === -1) return isStart ? undefined : null;
  const lines = new TextDecoder("latin1").decode(received).split("\n");
  const [, status] = lines[0].match(STATUS_LINE) ?? [];
  if (status === undefined) return null;
  lines.pop(); // a line without its end
  const blank = lines.findIndex((line) => line === "" || line === "\r");
  const headers = lines.slice(1, blank === -1 ? undefined : blank);
  return {
    status: Number(status),
    line: lines[0].trimEnd(),
    asksToDrain: headers.some((header) => DRAIN_HEADER.test(header)),
    isWhole: blank !== -1,
  };
}
