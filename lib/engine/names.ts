/**
 * What engines do with the ClientHello of a client, beside reading it: which service it asks for, what its server is told of it,
 * and what is said of one that no service is for. Pure.
 */

import { chooseService, type NameRoutes, NO_SERVICE, SAYS_NOTHING } from "../routing/name_routes.ts";
import type { ClientHello, HelloVerdict } from "../values/client_hello.ts";
import { printable } from "../values/printable.ts";
import { addMissing, SAID_TLV, takeFitting, type Tlv } from "../values/proxy_header.ts";

/** A verdict that is final. */
export type FinalVerdict = Exclude<HelloVerdict, { readonly kind: "more" }>;

/** The verdict on a client that has closed its half in the middle of its hello. */
export const ENDED_EARLY: FinalVerdict = { kind: "malformed", reason: "the client closed the connection before its end" };
/** The verdict on a client that has sent nothing in time: it may wait for its server to speak first, which is not TLS. */
export const SAID_NOTHING: FinalVerdict = { kind: "notTls" };

/** What follows from a hello. */
export interface Named {
  /** The index of the service, or NO_SERVICE. */
  readonly service: number;
  /** What a PROXY header says of it. */
  readonly tlvs: readonly Tlv[];
}

/** What follows from the verdict on a client's first bytes. Whoever says nothing that can be read asks for no name. */
export function nameClient(routes: NameRoutes, verdict: FinalVerdict): Named {
  const hello = verdict.kind === "hello" ? verdict.hello : SAYS_NOTHING;
  const { service, protocol } = chooseService(routes, hello);
  return { service, tlvs: service === NO_SERVICE ? [] : tlvsOf(hello, protocol) };
}

/**
 * The protocol is said where it is certain: the client offers no other, or was given its service for it. Which of several its
 * server will choose is not known.
 */
function tlvsOf({ name, alpn }: ClientHello, chosen: string | undefined): Tlv[] {
  const protocol = alpn.length === 1 ? alpn[0] : chosen;
  const tlvs: Tlv[] = [];
  if (name !== undefined) tlvs.push({ type: SAID_TLV.AUTHORITY, value: bytesOf(name) });
  if (protocol !== undefined) tlvs.push({ type: SAID_TLV.ALPN, value: bytesOf(protocol) });
  return tlvs;
}

/** The most bytes of a hello in the access log. */
const LOGGED_BYTES_MAX = 512;
const NO_TLVS = new Uint8Array(0);

/** What the access log is told of a hello, as `describeHello` reads it: as much as fits. */
export function loggedTlvs({ name, alpn }: ClientHello): Uint8Array {
  const protocols = alpn.map((protocol) => ({ type: SAID_TLV.ALPN, value: bytesOf(protocol) }));
  const names = name === undefined ? [] : [{ type: SAID_TLV.AUTHORITY, value: bytesOf(name) }];
  return takeFitting(addMissing(NO_TLVS, [...names, ...protocols]), LOGGED_BYTES_MAX);
}

/** The most characters of protocols in a reason. */
const SHOWN_MAX = 200;

/** Why no service is for a client, as a clause. */
export function reasonOfNobody(verdict: FinalVerdict): string {
  if (verdict.kind === "notTls") return "it does not speak TLS";
  if (verdict.kind === "malformed") return `its ClientHello is malformed: ${verdict.reason}`;
  const { name, alpn } = verdict.hello;
  const asked = name === undefined ? "it asked for no name" : `it asked for ${name}`;
  if (alpn.length === 0) return asked;
  const shown = printable(alpn.join(", ").slice(0, SHOWN_MAX)).replaceAll("\n", "\\x0a");
  return `${asked}, with the ${alpn.length === 1 ? "protocol" : "protocols"} ${shown}`;
}

/**
 * The alert for a client that no service is for, as its server would send it: unrecognized_name, fatal (RFC 6066, section 3; RFC
 * 8446, section 6). Undefined for one that does not speak TLS.
 */
export function alertOf(verdict: FinalVerdict): Uint8Array<ArrayBuffer> | undefined {
  return verdict.kind === "hello" ? Uint8Array.of(21, 3, 3, 0, 2, 2, 112) : undefined;
}

/** A byte for each character, as `ClientHello` has them. */
function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}
