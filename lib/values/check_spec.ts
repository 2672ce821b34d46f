/** Health checks as text: what is sent to a server and what it must answer. Parses checks and does not run them. */

import { OperatorError } from "./errors.ts";

/** What is sent to a server, and what it must answer. `send` is empty for a server that speaks first. Plain data. */
export type Check =
  | { readonly kind: "off" }
  | { readonly kind: "tcp" }
  | { readonly kind: "http"; readonly path: string }
  | { readonly kind: "text"; readonly send: Uint8Array; readonly expect: Uint8Array };

/** Limits: characters of a path, bytes of a text. */
const PATH_LENGTH_MAX = 1024;
const TEXT_BYTES_MAX = 1024;

/** Bytes with a one-letter escape. */
export const ESCAPES = { r: 13, n: 10, t: 9, "\\": 92 } as const;
/** Visible characters and escapes; the longest escape has four characters. */
const ESCAPED_TEXT = /^(?:[^\\\p{C}]|\\[rnt\\]|\\x[0-9a-fA-F]{2})*$/u;
const ESCAPED_LENGTH_MAX = 4 * TEXT_BYTES_MAX;

/** A kind of check: its form in words, and its parser, which gives undefined for a text of another form. */
interface CheckForm {
  readonly form: string;
  readonly parse: (text: string) => Check | undefined;
}

const FORMS: readonly CheckForm[] = [
  { form: "off", parse: (text) => text === "off" ? { kind: "off" } : undefined },
  { form: "tcp", parse: (text) => text === "tcp" ? { kind: "tcp" } : undefined },
  { form: `http:/path (printable ASCII without spaces, up to ${PATH_LENGTH_MAX} characters)`, parse: parseHttp },
  {
    form: `[send:TEXT ]expect:TEXT (each up to ${TEXT_BYTES_MAX} bytes, with the escapes \\r, \\n, \\t, \\\\ and \\xHH)`,
    parse: parseText,
  },
];

/** Reads a check in one of FORMS. Throws a `usage` error that lists them. */
export function parseCheck(text: string): Check {
  for (const { parse } of FORMS) {
    const check = parse(text);
    if (check !== undefined) return check;
  }
  const forms = FORMS.map(({ form }) => form);
  const last = forms.pop();
  throw new OperatorError("usage", `Check ${JSON.stringify(text)} is not ${forms.join(", ")} or ${last}`);
}

function parseHttp(text: string): Check | undefined {
  const [, path] = text.match(/^http:(\/[!-~]*)$/) ?? [];
  if (path !== undefined && path.length <= PATH_LENGTH_MAX) return { kind: "http", path };
}

/**
 * The first ` expect:` ends what is sent. A ` send:` after it is refused as misplaced. A text that contains one of them writes the
 * space as `\x20`.
 */
function parseText(text: string): Check | undefined {
  const [, sent = "", expected] = text.match(/^(?:send:(.*?) )?expect:((?:(?! send:).)+)$/) ?? [];
  if (expected === undefined) return undefined;
  const send = bytesOf(sent);
  const expect = bytesOf(expected);
  if (send !== undefined && expect !== undefined) return { kind: "text", send, expect };
}

/** The bytes of a text; undefined if it is too long, or has an unknown escape or an invisible character. */
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
