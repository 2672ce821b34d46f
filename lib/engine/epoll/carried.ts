/**
 * What is handed over of a connection, as bytes: its rows, the bytes that wait, what is recorded and announced, the search that is
 * under way. Indexes and slots are those of the process that gives; times are spans, since each process has its own clock. The bits
 * of rows (FLAG, FACT) and the numbers of states go as they are, so a change of what they mean is another HANDOVER_VERSION. Pure.
 */

import { LOSSES, STATES } from "../../routing/redistribution.ts";
import {
  ByteReader,
  bytes,
  type ByteWriter,
  type Codec,
  CodecError,
  f64,
  flag,
  i32,
  list,
  oneOf,
  optional,
  record,
  u8,
  type ValueOf,
} from "../../values/binary_codec.ts";
import { LIMITS } from "../../values/config.ts";
import type { CarriedIndexes } from "../engine.ts";
import { PASSED_MAX } from "../system/passing.ts";
import { CHUNK_BYTES, PIPE_BYTES } from "./pools.ts";

/** The version of everything in this file. */
export const HANDOVER_VERSION = 1;

/** Connections in one batch: with more, each would wait longer for the last of them. */
export const BATCH_MAX = 32;
/** A batch with more bytes takes no further connection. */
export const BATCH_BYTES = 1024 * 1024;
/** Descriptors of one connection: two sockets, and two pipes with two ends each. */
export const DESCRIPTORS_MAX = 6;
/** The most bytes of a batch that are believed. */
const FRAME_BYTES_MAX = 64 * 1024 * 1024;

/** Servers that a search has tried. */
const TRIED_MAX = 1024;
const IP_BYTES_MAX = 16;

/** Fields that both sockets have. */
const SOCKET_FIELDS = {
  flags: i32,
  errno: i32,
  score: i32,
  /** Bytes relayed from it. */
  bytes: f64,
  /** How long ago bytes were last relayed from it, and how long ago it was accepted or dialled, in ms. */
  quietForMs: f64,
  ageMs: f64,
  /** Bytes that were read from it and wait in memory. */
  waiting: bytes(CHUNK_BYTES),
  /** How many wait in a pipe, whose ends then are among the descriptors. */
  pipeBytes: i32,
};

const SERVER = record({
  ...SOCKET_FIELDS,
  port: i32,
  serverHeardAgoMs: f64,
  clientHeardAgoMs: f64,
  retryInMs: f64,
});

const ENDPOINT = record({ ip: bytes(IP_BYTES_MAX), port: i32 });

/** The states in which a connection can leave its server. */
const MOVABLE = STATES.slice(0, 3) as Exclude<typeof STATES[number], "busy">[];

const SEARCH = record({
  loss: oneOf(LOSSES),
  state: oneOf(MOVABLE),
  isReplay: flag,
  from: i32,
  timeLeftMs: f64,
  attemptsMax: i32,
  tried: list(i32, TRIED_MAX),
});

/** A client that waits for a place or a server. */
const WAITING = record({
  /** Where it stands among those of its worker. */
  place: f64,
  forMs: f64,
  /** Why it has left the server that it had; undefined: it has had none. */
  departure: optional(record({
    loss: oneOf(LOSSES),
    state: oneOf(MOVABLE),
    isReplay: flag,
    from: i32,
  })),
});

const CONNECTION = record({
  /** A STATE. */
  state: u8,
  service: i32,
  listener: i32,
  slot: i32,
  attempts: i32,
  moves: i32,
  facts: i32,
  earlierBytes: f64,
  ip: bytes(IP_BYTES_MAX),
  port: i32,
  /** When its timer is due; Infinity: it has none. */
  dueInMs: f64,
  /** For the access log; NaN: not known. */
  acceptedAt: f64,
  connectMs: f64,
  client: record(SOCKET_FIELDS),
  server: optional(SERVER),
  recording: optional(record({ bytes: bytes(LIMITS.replayBytesMax), said: i32 })),
  received: optional(record({ destination: optional(ENDPOINT), tlvs: bytes(LIMITS.proxyHeaderBytesMax) })),
  outgoing: optional(record({ bytes: bytes(LIMITS.proxyHeaderBytesMax), sent: i32 })),
  /** The departure under way of a connection that has lost its server. */
  search: optional(SEARCH),
  waiting: optional(WAITING),
});

/** A connection. */
export type CarriedConnection = ValueOf<typeof CONNECTION>;
/** One of its sockets. */
export type CarriedSocket = CarriedConnection["client"];
/** The socket of its server. */
export type CarriedServer = ValueOf<typeof SERVER>;
/** How it waits. */
export type CarriedWaiting = ValueOf<typeof WAITING>;
/** The search for another server that is under way. */
export type CarriedSearch = ValueOf<typeof SEARCH>;

/** Checks what the types cannot say, so that nothing that was read can point outside of what there is. */
function requireSense(connection: CarriedConnection): void {
  const { client, server, recording, outgoing } = connection;
  const isWithin = (part: number, whole: number) => part >= 0 && part <= whole;
  const makesSense = [client, server].every((socket) => socket === undefined || isWithin(socket.pipeBytes, PIPE_BYTES)) &&
    (recording === undefined || isWithin(recording.said, recording.bytes.length)) &&
    (outgoing === undefined || isWithin(outgoing.sent, outgoing.bytes.length));
  if (!makesSense) throw new CodecError("a connection makes no sense");
}

/** The codec of a connection. */
export const CARRIED: Codec<CarriedConnection> = {
  write: CONNECTION.write,
  read(reader) {
    const connection = CONNECTION.read(reader);
    requireSense(connection);
    return connection;
  },
};

/** How many descriptors come with a connection: the client, the server, the ends of the client's pipe, those of the server's. */
export function descriptorsOf({ client, server }: CarriedConnection): number {
  return 1 + (server === undefined ? 0 : 1) + (client.pipeBytes > 0 ? 2 : 0) + ((server?.pipeBytes ?? 0) > 0 ? 2 : 0);
}

/**
 * The head of a batch, in 32-bit words: its version, its number, the bytes behind the head, its connections, its descriptors, and
 * when the first of the connections was stopped (`MonotonicClock`).
 */
const HEAD = { version: 0, number: 1, bytes: 2, connections: 3, descriptors: 4, stoppedMicros: 5, words: 6 } as const;
/** Its length in bytes. */
export const HEAD_BYTES: number = HEAD.words * 4;

/** What a head says. */
export interface BatchHead {
  readonly number: number;
  readonly bytes: number;
  readonly connections: number;
  readonly descriptors: number;
  readonly stoppedMicros: number;
}

/** Leaves room for the head. */
export function beginBatch(writer: ByteWriter): void {
  writer.truncate(0);
  writer.grow(HEAD_BYTES);
}

/** Fills the head in. */
export function endBatch(writer: ByteWriter, head: Omit<BatchHead, "bytes">): void {
  const { number, connections, descriptors, stoppedMicros } = head;
  writer.patch32(HEAD.version * 4, HANDOVER_VERSION);
  writer.patch32(HEAD.number * 4, number);
  writer.patch32(HEAD.bytes * 4, writer.length - HEAD_BYTES);
  writer.patch32(HEAD.connections * 4, connections);
  writer.patch32(HEAD.descriptors * 4, descriptors);
  writer.patch32(HEAD.stoppedMicros * 4, stoppedMicros);
}

/** Reads a head. Throws a CodecError for one that cannot be. */
export function readHead(bytes: Uint8Array): BatchHead {
  const reader = new ByteReader(bytes);
  const words = Array.from({ length: HEAD.words }, () => i32.read(reader));
  const head = {
    number: words[HEAD.number],
    bytes: words[HEAD.bytes],
    connections: words[HEAD.connections],
    descriptors: words[HEAD.descriptors],
    stoppedMicros: words[HEAD.stoppedMicros],
  };
  const isMeant = words[HEAD.version] === HANDOVER_VERSION && head.bytes >= 0 && head.bytes <= FRAME_BYTES_MAX &&
    head.connections > 0 && head.connections <= BATCH_MAX && head.descriptors > 0 && head.descriptors <= PASSED_MAX;
  if (!isMeant) throw new CodecError("this is no head of a batch");
  return head;
}

/** The connections of a batch, behind its head. Throws a CodecError if they are not exactly what the head says. */
export function readBatch(bytes: Uint8Array, { connections, descriptors }: BatchHead): readonly CarriedConnection[] {
  const reader = new ByteReader(bytes);
  const all = Array.from({ length: connections }, () => CARRIED.read(reader));
  if (!reader.isAtEnd) throw new CodecError("a batch has bytes left over");
  if (all.reduce((sum, one) => sum + descriptorsOf(one), 0) !== descriptors) {
    throw new CodecError("a batch has another number of descriptors than its connections");
  }
  return all;
}

/** Throws a CodecError unless everything that these connections name is known here. */
export function requireKnown(connections: readonly CarriedConnection[], { services, listeners, slots }: CarriedIndexes): void {
  const isKnown = (indexes: Int32Array, index: number) => index < 0 || (indexes[index] ?? -1) >= 0;
  for (const { service, listener, slot, search } of connections) {
    const isAllKnown = isKnown(services, service) && listener >= 0 && isKnown(listeners, listener) && isKnown(slots, slot) &&
      (search === undefined || isKnown(slots, search.from));
    if (!isAllKnown) throw new CodecError("a connection is of a service, listener or server that is not known here");
  }
}

/** What answers a batch: its number, and whether it was taken. */
export const ANSWER_BYTES = 8;
const ANSWER = { taken: 1, refused: 2 } as const;

/** Writes an answer. */
export function writeAnswer(into: Int32Array, number: number, isTaken: boolean): void {
  into[0] = number;
  into[1] = isTaken ? ANSWER.taken : ANSWER.refused;
}

/** Whether this answer says that the batch with this number was taken. */
export function isTakenBy(answer: Int32Array, number: number): boolean {
  return answer[0] === number && answer[1] === ANSWER.taken;
}
