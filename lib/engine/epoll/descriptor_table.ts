/**
 * The state of every descriptor of the epoll engine: one row of 128 bytes per descriptor number, in one SharedArrayBuffer. A
 * descriptor belongs to the worker whose epoch is in its row, and only that worker writes the row. So a worker finds a connection
 * by indexing and allocates nothing for it, and when a worker dies, main finds every descriptor that it held.
 */

import { COUNT_RULES_MAX } from "../../routing/client_limits.ts";
import type { ProxyVersion } from "../../values/proxy_header.ts";

/** The number of 32-bit words in a row, as a power of two: row `fd` starts at word `fd << ROW_SHIFT`. */
export const ROW_SHIFT = 5;
const ROW_BYTES = 4 << ROW_SHIFT;

/** The 32-bit words of a row. */
export const WORD = {
  /** The epoch of the worker that owns the descriptor; 0: none. */
  owner: 0,
  /** Changes whenever the descriptor number is reused, which tells events of an earlier socket from those of this one. */
  generation: 1,
  /** A ROLE. */
  role: 2,
  /** The other socket of the connection; -1: none. */
  peer: 3,
  /** FLAG bits. */
  flags: 4,
  /** Client: the slot of the server dialled or connected to; -1: none. */
  slot: 5,
  /** Client: servers dialled. */
  attempts: 6,
  /** The last error. */
  errno: 7,
  /** Client: the IP address, up to four words in network byte order. */
  ip: 8,
  /** Client: the length of that address in bytes and, from bit SERVICE_SHIFT on, the index of its service or NO_SERVICE. */
  ipLength: 12,
  /** The port of the peer; client: with the index of its listener from bit LISTENER_SHIFT on. */
  port: 13,
  /** Bytes read here and not yet sent on: the number of their chunk plus 1 (0: none), and their start and end in it. */
  chunk: 14,
  chunkStart: 15,
  chunkEnd: 16,
  /** Bytes spliced here and not yet sent on: the number of their pipe plus 1 (0: none), and their count. */
  pipe: 17,
  pipeBytes: 18,
  /** Bytes read in large pieces since the last small one. */
  score: 19,
  /** The events that epoll was last told to report; 0: the socket is not registered with epoll yet. */
  interest: 20,
  /** Client: its STATE, which only `Connections` changes. */
  state: 21,
  /** Client: the FACT bits of its history and, from bit REPLAYS_SHIFT on, how often its request was replayed. */
  facts: 22,
  /**
   * Client: in the lower half, how often it has moved. In the upper half, during a move, the slot of the server that it is leaving
   * plus 1; that server counts the connection until it has arrived.
   */
  moves: 23,
} as const;

/**
 * The 64-bit floats of a row, counted in floats: row `fd` starts at float `fd << (ROW_SHIFT - 1)`. Times are by the workers' clock.
 */
export const FLOAT = {
  /** Bytes read here and written to the other side's socket. */
  bytes: 12,
  /** When bytes were last relayed from here. */
  lastActivityMs: 13,
  /** When it was accepted or dialled. */
  startedMs: 14,
  /** Client: bytes received from servers that it has left. */
  earlierBytes: 15,
} as const;

/** Floats of a server's row, in the place of words that only a client's row uses. */
export const SERVER_FLOAT = {
  /**
   * When the server's host, and when the client's host, last sent a segment or owed no acknowledgement. Valid only for sockets with
   * FLAG.watched.
   */
  serverHeardMs: 4,
  clientHeardMs: 5,
  /** Nobody took the connection when it was to leave this server: the end of the pause before others are tried again. */
  retryAtMs: 11,
} as const;

/** The first bit of the service's index in a client's `WORD.ipLength`. */
export const SERVICE_SHIFT = 16;
/** The mask of the length in that word. */
export const IP_LENGTH_MASK: number = (1 << SERVICE_SHIFT) - 1;

/** The first bit of the listener's index in a client's `WORD.port`. */
export const LISTENER_SHIFT = 16;
/** The mask of the port in that word. */
export const PORT_MASK: number = (1 << LISTENER_SHIFT) - 1;

/** The first bit of the upper half of `WORD.moves`. */
export const FROM_SHIFT = 16;
/** The mask of the lower half. */
export const MOVES_MASK: number = (1 << FROM_SHIFT) - 1;

/** The first bit of the number of replays in `WORD.facts`. */
export const REPLAYS_SHIFT = 16;
/** One replay, to be added to that word. */
export const REPLAY_ONE: number = 1 << REPLAYS_SHIFT;
/** The FACT bits of that word. */
export const FACTS_MASK: number = REPLAY_ONE - 1;

/** The uses of a descriptor. */
export const ROLE = { client: 1, server: 2, pipe: 3 } as const;

/** The states of a connection. */
export const STATE = {
  /** It has no server; one is being dialled or its name looked up. */
  dialling: 1,
  /** Bytes are relayed in both directions. */
  open: 2,
  /** It keeps its server while another one is being dialled. */
  departing: 3,
  /** Its server has sent FIN and is being dialled again, to learn whether it is alive. */
  probing: 4,
  /** It has no server and is not routed yet: its PROXY header has not arrived. */
  awaitingHeader: 5,
  /** The same, and the first message of TLS has not arrived, which says its service. */
  awaitingHello: 6,
  /** It has no server and waits for one: nobody can take it now, or others came before. */
  held: 7,
  /** It is accepted and not begun: it waits for a place (`--queue`). */
  queued: 8,
  /** It is on its way to another process, which has not acknowledged it: nothing of it is read or written here. */
  handing: 9,
  /** It is the other process's; its sockets stay open here in case that process ends. */
  handed: 10,
} as const;
export type State = typeof STATE[keyof typeof STATE];

/** `WORD.slot` of a client that was accepted without a place, until its connection is known to its worker. */
export const NO_PLACE = -2;

/** Flags of a socket, in one word. */
export const FLAG = {
  /** There may be something to read. */
  readable: 1 << 0,
  /** The socket may accept more bytes. */
  writable: 1 << 1,
  /** The peer has sent FIN: all bytes still to be read are in the receive buffer. */
  hangup: 1 << 2,
  /** Urgent data was announced: a short read may have stopped at its mark, so it does not mean that the buffer is empty. */
  urgent: 1 << 3,
  /** The peer's FIN was read. */
  atEnd: 1 << 4,
  /** The peer's FIN was passed on. */
  done: 1 << 5,
  /** The socket has failed: nothing can be written to it. */
  broken: 1 << 6,
  /** The peer's FIN was passed on before the other side had ended. */
  endedFirst: 1 << 7,
  /** The socket is queued for another turn. */
  queued: 1 << 8,
  /** The direction carries so much that epoll reports only the events it waits for. */
  bulk: 1 << 9,
  /** TCP_NODELAY is set on this server's socket. */
  noDelay: 1 << 10,
  /** The socket was reset and a call consumed the error: a read of 0 bytes is not a FIN. */
  reset: 1 << 11,
  /** A FIN was reported before any failure. */
  fin: 1 << 13,
  /** Client: keep-alive has been set on the socket of its server. */
  keepAliveSet: 1 << 12,
  /** Client: it has moved, and the recorded bytes are still to be replayed to the new server. */
  replaying: 1 << 14,
  /** Server: its first bytes are not acknowledged at once, because the handshake was not. */
  ackDelayed: 1 << 15,
  /** Bytes were sent to it recently: its host is being watched for silence. */
  watched: 1 << 16,
  /** Client: its server is to be sent a PROXY header before anything else. */
  announcing: 1 << 17,
  /** Server: its connections begin with a PROXY header of version 1, or of version 2. */
  proxyV1: 1 << 18,
  proxyV2: 1 << 19,
  /** Client: the keep-alive and the timeouts of its service have changed since they were set on its socket. */
  livenessChanged: 1 << 24,
} as const;

/** The flag of a server whose connections begin with a header of this version. */
export const PROXY_FLAGS: Readonly<Record<ProxyVersion, number>> = { v1: FLAG.proxyV1, v2: FLAG.proxyV2 };

/** The first of the flags of a client that may not send a PROXY header: what its first bytes may be (`screen`). */
export const SCREENED_SHIFT = 20;
/** The mask of these flags. */
export const SCREENED_MASK: number = 3 << SCREENED_SHIFT;

/** A connection's id is its client's descriptor, which is below this number, plus the generation of its row times this number. */
const ID_DESCRIPTORS = 2 ** 21;

/** The id of the connection of this client, in whose row is this generation. */
export function makeId(client: number, generation: number): number {
  return (generation >>> 0) * ID_DESCRIPTORS + client;
}

/** The descriptor and the generation that an id stands for. */
export function parseId(id: number): { readonly client: number; readonly generation: number } {
  return { client: id % ID_DESCRIPTORS, generation: Math.floor(id / ID_DESCRIPTORS) };
}

/** The service of a client; NO_SERVICE while it is not known. */
export function serviceOf(words: Int32Array, client: number): number {
  return words[rowOf(client) + WORD.ipLength] >> SERVICE_SHIFT;
}

/** The service of a client is known. */
export function setService(words: Int32Array, client: number, service: number): void {
  const at = rowOf(client) + WORD.ipLength;
  words[at] = words[at] & IP_LENGTH_MASK | service << SERVICE_SHIFT;
}

/** The listener that a client came through. */
export function listenerOf(words: Int32Array, client: number): number {
  return words[rowOf(client) + WORD.port] >>> LISTENER_SHIFT;
}

/** Client: the first of the flags that say by which rules it is counted (`Gate.counted`). They stand beside FLAG. */
export const COUNTED_SHIFT = 22;
/** The mask of these flags. */
export const COUNTED_MASK: number = (1 << COUNT_RULES_MAX) - 1 << COUNTED_SHIFT;

/** The first word of a descriptor's row. */
export function rowOf(descriptor: number): number {
  return descriptor << ROW_SHIFT;
}

/** The first float of a descriptor's row. */
export function floatsOf(descriptor: number): number {
  return descriptor << (ROW_SHIFT - 1);
}

/** One thread's view of the rows. */
export class DescriptorTable {
  readonly words: Int32Array;
  readonly floats: Float64Array;
  readonly bytes: Uint8Array;
  /** The number of rows. */
  readonly capacity: number;

  constructor(readonly shared: SharedArrayBuffer) {
    this.words = new Int32Array(shared);
    this.floats = new Float64Array(shared);
    this.bytes = new Uint8Array(shared);
    this.capacity = shared.byteLength / ROW_BYTES;
  }

  /** When bytes were last relayed on a client's connection, by the workers' clock, in ms. */
  lastActivityMs(client: number): number {
    const server = this.words[rowOf(client) + WORD.peer];
    const clientMs = this.floats[floatsOf(client) + FLOAT.lastActivityMs];
    return server < 0 ? clientMs : Math.max(clientMs, this.floats[floatsOf(server) + FLOAT.lastActivityMs]);
  }

  /**
   * The id of a client's connection: below 2⁵³. The same from the adoption of the client to its release, and unique until the
   * descriptor was used 2³¹ times, which takes half a year at 10,000 connections a second, 64 of them open.
   */
  idOf(client: number): number {
    return makeId(client, this.words[rowOf(client) + WORD.generation]);
  }

  /** Points `address` to a client's IP address. Allocates nothing. */
  pointTo(client: number, address: { bytes: Uint8Array; at: number; length: number }): void {
    address.bytes = this.bytes;
    address.at = (rowOf(client) + WORD.ip) * 4;
    address.length = this.words[rowOf(client) + WORD.ipLength] & IP_LENGTH_MASK;
  }

  /** A copy of a client's IP address. */
  ipOf(client: number): Uint8Array {
    const word = (client << ROW_SHIFT) + WORD.ip;
    return this.bytes.slice(word * 4, word * 4 + (this.words[rowOf(client) + WORD.ipLength] & IP_LENGTH_MASK));
  }
}

/** Allocates rows for this many descriptors. The kernel backs pages only when they are first written. */
export function allocateDescriptorTable(capacity: number): SharedArrayBuffer {
  return new SharedArrayBuffer(capacity * ROW_BYTES);
}
