/**
 * The PROXY headers of one worker's connections: reads the one that a client must begin with, whose addresses then are the
 * client's, and writes the one that a server gets before anything else. Also finds headers of clients that may send none. Owns the
 * memory of headers that are read or sent. Returns the outcome; `Connections` decides what follows.
 */

import { includesIp } from "../../values/cidr_list.ts";
import { ConnectionIdWriter } from "../../values/connection_id.ts";
import {
  addMissing,
  type Announcement,
  parseProxyHeader,
  type ProxyHeader,
  type ProxyVersion,
  takeFitting,
  type Tlv,
  writeProxyHeader,
} from "../../values/proxy_header.ts";
import { screen, SCREENED } from "../../values/proxy_screening.ts";
import { ERRNO } from "../system/errno.ts";
import { SOCKET } from "../system/libc.ts";
import { FLAG, IP_LENGTH_MASK, LISTENER_SHIFT, PORT_MASK, rowOf, SCREENED_MASK, SCREENED_SHIFT, WORD } from "./descriptor_table.ts";
import { CHUNK_BYTES } from "./pools.ts";
import type { WorkerKit } from "./worker_kit.ts";

/** The outcome of looking for the header of a client. */
export const HEADER = {
  /** The header is read, and the row has the client's address. */
  complete: 0,
  /** More of it must arrive. */
  incomplete: 1,
  /** It is not a valid header, or the client's FIN has come before its end. */
  malformed: 2,
  /** The client has sent FIN and nothing else, or its socket has failed. */
  gone: 3,
} as const;
export type Header = typeof HEADER[keyof typeof HEADER];

/** The most bytes of TLVs in the access log. */
const LOGGED_BYTES_MAX = 512;
/** Time between two malformed headers of which main is told the reason; all are counted by their fate. */
const COMPLAINT_PAUSE_MS = 1000;
const PEEK_SIZE = BigInt(CHUNK_BYTES);
const NO_TLVS = new Uint8Array(0);

/** What a header said, as far as later headers of the connection repeat it. */
type Received = Pick<ProxyHeader, "destination" | "tlvs">;

/** A header on its way to a server. */
interface Outgoing {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly address: bigint;
  sent: number;
}

/** The parts of the worker that headers use. */
type HeadersKit = Pick<
  WorkerKit,
  "libc" | "sockets" | "table" | "chunks" | "reports" | "services" | "setup" | "clock" | "post"
>;

/** The headers of one worker. */
export class ProxyHeaders {
  readonly #kit: HeadersKit;
  readonly #words: Int32Array;
  /** By client. */
  readonly #received = new Map<number, Received>();
  readonly #outgoing = new Map<number, Outgoing>();
  readonly #ids: ConnectionIdWriter;
  /** The chunk that is read into; borrowed for good at the first header. */
  #chunk = -1;
  #complainedMs = -Infinity;

  constructor(kit: HeadersKit) {
    this.#kit = kit;
    this.#words = kit.table.words;
    this.#ids = new ConnectionIdWriter(kit.setup.startId);
  }

  /** Whether this client must begin with a header, by the address of its socket. */
  isRequired(client: number): boolean {
    const trusted = this.#kit.services.configOf(client).acceptProxy;
    if (trusted === null) return false;
    const row = rowOf(client);
    return includesIp(trusted, this.#kit.table.bytes, (row + WORD.ip) * 4, this.#words[row + WORD.ipLength] & IP_LENGTH_MASK);
  }

  /** The flags of a client that need not begin with a header: where others must, it may not. */
  screeningFlagsOf(client: number): number {
    return this.#kit.services.configOf(client).acceptProxy === null ? 0 : SCREENED.any << SCREENED_SHIFT;
  }

  /** Reads the client's header, once it is there in full, and leaves the bytes behind it in the socket. */
  receive(client: number): Header {
    const { libc, chunks } = this.#kit;
    if (this.#chunk < 0) this.#chunk = chunks.take();
    const got = libc.call.recv(client, chunks.addresses[this.#chunk], PEEK_SIZE, SOCKET.MSG_PEEK);
    if (got < 0 && libc.errno() === ERRNO.EAGAIN) return HEADER.incomplete;
    if (got <= 0) return HEADER.gone;
    const parsed = parseProxyHeader(chunks.views[this.#chunk].subarray(0, got));
    if (parsed.kind === "incomplete") return HEADER.incomplete;
    if (parsed.kind === "malformed") return this.#complain(client, parsed.reason);
    libc.call.recv(client, chunks.addresses[this.#chunk], BigInt(parsed.length), 0);
    this.#take(client, parsed.header);
    return HEADER.complete;
  }

  /** What an incomplete header is when the client has sent FIN. */
  receiveLast(client: number): Header {
    const header = this.receive(client);
    if (header !== HEADER.incomplete) return header;
    const { libc, chunks } = this.#kit;
    if (libc.call.recv(client, chunks.addresses[this.#chunk], 1n, SOCKET.MSG_PEEK) <= 0) return HEADER.gone;
    return this.#complain(client, "the client closed the connection before its end");
  }

  /** Whether a client that may not send a header has sent one. The bytes in this chunk follow `before` earlier ones. */
  isForbidden(client: number, chunk: number, got: number, before: number): boolean {
    const at = rowOf(client) + WORD.flags;
    const flags = this.#words[at];
    const screened = screen((flags & SCREENED_MASK) >>> SCREENED_SHIFT, this.#kit.chunks.views[chunk].subarray(0, got), before);
    this.#words[at] = flags & ~SCREENED_MASK | (screened & SCREENED.any) << SCREENED_SHIFT;
    return screened === SCREENED.header;
  }

  /** The client has said this by itself: servers are told, as far as its own header did not say it. */
  addSaid(client: number, tlvs: readonly Tlv[]): void {
    if (tlvs.length === 0) return;
    const received = this.#received.get(client);
    this.#received.set(client, { destination: received?.destination, tlvs: addMissing(received?.tlvs ?? NO_TLVS, tlvs) });
  }

  /** The client has a new server: notes the header that it gets, if it gets one. */
  announce(client: number): void {
    const row = rowOf(client);
    const version = versionOf(this.#words[rowOf(this.#words[row + WORD.peer]) + WORD.flags]);
    if (version === undefined && (this.#words[row + WORD.flags] & FLAG.announcing) === 0) return;
    this.#outgoing.delete(client); // of a server that was lost before it was sent its header
    this.#words[row + WORD.flags] &= ~FLAG.announcing;
    if (version === undefined) return;
    const bytes = Uint8Array.from(writeProxyHeader(version, this.#announcementOf(client)));
    this.#outgoing.set(client, { bytes, address: this.#kit.libc.addressOf(bytes.buffer), sent: 0 });
    this.#words[row + WORD.flags] |= FLAG.announcing;
  }

  /** Bytes of the server's header that are still to be sent. */
  pending(client: number): number {
    const { bytes, sent } = this.#outgoing.get(client)!;
    return bytes.length - sent;
  }

  /** The address of the first of these. */
  pendingAddress(client: number): bigint {
    const { address, sent } = this.#outgoing.get(client)!;
    return address + BigInt(sent);
  }

  /** Notes that this many of them have been sent. */
  advance(client: number, bytes: number): void {
    const outgoing = this.#outgoing.get(client)!;
    outgoing.sent += bytes;
    if (outgoing.sent < outgoing.bytes.length) return;
    this.#outgoing.delete(client);
    this.#words[rowOf(client) + WORD.flags] &= ~FLAG.announcing;
  }

  /** What the header of a client said, as far as later headers repeat it; undefined: nothing. */
  receivedOf(client: number): Received | undefined {
    return this.#received.get(client);
  }

  /** The header that is on its way to the server, and how much of it was sent; undefined: none is. */
  outgoingOf(client: number): { readonly bytes: Uint8Array<ArrayBuffer>; readonly sent: number } | undefined {
    return this.#outgoing.get(client);
  }

  /** Takes both over from another process. */
  restore(
    client: number,
    { received, outgoing }: {
      readonly received: Received | undefined;
      readonly outgoing: ReturnType<ProxyHeaders["outgoingOf"]>;
    },
  ): void {
    if (received !== undefined) this.#received.set(client, received);
    if (outgoing === undefined) return;
    const { bytes, sent } = outgoing;
    this.#outgoing.set(client, { bytes, address: this.#kit.libc.addressOf(bytes.buffer), sent });
  }

  /** Forgets a client that has ended. */
  forget(client: number): void {
    if (this.#received.size > 0) this.#received.delete(client);
    if (this.#outgoing.size > 0) this.#outgoing.delete(client);
  }

  /** Says what is wrong with a header, not more often than the log can take. */
  #complain(client: number, reason: string): typeof HEADER.malformed {
    const { clock, post, table } = this.#kit;
    if (clock.nowMs >= this.#complainedMs + COMPLAINT_PAUSE_MS) {
      this.#complainedMs = clock.nowMs;
      post({ kind: "malformedHeader", ip: table.ipOf(client), port: this.#words[rowOf(client) + WORD.port] & PORT_MASK, reason });
    }
    return HEADER.malformed;
  }

  /** The received addresses are the connection's from now on. */
  #take(client: number, { source, destination, tlvs }: ProxyHeader): void {
    if (this.#kit.services.isLogging) this.#report(client, tlvs);
    if (destination !== undefined || tlvs.length > 0) this.#received.set(client, { destination, tlvs });
    if (source === undefined) return;
    const row = rowOf(client);
    const ip = unmapped(source.ip);
    this.#words[row + WORD.ipLength] = this.#words[row + WORD.ipLength] & ~IP_LENGTH_MASK | ip.length;
    this.#words[row + WORD.port] = this.#words[row + WORD.port] >>> LISTENER_SHIFT << LISTENER_SHIFT | source.port;
    this.#kit.table.bytes.set(ip, (row + WORD.ip) * 4);
  }

  /** Tells the access log who has sent the header, and those of its TLVs that fit. */
  #report(client: number, tlvs: Uint8Array): void {
    const { reports, table } = this.#kit;
    reports.writeHeader({ words: this.#words, row: rowOf(client) }, table.idOf(client), takeFitting(tlvs, LOGGED_BYTES_MAX));
    reports.publish(); // connections may last for hours: their headers would fill the ring
  }

  #announcementOf(client: number): Announcement {
    const { table, sockets } = this.#kit;
    const received = this.#received.get(client);
    return {
      source: { ip: table.ipOf(client), port: this.#words[rowOf(client) + WORD.port] & PORT_MASK },
      destination: received?.destination ?? sockets.ownEndpoint(client),
      tlvs: received?.tlvs ?? NO_TLVS,
      uniqueId: this.#ids.bytesOf(table.idOf(client)),
    };
  }
}

function versionOf(serverFlags: number): ProxyVersion | undefined {
  if ((serverFlags & FLAG.proxyV2) !== 0) return "v2";
  return (serverFlags & FLAG.proxyV1) !== 0 ? "v1" : undefined;
}

/** The IPv4 address of an IPv6 address that maps it (RFC 4291, 2.5.5.2): the client of an IPv4 listener has the same key. */
function unmapped(ip: Uint8Array): Uint8Array {
  const isMapped = ip.length === 16 && ip.subarray(0, 10).every((byte) => byte === 0) && ip[10] === 0xff && ip[11] === 0xff;
  return isMapped ? ip.subarray(12) : ip;
}
