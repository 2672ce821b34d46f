/**
 * Version 1 of the PROXY protocol: one line of ASCII text (HAProxy, doc/proxy-protocol.txt, section 2.1). A field that has not
 * ended is judged by what it may still become, so the first byte that cannot be right is told at once.
 */

import { formatIp } from "./address.ts";
import ipaddr from "ipaddr.js";
import {
  type Announcement,
  ascii,
  complete,
  INCOMPLETE,
  malformed,
  NO_BYTES,
  NOTHING_SAID,
  ofOneFamily,
  type ParsedHeader,
  type ProxyHeader,
} from "./proxy_parts.ts";

/** The first bytes of every line. */
export const V1_SIGNATURE: Uint8Array = ascii("PROXY ");

/** The longest line, with CRLF. */
const LINE_BYTES_MAX = 107;
const [CR, LF] = [0x0d, 0x0a];
const PORT_MAX = 65_535;

/** A kind of field. */
interface Field {
  readonly what: string;
  /** The value, or undefined where the text is none. */
  parse(text: string): Uint8Array | number | undefined;
  /** Texts of which one makes every beginning of a valid field valid, and no other text. */
  readonly ends: readonly string[];
}

const IPV4: Field = {
  what: "an IPv4 address",
  parse: ipv4Bytes,
  ends: ["", "0", ".0", "0.0", ".0.0", "0.0.0", ".0.0.0", "0.0.0.0"],
};
const IPV6: Field = { what: "an IPv6 address", parse: ipv6Bytes, ends: ["", "0", ":", "::", ".0", "0.0", ".0.0", "0.0.0"] };
const PORT: Field = { what: "a number from 0 to 65535", parse: portOf, ends: ["", "0"] };

/** The fields behind the protocol's name, in the order of FIELD_NAMES. */
const PROTOCOLS: Readonly<Record<string, readonly Field[]>> = {
  TCP4: [IPV4, IPV4, PORT, PORT],
  TCP6: [IPV6, IPV6, PORT, PORT],
};
const FIELD_NAMES = ["source address", "destination address", "source port", "destination port"];
/** The protocol of a line that has no addresses. Whatever else stands in the line is ignored. */
const UNKNOWN = "UNKNOWN";
const PROTOCOL_NAMES = [...Object.keys(PROTOCOLS), UNKNOWN];

/** Parses a line that begins with V1_SIGNATURE. */
export function parseV1(bytes: Uint8Array): ParsedHeader {
  const head = bytes.subarray(0, LINE_BYTES_MAX);
  const end = head.findIndex((byte) => byte === CR || byte === LF);
  const isEnding = end >= 0;
  if (isEnding && !endsInCrLf(head, end)) return malformed("its line does not end in CRLF");
  const lineBytes = isEnding ? end : head.length;
  if (lineBytes > LINE_BYTES_MAX - 2) return malformed(`it has no CRLF within ${LINE_BYTES_MAX} bytes`);
  const fields = String.fromCharCode(...head.subarray(V1_SIGNATURE.length, lineBytes)).split(" ");
  const line = isEnding ? parseLine(fields) : parseBeginning(fields);
  if (typeof line === "string") return malformed(line);
  return isEnding && end + 1 < head.length ? complete(end + 2, line) : INCOMPLETE;
}

/** Whether what stands at `end` is CRLF, or the CR of one. */
function endsInCrLf(head: Uint8Array, end: number): boolean {
  return head[end] === CR && (end + 1 === head.length || head[end + 1] === LF);
}

/** What a whole line says, or what is wrong with it. */
function parseLine([protocol, ...texts]: readonly string[]): ProxyHeader | string {
  if (protocol === UNKNOWN) return NOTHING_SAID;
  const fields = fieldsOf(protocol);
  if (fields === undefined) return wrongProtocol();
  if (texts.length !== fields.length) return `it has ${texts.length} fields behind its protocol, not ${fields.length}`;
  const values = fields.map((field, i) => field.parse(texts[i]));
  const wrong = values.indexOf(undefined);
  if (wrong >= 0) return wrongField(fields, wrong);
  const [sourceIp, destinationIp, sourcePort, destinationPort] = values as [Uint8Array, Uint8Array, number, number];
  const source = { ip: sourceIp, port: sourcePort };
  return { source, destination: { ip: destinationIp, port: destinationPort }, tlvs: NO_BYTES, uniqueId: undefined };
}

/** Nothing yet, or what is wrong with the beginning of a line: its last field may go on, the others have ended. */
function parseBeginning([protocol, ...texts]: readonly string[]): ProxyHeader | string {
  if (texts.length === 0) return PROTOCOL_NAMES.some((name) => name.startsWith(protocol)) ? NOTHING_SAID : wrongProtocol();
  if (protocol === UNKNOWN) return NOTHING_SAID;
  const fields = fieldsOf(protocol);
  if (fields === undefined) return wrongProtocol();
  if (texts.length > fields.length) return `it has more than ${fields.length} fields behind its protocol`;
  const last = texts.length - 1;
  const wrong = texts.findIndex((text, i) =>
    !(i < last ? [""] : fields[i].ends).some((end) => fields[i].parse(text + end) !== undefined)
  );
  return wrong < 0 ? NOTHING_SAID : wrongField(fields, wrong);
}

function fieldsOf(protocol: string): readonly Field[] | undefined {
  return Object.hasOwn(PROTOCOLS, protocol) ? PROTOCOLS[protocol] : undefined;
}

function wrongProtocol(): string {
  return `its protocol is not one of ${PROTOCOL_NAMES.join(", ")}`;
}

function wrongField(fields: readonly Field[], index: number): string {
  return `its ${FIELD_NAMES[index]} is not ${fields[index].what}`;
}

/** Four decimal numbers without leading zeroes. */
function ipv4Bytes(text: string): Uint8Array | undefined {
  return ipaddr.IPv4.isValidFourPartDecimal(text) ? Uint8Array.from(text.split("."), Number) : undefined;
}

/**
 * Groups of 1 to 4 hexadecimal digits, with one `::` at most. The last 32 bits may be written as IPv4 where inet_ntop(3) does so:
 * HAProxy sends `::ffff:192.0.2.1` for an IPv4 client of a dual-stack listener.
 */
function ipv6Bytes(text: string): Uint8Array | undefined {
  const [, head, dotted] = /^(::(?:ffff:)?)([0-9.]*\..*)$/i.exec(text) ?? [];
  const tail = dotted === undefined ? NO_BYTES : ipv4Bytes(dotted);
  const halves = (head ?? text).split("::").map((half) => half.replace(/:$/, dotted === undefined ? ":" : ""));
  if (tail === undefined || halves.length > 2) return undefined;
  const [before, after = []] = halves.map((half) => half === "" ? [] : half.split(":"));
  const groups = [...before, ...after];
  const missing = 8 - tail.length / 2 - groups.length;
  const fits = halves.length === 2 ? missing >= 1 : missing === 0;
  if (!fits || !groups.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  const all = [...before, ...Array<string>(missing).fill("0"), ...after].map((group) => parseInt(group, 16));
  return Uint8Array.from([...all.flatMap((group) => [group >> 8, group & 0xff]), ...tail]);
}

/** A decimal number without leading zeroes. */
function portOf(text: string): number | undefined {
  return /^(0|[1-9][0-9]{0,4})$/.test(text) && Number(text) <= PORT_MAX ? Number(text) : undefined;
}

/** The line for a server. IPv6 addresses are written as RFC 5952 says, mapped ones in hexadecimal, too: there is no other form. */
export function writeV1(announcement: Announcement): Uint8Array {
  const [source, destination] = ofOneFamily(announcement);
  const protocol = source.length === 4 ? "TCP4" : "TCP6";
  return ascii(
    `PROXY ${protocol} ${textOf(source)} ${textOf(destination)} ${announcement.source.port} ${announcement.destination.port}\r\n`,
  );
}

function textOf(ip: Uint8Array): string {
  return ip.length === 4 ? formatIp(ip) : ipaddr.fromByteArray([...ip]).toString();
}

/** The line of a connection that no client asked for. */
export function writeUnknownV1(): Uint8Array {
  return ascii(`PROXY ${UNKNOWN}\r\n`);
}
