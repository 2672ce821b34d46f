/**
 * What the body of a ClientHello says: the name of the server (SNI: RFC 6066, section 3) and the protocols that the client offers
 * (ALPN: RFC 7301). Everything else is passed over as far as its length says. `client_hello.ts` is the door; nobody else imports
 * this file.
 */

import { isIp } from "./address.ts";

/** What a hello says. Nothing here shares memory with the received bytes. */
export interface ClientHello {
  /** The host name in lower case, without a final dot; undefined where there is none, or an IP address in its place. */
  readonly name: string | undefined;
  /** The protocols in the client's order of preference, a character for each byte, without the invented ones (GREASE). */
  readonly alpn: readonly string[];
}

const VERSION_AND_RANDOM_BYTES = 2 + 32;
const SESSION_ID_BYTES_MAX = 32;
const EXTENSION_HEAD_BYTES = 4;
const EXTENSION = { SERVER_NAME: 0, ALPN: 16 } as const;
const HOST_NAME = 0;

/** Limits on a host name, in octets (RFC 1035, section 2.3.4). */
const NAME_BYTES_MAX = 253;
/** More than host names may have (RFC 1123, section 2.1): `_` and hyphens at the ends of labels are in use. */
const NAME = /^[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/;
const MAY_BE_IP = /:|(?:^|\.)[0-9]+$/;

/** Bytes that are read from the first to the last. */
class Part {
  constructor(readonly bytes: Uint8Array, public at: number, readonly end: number) {}

  get left(): number {
    return this.end - this.at;
  }

  /** A whole number of one or two bytes, which must be there. */
  number(size: 1 | 2): number {
    const at = this.at;
    this.at += size;
    return size === 1 ? this.bytes[at] : this.bytes[at] << 8 | this.bytes[at + 1];
  }

  /** A vector behind its length of one or two bytes; undefined if it is not there in full. */
  vector(lengthSize: 1 | 2): Part | undefined {
    if (this.left < lengthSize) return undefined;
    const length = this.number(lengthSize);
    if (this.left < length) return undefined;
    this.at += length;
    return new Part(this.bytes, this.at - length, this.at);
  }
}

/** What has been found in the extensions so far. */
interface Found {
  names?: Part;
  protocols?: Part;
}

/** Parses the body in `bytes[at … end)`, or says in a clause what is wrong with it. */
export function parseHelloBody(bytes: Uint8Array, at: number, end: number): ClientHello | string {
  const body = new Part(bytes, at, end);
  const fault = passFixedParts(body);
  if (fault !== undefined) return fault;
  if (body.left === 0) return { name: undefined, alpn: [] }; // TLS 1.2 and before: there need not be extensions
  const extensions = body.vector(2);
  if (extensions === undefined) return "its extensions run over its end";
  if (body.left > 0) return "it has bytes behind its extensions";
  const found: Found = {};
  return findExtensions(extensions, found) ?? parseFound(found);
}

/** Passes over what stands before the extensions. Returns what is wrong with it. */
function passFixedParts(body: Part): string | undefined {
  if (body.left < VERSION_AND_RANDOM_BYTES) return "it ends in its random bytes";
  body.at += VERSION_AND_RANDOM_BYTES;
  const sessionId = body.vector(1);
  if (sessionId === undefined || sessionId.left > SESSION_ID_BYTES_MAX) return "its session id is too long";
  const suites = body.vector(2);
  if (suites === undefined || suites.left === 0 || suites.left % 2 > 0) return "its cipher suites are not a list of two bytes each";
  const methods = body.vector(1);
  return methods === undefined || methods.left === 0 ? "its compression methods are not a list" : undefined;
}

function findExtensions(extensions: Part, found: Found): string | undefined {
  while (extensions.left > 0) {
    if (extensions.left < EXTENSION_HEAD_BYTES) return "an extension runs over its end";
    const type = extensions.number(2);
    const extension = extensions.vector(2);
    if (extension === undefined) return "an extension runs over its end";
    if (type === EXTENSION.SERVER_NAME) {
      if (found.names !== undefined) return "it has two extensions for the server's name";
      found.names = extension;
    } else if (type === EXTENSION.ALPN) {
      if (found.protocols !== undefined) return "it has two extensions for ALPN";
      found.protocols = extension;
    }
  }
  return undefined;
}

function parseFound({ names, protocols }: Found): ClientHello | string {
  const name = names && parseNames(names);
  if (typeof name === "object") return name.fault;
  const alpn = protocols === undefined ? [] : parseProtocols(protocols);
  return typeof alpn === "string" ? alpn : { name, alpn };
}

/** What is wrong, as a clause. */
interface Fault {
  readonly fault: string;
}

/** The host name among the server's names. Names of other types, of which there are none, begin with their length, too. */
function parseNames(extension: Part): string | undefined | Fault {
  const names = extension.vector(2);
  if (names === undefined || names.left === 0 || extension.left > 0) return { fault: "its names are not a list" };
  let host: Part | undefined;
  while (names.left > 0) {
    const type = names.number(1);
    const name = names.vector(2);
    if (name === undefined) return { fault: "a name runs over the end of the names" };
    if (type !== HOST_NAME) continue;
    if (host !== undefined) return { fault: "it has two host names" };
    host = name;
  }
  return host && parseHostName(host);
}

function parseHostName(host: Part): string | undefined | Fault {
  if (host.left === 0) return { fault: "its host name is empty" };
  if (host.left > NAME_BYTES_MAX) return { fault: `its host name has ${host.left} bytes, more than ${NAME_BYTES_MAX}` };
  const text = textOf(host).toLowerCase(); // no byte above 0x7f becomes ASCII by it
  if (MAY_BE_IP.test(text) && isIp(text)) return undefined;
  if (text.endsWith(".")) return { fault: "its host name ends with a dot" };
  return NAME.test(text) ? text : { fault: "its host name is not made of labels of letters, digits, - and _" };
}

function parseProtocols(extension: Part): readonly string[] | string {
  const list = extension.vector(2);
  if (list === undefined || list.left === 0 || extension.left > 0) return "its protocols (ALPN) are not a list";
  const protocols: string[] = [];
  while (list.left > 0) {
    const protocol = list.vector(1);
    if (protocol === undefined) return "a protocol (ALPN) runs over the end of the protocols";
    if (protocol.left === 0) return "a protocol (ALPN) is empty";
    if (!isGrease(protocol)) protocols.push(textOf(protocol));
  }
  return protocols;
}

/** Whether a client has made the protocol up so that servers stay tolerant: 0x0a0a, 0x1a1a … 0xfafa (RFC 8701). */
function isGrease({ bytes, at, left }: Part): boolean {
  return left === 2 && bytes[at] === bytes[at + 1] && (bytes[at] & 0xf) === 0xa;
}

/** A character for each byte. */
function textOf({ bytes, at, end }: Part): string {
  let text = "";
  for (let i = at; i < end; i++) text += String.fromCharCode(bytes[i]);
  return text;
}
