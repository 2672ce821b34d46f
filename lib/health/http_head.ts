/**
 * What the head of an HTTP/1 answer says to a check: its status, and whether the server asks to be drained. Interim answers before
 * it (RFC 9110, section 15.2) are passed over. Pure.
 */

/** The status line of an answer (RFC 9112, section 4). */
const STATUS_LINE = /^HTTP\/1\.[0-9] ([1-5][0-9]{2})(?: .*)?\r?$/s;
/** The status that ends HTTP on a connection; no answer follows it, though it is one of the interim ones. */
const SWITCHING_PROTOCOLS = 101;
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

/**
 * Reads the bytes received so far. Undefined: the final status line may still come. Null: they are not the beginning of an answer.
 */
export function readHttpHead(received: Uint8Array): HttpHead | null | undefined {
  let rest = received;
  while (true) {
    const head = readOneHead(rest);
    if (!head || !isInterim(head)) return head;
    if (!head.isWhole) return undefined;
    rest = rest.subarray(head.bytes);
  }
}

function isInterim({ status }: HttpHead): boolean {
  return status < 200 && status !== SWITCHING_PROTOCOLS;
}

/** A head, and its length with the empty line if that has arrived. */
interface OneHead extends HttpHead {
  readonly bytes: number;
}

function readOneHead(received: Uint8Array): OneHead | null | undefined {
  const isStart = START.subarray(0, received.length).every((byte, i) => byte === received[i]);
  const end = received.indexOf(NEWLINE);
  if (end === -1) return isStart ? undefined : null;
  const lines = new TextDecoder("latin1").decode(received).split("\n");
  const [, status] = lines[0].match(STATUS_LINE) ?? [];
  if (status === undefined) return null;
  lines.pop(); // a line without its end
  const blank = lines.findIndex((line) => line === "" || line === "\r");
  const headers = lines.slice(1, blank === -1 ? undefined : blank);
  const head = lines.slice(0, blank + 1);
  return {
    status: Number(status),
    line: lines[0].trimEnd(),
    asksToDrain: headers.some((header) => DRAIN_HEADER.test(header)),
    isWhole: blank !== -1,
    bytes: head.reduce((sum, { length }) => sum + length + 1, 0), // a latin1 letter is a byte
  };
}
