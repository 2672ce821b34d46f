/** The forms of a health check as text: what a server is asked and what it must answer. Parses them, and does not run them. */

import { OperatorError } from "./errors.ts";

/** What a server is asked, and what it must answer. `send` may be empty: a server that speaks first. Plain data. */
export type Check =
  | { readonly kind: "off" }
  | { readonly kind: "tcp" }
  | { readonly kind: "http"; readonly path: string }
  | { readonly kind: "text"; readonly send: Uint8Array; readonly expect: Uint8Array };

/** Limits on what a check is made of: characters of a path, bytes of a text. */
const PATH_LENGTH_MAX = 1024;
const TEXT_BYTES_MAX = 1024;

/** Bytes that have an escape of one letter. */
export const ESCAPES = { r: 13, n: 10, t: 9, "\\": 92 } as const;
/** What can be seen of a text, and its escapes, of which the longest has four characters. */
const ESCAPED_TEXT = /^(?:[^\\\p{C}]|\\[rnt\\]|\\x[0-9a-fA-F]{2})*$/u;
const ESCAPED_LENGTH_MAX = 4 * TEXT_BYTES_MAX;

/** What `parseCheck` takes, in words. */
const FORMS = `off, tcp, http:/path (printable ASCII without spaces, up to ${PATH_LENGTH_MAX} characters) or ` +
  `[send:TEXT ]expect:TEXT (each up to ${TEXT_BYTES_MAX} bytes, with the escapes \\r, \\n, \\t, \\\\ and \\xHH)`;

/** Reads `off`, `tcp`, `http:/path` or `[send:TEXT ]expect:TEXT`, with `\r`, `\n`, `\t`, `\\` and `\xHH` in TEXT. Throws a `usage` error. */
export function parseCheck(text: string): Check {
  const check = text === "off" || text === "tcp" ? { kind: text } as const : parseHttp(text) ?? parseText(text);
  if (check !== undefined) return check;
  throw new OperatorError("usage", `Check ${JSON.stringify(text)} is not ${FORMS}`);
}

function parseHttp(text: string): Check | undefined {
  const [, path] = text.match(/^http:(\/[!-~]*)$/) ?? [];
  if (path !== undefined && path.length <= PATH_LENGTH_MAX) return { kind: "http", path };
}

/**
 * The first ` expect:` ends what is sent. A ` send:` that comes after it is taken for one in the wrong place, and refused; where they
 * are part of a text their space is `\x20`.
 */
function parseText(text: string): Check | undefined {
  const [, sent = "", expected] = text.match(/^(?:send:(.*?) )?expect:((?:(?! send:).)+)$/) ?? [];
  if (expected === undefined) return undefined;
  const send = bytesOf(sent);
  const expect = bytesOf(expected);
  if (send !== undefined && expect !== undefined) return { kind: "text", send, expect };
}

/** The bytes of a text, or undefined if there are too many, an escape is unknown or a character cannot be seen. */
function bytesOf(text: string): Uint8Array | undefined {
  if (text.length > ESCAPED_LENGTH_MAX || !ESCAPED_TEXT.test(text)) return undefined;
  const encoder = new TextEncoder();
  const bytes: number[] = [];
  for (const [part] of text.matchAll(/\\x..|\\.|[^\\]+/g)) {
    if (part.startsWith("\\x")) bytes.push(parseInt(part.slice(2), 16));
    else if (part.startsWith("\\")) bytes.push(ESCAPES[part[1] as keyof typeof ESCAPES]);
    else bytes.push(...encoder.encode(part));
    if (bytes.length > TEXT_BYTES_MAX) return undefined;
  }
  return Uint8Array.from(bytes);
}
