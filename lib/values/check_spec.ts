/**
 * Health checks as text and as values: what is sent to a server, where, and what it must answer. Parses checks and does not run
 * them.
 */

import { parseHost } from "./address.ts";
import { OperatorError } from "./errors.ts";
import type { ProxyVersion } from "./proxy_header.ts";

/** What is sent to a server, and what it must answer. `send` is empty for a server that speaks first. Plain data. */
export type Check =
  | { readonly kind: "off" }
  | { readonly kind: "tcp" }
  | { readonly kind: "http" | "https"; readonly path: string }
  | { readonly kind: "text"; readonly send: Uint8Array; readonly expect: Uint8Array };

/** HTTP statuses from `from` to `to`, both included. */
export interface StatusRange {
  readonly from: number;
  readonly to: number;
}

/** Whose certificates an HTTPS check trusts: those of the system, those of a file in PEM format, or anybody's. */
export type CheckCa = { readonly kind: "system" } | { readonly kind: "none" } | { readonly kind: "file"; readonly path: string };

/** The terms of a check beside its question. Null: those of the server itself. */
export interface CheckTerms {
  /** The port to connect to. */
  readonly port: number | null;
  /** The name in the Host header, in SNI and in the certificate. */
  readonly host: string | null;
  readonly ca: CheckCa;
  /** The HTTP statuses that pass. */
  readonly statuses: readonly StatusRange[];
  /** The PROXY header that the connection begins with. */
  readonly proxy: ProxyVersion | "off";
}

/** Everything about how one server is checked. Plain data. */
export interface ServerCheck extends CheckTerms {
  readonly question: Check;
}

/** Limits: characters of a path, bytes of a text, ranges of statuses. */
const PATH_LENGTH_MAX = 1024;
const TEXT_BYTES_MAX = 1024;
const STATUS_RANGES_MAX = 20;

/** Bytes with a one-letter escape. */
const ESCAPES = { r: 13, n: 10, t: 9, "\\": 92 } as const;
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
  { form: `http:/path or https:/path (printable ASCII without spaces, up to ${PATH_LENGTH_MAX} characters)`, parse: parseHttp },
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
  const [, kind, path] = text.match(/^(https?):(\/[!-~]*)$/) ?? [];
  if (path !== undefined && path.length <= PATH_LENGTH_MAX) return { kind: kind as "http" | "https", path };
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

/** The port of a check; null for `same`, the server's own. Throws a `usage` error. */
export function parseCheckPort(text: string): number | null {
  if (text === "same") return null;
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : 0;
  if (port >= 1 && port <= 65_535) return port;
  throw new OperatorError("usage", `Check port ${JSON.stringify(text)} is not same or a port from 1 to 65535`);
}

/** The name that a check uses; null for `same`, the server's own. Throws a `usage` error. */
export function parseCheckHost(text: string): string | null {
  return text === "same" ? null : parseHost(text);
}

/** Whose certificates a check trusts. Throws a `usage` error. */
export function parseCheckCa(text: string): CheckCa {
  if (text === "system" || text === "none") return { kind: text };
  if (text !== "" && text.length <= PATH_LENGTH_MAX && !/\p{Cc}/u.test(text)) return { kind: "file", path: text };
  throw new OperatorError("usage", `Check CA ${JSON.stringify(text)} is not system, none or the path of a file in PEM format`);
}

/** The same as text. */
export function formatCheckCa(ca: CheckCa): string {
  return ca.kind === "file" ? ca.path : ca.kind;
}

/** Statuses such as `200-399,404`. Throws a `usage` error. */
export function parseStatuses(text: string): readonly StatusRange[] {
  const ranges = text.split(",").map((part) => {
    const [, from, to = from] = part.match(/^([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?$/) ?? [];
    return { from: Number(from), to: Number(to) };
  });
  if (ranges.length <= STATUS_RANGES_MAX && ranges.every(({ from, to }) => from <= to)) return ranges;
  const form = `up to ${STATUS_RANGES_MAX} statuses or ranges from 100 to 599, separated by commas, such as 200-399,404`;
  throw new OperatorError("usage", `Check status ${JSON.stringify(text)} is not a list of ${form}`);
}

/** Whether a status is in one of the ranges. */
export function hasStatus(ranges: readonly StatusRange[], status: number): boolean {
  return ranges.some(({ from, to }) => status >= from && status <= to);
}

/** The terms of a check that asks the server itself and passes for 200 to 399. */
export const PLAIN_TERMS: CheckTerms = {
  port: null,
  host: null,
  ca: { kind: "system" },
  statuses: [{ from: 200, to: 399 }],
  proxy: "off",
};

/** A check with this question and otherwise the daemon's defaults. */
export function plainCheck(question: Check): ServerCheck {
  return { question, ...PLAIN_TERMS };
}

/** Whether two checks are the same, so that the result of one is the result of the other. */
export function isSameCheck(one: ServerCheck, other: ServerCheck): boolean {
  const textOf = ({ question, port, host, ca, statuses, proxy }: ServerCheck) =>
    JSON.stringify([formatCheck(question), port, host, formatCheckCa(ca), statuses.map(({ from, to }) => [from, to]), proxy]);
  return textOf(one) === textOf(other);
}

/** A question in the form that `parseCheck` reads. */
export function formatCheck(question: Check): string {
  if (question.kind === "off" || question.kind === "tcp") return question.kind;
  if (question.kind !== "text") return `${question.kind}:${question.path}`;
  const [send, expect] = [question.send, question.expect].map((bytes) => Array.from(bytes, escapeByte).join(""));
  return send === "" ? `expect:${expect}` : `send:${send} expect:${expect}`;
}

/** A byte as a text shows it: visible ASCII but for the quote as it is, any other with an escape that `parseCheck` reads. */
export function escapeByte(byte: number): string {
  const [letter] = Object.entries(ESCAPES).find(([, escaped]) => escaped === byte) ?? [];
  if (letter !== undefined) return `\\${letter}`;
  const isPlain = byte >= 0x20 && byte < 0x7f && byte !== 0x22; // 0x22 is the quote itself
  return isPlain ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`;
}
