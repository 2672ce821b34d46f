/**
 * The names and protocols that a service is for, as people write them: `api.example.com,*.example.com` and `h2,http/1.1`. A name
 * stands for itself, and `*.` before it for every name with one label in place of the star (RFC 6125, section 6.4.3).
 */

import { isIp, parseHost } from "./address.ts";
import { OperatorError } from "./errors.ts";

/** What stands for one label, before the rest of a name. */
export const WILDCARD = "*.";
/** Limits: bytes of a name with its star, names and protocols of one service, bytes of a protocol (RFC 7301, section 3.1). */
const NAME_BYTES_MAX = 253;
const NAMES_MAX = 1000;
const PROTOCOLS_MAX = 100;
const PROTOCOL = /^[!-+\--~]{1,255}$/; // visible ASCII but the comma

/** Reads names in lower case, in the order in which they are written. Throws a `usage` error. */
export function parseServerNames(text: string): readonly string[] {
  return parseList(text, { what: "names", max: NAMES_MAX, parse: parseServerName });
}

/** Reads the names of protocols (ALPN), whose letters count as they are written. Throws a `usage` error. */
export function parseProtocols(text: string): readonly string[] {
  return parseList(text, { what: "protocols", max: PROTOCOLS_MAX, parse: parseProtocol });
}

function parseList(text: string, { what, max, parse }: { what: string; max: number; parse: (part: string) => string }): string[] {
  const parts = text.split(",");
  if (parts.length > max) {
    throw new OperatorError("usage", `A service can have at most ${max} ${what}, and ${parts.length} are given`);
  }
  const list = new Set<string>();
  for (const part of parts) {
    const value = parse(part.trim());
    if (list.has(value)) throw new OperatorError("usage", `${JSON.stringify(value)} is twice in the list of ${what}`);
    list.add(value);
  }
  return [...list];
}

/** A name in lower case. */
function parseServerName(text: string): string {
  if (text === "*") {
    throw badName(text, "names nothing; leave the names out, and the service gets every name that no other one has");
  }
  const star = text.startsWith(WILDCARD) ? WILDCARD : "";
  const rest = text.slice(star.length);
  if (rest.includes("*")) throw badName(text, "has a * that is not its whole first label; write a wildcard like *.example.com");
  if (/\P{ASCII}/u.test(rest)) {
    throw badName(text, `has characters beyond ASCII, which TLS does not send; ${asciiAdvice(star, rest)}`);
  }
  if (rest.endsWith(".")) throw badName(text, `ends with a dot, which TLS does not send; write ${star}${rest.replace(/\.+$/, "")}`);
  if (isIp(rest)) throw badName(text, "is an IP address, which clients send no name for; write a host name");
  if (/^[^:]+:[0-9]+$/.test(rest)) throw badName(text, "has a port, which is the listener's; leave it out");
  const name = hostNameOf(rest);
  if (name === undefined) throw badName(text, "is not a host name such as api.example.com or *.example.com");
  if (star.length + name.length <= NAME_BYTES_MAX) return star + name;
  throw badName(text, `has ${star.length + name.length} characters, more than ${NAME_BYTES_MAX}`);
}

/** The name in lower case; undefined if it is none. */
function hostNameOf(text: string): string | undefined {
  try {
    return parseHost(text);
  } catch {
    return undefined;
  }
}

/** How an international name is written in ASCII (UTS #46, as the WHATWG URL standard has it). */
function asciiAdvice(star: string, rest: string): string {
  const url = URL.canParse(`https://${rest}`) ? new URL(`https://${rest}`) : undefined;
  const isName = url !== undefined && url.hostname !== "" && url.host + "/" === url.href.slice("https://".length);
  return isName ? `write ${star}${url.hostname}` : "write it with xn-- labels (Punycode)";
}

function parseProtocol(text: string): string {
  if (PROTOCOL.test(text)) return text;
  const form = "one of 1 to 255 visible characters such as h2 or http/1.1";
  throw new OperatorError("usage", `Protocol ${JSON.stringify(text)} is not ${form}`);
}

function badName(text: string, why: string): OperatorError {
  return new OperatorError("usage", `Name ${JSON.stringify(text)} ${why}`);
}
