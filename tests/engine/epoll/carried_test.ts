import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  BATCH_MAX,
  beginBatch,
  CARRIED,
  type CarriedConnection,
  descriptorsOf,
  endBatch,
  HANDOVER_VERSION,
  HEAD_BYTES,
  isTakenBy,
  readBatch,
  readHead,
  requireKnown,
  writeAnswer,
} from "../../../lib/engine/epoll/carried.ts";
import { FLAG, STATE } from "../../../lib/engine/epoll/descriptor_table.ts";
import { FACT, LOSSES, STATES } from "../../../lib/routing/redistribution.ts";
import { ByteReader, ByteWriter, CodecError } from "../../../lib/values/binary_codec.ts";

const words = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const times = fc.double({ noNaN: false });
const some = (max: number) => fc.uint8Array({ maxLength: max }).map((all) => Uint8Array.from(all));

const socketFields = {
  flags: words,
  errno: words,
  score: words,
  bytes: times,
  quietForMs: times,
  ageMs: times,
  waiting: some(2000),
  pipeBytes: fc.integer({ min: 0, max: 1024 * 1024 }),
};
const maybe = <T>(one: fc.Arbitrary<T>) => fc.option(one, { nil: undefined });
/** Bytes, and how many of them were sent. */
const partlySent = <Name extends string>(name: Name) =>
  some(2000).chain((bytes) =>
    fc.integer({ min: 0, max: bytes.length }).map((count) =>
      ({ bytes, [name]: count }) as { bytes: typeof bytes } & Record<Name, number>
    )
  );

const connections: fc.Arbitrary<CarriedConnection> = fc.record({
  state: fc.constantFrom(...Object.values(STATE)),
  service: words,
  listener: words,
  slot: words,
  attempts: words,
  moves: words,
  facts: words,
  earlierBytes: times,
  ip: some(16),
  port: words,
  dueInMs: times,
  acceptedAt: times,
  connectMs: times,
  client: fc.record(socketFields),
  server: maybe(fc.record({ ...socketFields, port: words, serverHeardAgoMs: times, clientHeardAgoMs: times, retryInMs: times })),
  recording: maybe(partlySent("said")),
  received: maybe(fc.record({ destination: maybe(fc.record({ ip: some(16), port: words })), tlvs: some(500) })),
  outgoing: maybe(partlySent("sent")),
  search: maybe(fc.record({
    loss: fc.constantFrom(...LOSSES),
    state: fc.constantFrom("unsent" as const, "unanswered" as const, "idle" as const),
    isReplay: fc.boolean(),
    from: words,
    timeLeftMs: times,
    attemptsMax: words,
    tried: fc.array(words, { maxLength: 20 }),
  })),
  waiting: maybe(fc.record({
    place: times,
    forMs: times,
    departure: maybe(fc.record({
      loss: fc.constantFrom(...LOSSES),
      state: fc.constantFrom("unsent" as const, "unanswered" as const, "idle" as const),
      isReplay: fc.boolean(),
      from: words,
    })),
  })),
});

function batchOf(all: readonly CarriedConnection[], descriptors = all.reduce((sum, one) => sum + descriptorsOf(one), 0)) {
  const writer = new ByteWriter();
  beginBatch(writer);
  for (const one of all) CARRIED.write(writer, one);
  endBatch(writer, { number: 3, connections: all.length, descriptors, stoppedMicros: 5 });
  return writer.bytes.slice();
}

Deno.test("a batch of connections is read as it was written", () => {
  fc.assert(
    fc.property(fc.array(connections, { minLength: 1, maxLength: BATCH_MAX }), (all) => {
      const bytes = batchOf(all);
      const head = readHead(bytes.subarray(0, HEAD_BYTES));
      assertEquals([head.number, head.bytes, head.connections, head.stoppedMicros], [3, bytes.length - HEAD_BYTES, all.length, 5]);
      assertEquals(readBatch(bytes.subarray(HEAD_BYTES), head), all);
    }),
    { numRuns: 30 },
  );
});

Deno.test("whatever is changed in a batch, it is read or is a CodecError", () => {
  const changes = fc.tuple(connections, fc.nat(), fc.integer({ min: 0, max: 255 }));
  fc.assert(fc.property(changes, ([one, where, value]) => {
    const bytes = batchOf([one]);
    bytes[where % bytes.length] = value;
    try {
      readBatch(bytes.subarray(HEAD_BYTES), readHead(bytes.subarray(0, HEAD_BYTES)));
    } catch (error) {
      assertEquals(error instanceof CodecError, true, String(error));
    }
  }));
});

const [ONE] = fc.sample(connections, 1);

for (
  const [what, change] of [
    ["more bytes in a pipe than one has", { client: { ...ONE.client, pipeBytes: 2 ** 30 } }],
    ["fewer than none", { client: { ...ONE.client, pipeBytes: -1 } }],
    ["more of a recording sent than there is", { recording: { bytes: new Uint8Array(3), said: 4 } }],
    ["more of a header sent than there is", { outgoing: { bytes: new Uint8Array(3), sent: -1 } }],
  ] as const satisfies readonly [string, Partial<CarriedConnection>][]
) {
  Deno.test(`a connection with ${what} makes no sense`, () => {
    const writer = new ByteWriter();
    CARRIED.write(writer, { ...ONE, ...change });
    assertThrows(() => CARRIED.read(new ByteReader(writer.bytes)), CodecError, "no sense");
  });
}

Deno.test("a head of another version, and descriptors that do not fit, are refused", () => {
  const bytes = batchOf([ONE]);
  const other = bytes.slice();
  other[0] = HANDOVER_VERSION + 1;
  assertThrows(() => readHead(other.subarray(0, HEAD_BYTES)), CodecError, "no head");
  const lying = batchOf([ONE], descriptorsOf(ONE) + 1);
  const head = readHead(lying.subarray(0, HEAD_BYTES));
  assertThrows(() => readBatch(lying.subarray(HEAD_BYTES), head), CodecError, "another number of descriptors");
});

Deno.test("connections of what is not known here are refused before any is taken", () => {
  const indexes = { services: Int32Array.of(0, -1), listeners: Int32Array.of(0), slots: Int32Array.of(5, -1) };
  const known = { ...ONE, service: 0, listener: 0, slot: 0, search: undefined };
  requireKnown([known, { ...known, service: -1, slot: -1 }], indexes);
  for (const change of [{ service: 1 }, { service: 2 }, { listener: 1 }, { listener: -1 }, { slot: 1 }, { slot: 9 }]) {
    assertThrows(() => requireKnown([{ ...known, ...change }], indexes), CodecError, "not known here");
  }
});

Deno.test("an answer is of one batch, and says whether it was taken", () => {
  const answer = new Int32Array(2);
  writeAnswer(answer, 7, true);
  assertEquals([isTakenBy(answer, 7), isTakenBy(answer, 8)], [true, false]);
  writeAnswer(answer, 7, false);
  assertEquals(isTakenBy(answer, 7), false);
});

// Bits and numbers of rows go to other versions as they are. Whoever changes one makes another HANDOVER_VERSION, and this line.
Deno.test("what the bits of rows mean is what version 1 of the hand-over says", async () => {
  const meaning = JSON.stringify([FLAG, STATE, FACT, LOSSES, STATES]);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(meaning)));
  assertEquals([HANDOVER_VERSION, digest.toHex().slice(0, 16)], [1, "9f610306b6e04e1b"]);
});
