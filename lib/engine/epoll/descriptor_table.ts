/**
 * What the epoll engine knows of every descriptor: a row of 128 bytes for each number there can be, in one SharedArrayBuffer. A
 * descriptor belongs to the worker whose epoch is in its row and to nobody else; that worker alone writes the row. So a worker
 * finds a connection by indexing, allocates nothing for it, and when a worker dies, main finds all that it held.
 */

/** Bytes of a row as a power of two, and its words of four bytes likewise: row `fd` starts at word `fd << ROW_SHIFT`. */
export const ROW_SHIFT = 5;
const ROW_BYTES = 4 << ROW_SHIFT;

/** Where a row's 32-bit words are. */
export const WORD = {
  /** Incarnation of the worker it belongs to; 0: to none. */
  owner: 0,
  /** Counts how often the number was taken into use: it tells an event of its predecessor from its own. */
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
  /** The last error met. */
  errno: 7,
  /** Client: the IP address, up to four words in the network's order, and its bytes. */
  ip: 8,
  ipLength: 12,
  /** The other side's port; client: with the number of its service from bit SERVICE_SHIFT on. */
  port: 13,
  /** Bytes read here and not yet sent on: the number of the chunk that has them plus 1 (0: none), from where to where in it. */
  chunk: 14,
  chunkStart: 15,
  chunkEnd: 16,
  /** The same in a pipe: its number plus 1, and how many bytes it holds. */
  pipe: 17,
  pipeBytes: 18,
  /** Bytes read in large pieces without a small one between them. */
  score: 19,
  /** The events that epoll was last asked for, while they are not all. */
  interest: 20,
  /** Client: its STATE, which `Connections` alone changes. */
  state: 21,
  /** Client: FACT bits of what it has been through and, from bit REPLAYS_SHIFT on, how often what it asks was sent again. */
  facts: 22,
  /**
   * Client: in the lower half, how often it went from one server to another; in the upper half, while it is on its way, the slot of the
   * server that it leaves, which counts it until it has arrived, plus 1.
   */
  moves: 23,
} as const;

/** Where a row's 64-bit floats are, counted in floats: row `fd` starts at float `fd << (ROW_SHIFT - 1)`. */
export const FLOAT = {
  /** Bytes read here that the peer's socket has taken. */
  bytes: 12,
  /** When bytes were last moved from here, by the worker's clock. */
  lastActivityMs: 13,
  /** When it was accepted, or dialled, by the worker's clock. */
  startedMs: 14,
  /** Client: bytes that it got from servers which it has left. */
  earlierBytes: 15,
} as const;

/**
 * Floats of a server's row, where a client's has its IP address: when the server, and when its client, was last heard of by its system or
 * was owed nothing, by the worker's clock; of those that are watched.
 */
export const SERVER_FLOAT = { serverHeardMs: 4, clientHeardMs: 5 } as const;

/** Where in a client's `WORD.port` the number of its service begins; the mask is of the port. */
export const SERVICE_SHIFT = 16;
export const PORT_MASK: number = (1 << SERVICE_SHIFT) - 1;

/** The upper half of `WORD.moves` begins here; the mask is of the lower half. */
export const FROM_SHIFT = 16;
export const MOVES_MASK: number = (1 << FROM_SHIFT) - 1;

/** Where in `WORD.facts` the number of replays begins. */
export const REPLAYS_SHIFT = 16;
/** One replay, as it is added to that word. */
export const REPLAY_ONE: number = 1 << REPLAYS_SHIFT;
/** The FACT bits of that word. */
export const FACTS_MASK: number = REPLAY_ONE - 1;

/** What a descriptor is for. */
export const ROLE = { client: 1, server: 2, pipe: 3 } as const;

/** The states of a connection. */
export const STATE = {
  /** It has no server, and one is dialled or looked up. */
  dialling: 1,
  /** Bytes go both ways. */
  open: 2,
  /** It is open, and its server is kept while another one is dialled. */
  departing: 3,
  /** It is open, and its server, which has sent its end, is dialled again to see whether it is alive. */
  probing: 4,
} as const;
export type State = typeof STATE[keyof typeof STATE];

/** Facts of a socket, in one word. */
export const FLAG = {
  /** There may be something to read. */
  readable: 1 << 0,
  /** The system may take more. */
  writable: 1 << 1,
  /** The peer has sent its end: what is left to read is in the system's queue. */
  hangup: 1 << 2,
  /** Urgent data was announced: a short read may have stopped at its mark, and says nothing of what follows. */
  urgent: 1 << 3,
  /** The end was read. */
  atEnd: 1 << 4,
  /** The end was passed on. */
  done: 1 << 5,
  /** The socket failed: nothing can be written to it. */
  broken: 1 << 6,
  /** Waits for its next turn. */
  queued: 1 << 8,
  /** Moves so much that only the events it waits for are asked of epoll. */
  bulk: 1 << 9,
  /** A server's socket that sends small pieces at once (TCP_NODELAY). */
  noDelay: 1 << 10,
  /** The socket was reset, and a call was told so: what looks like its end is none. */
  reset: 1 << 11,
  /** The end was reported before anything else went wrong. */
  fin: 1 << 13,
  /** A client whose connection has lived so long that its server's keep-alive was set. */
  keepAliveSet: 1 << 12,
  /** A client that has another server now, which is still to be told what the first one was told. */
  replaying: 1 << 14,
  /** It was sent something lately: it is watched whether its host is still there. */
  watched: 1 << 16,
} as const;

/** The first word of a descriptor's row. */
export function rowOf(descriptor: number): number {
  return descriptor << ROW_SHIFT;
}

/** The first float of a descriptor's row. */
export function floatsOf(descriptor: number): number {
  return descriptor << (ROW_SHIFT - 1);
}

/** The rows, seen from one thread. */
export class DescriptorTable {
  readonly words: Int32Array;
  readonly floats: Float64Array;
  readonly bytes: Uint8Array;
  /** Descriptors from 0 to this number, less 1, have a row. */
  readonly capacity: number;

  constructor(readonly shared: SharedArrayBuffer) {
    this.words = new Int32Array(shared);
    this.floats = new Float64Array(shared);
    this.bytes = new Uint8Array(shared);
    this.capacity = shared.byteLength / ROW_BYTES;
  }

  /** When something was last relayed on a client's connection, by the workers' clock, in ms. */
  lastActivityMs(client: number): number {
    const server = this.words[rowOf(client) + WORD.peer];
    const clientMs = this.floats[floatsOf(client) + FLOAT.lastActivityMs];
    return server < 0 ? clientMs : Math.max(clientMs, this.floats[floatsOf(server) + FLOAT.lastActivityMs]);
  }

  /** A client's IP address, a copy. */
  ipOf(client: number): Uint8Array {
    const word = (client << ROW_SHIFT) + WORD.ip;
    return this.bytes.slice(word * 4, word * 4 + this.words[(client << ROW_SHIFT) + WORD.ipLength]);
  }
}

/** Memory for so many descriptors; what is never used is never touched. */
export function allocateDescriptorTable(capacity: number): SharedArrayBuffer {
  return new SharedArrayBuffer(capacity * ROW_BYTES);
}
