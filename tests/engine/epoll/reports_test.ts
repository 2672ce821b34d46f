import { assert, assertEquals } from "@std/assert";
import { STAY_REASONS } from "../../../lib/routing/stays.ts";
import { WORD } from "../../../lib/engine/epoll/descriptor_table.ts";
import {
  allocateReports,
  type EndRecord,
  type EndReport,
  FIRST_END,
  type MoveRecord,
  ReportReader,
  ReportWriter,
} from "../../../lib/engine/epoll/reports.ts";

const RING_RECORDS = 8192;

/** Both ends of a ring; `ring.woken` counts how often main was woken. */
function makeRing(shared = allocateReports()) {
  const ring = { woken: 0, reader: new ReportReader(shared), writer: new ReportWriter(shared, () => ring.woken++) };
  return ring;
}

const END: EndRecord = {
  id: 0,
  fate: "done",
  slot: 0,
  errno: 0,
  first: FIRST_END.none,
  sentBytes: 0,
  receivedBytes: 0,
  durationMs: 0,
  acceptedAt: NaN,
  endedAt: NaN,
  connectMs: NaN,
};

/** The row of a client, behind another one. */
function clientRow(ip: Uint8Array, port: number, { attempts = 1, moves = 0 } = {}) {
  const row = 32;
  const words = new Int32Array(2 * row);
  new Uint8Array(words.buffer).set(ip, (row + WORD.ip) * 4);
  words.set([ip.length, port], row + WORD.ipLength);
  words[row + WORD.attempts] = attempts;
  words[row + WORD.moves] = moves;
  return { words, row };
}

function writeEnd(writer: ReportWriter, port: number): void {
  writer.writeEnd(clientRow(new Uint8Array(4), port), END);
}

/** Takes the ends, and nothing else may be there. */
function drain(reader: ReportReader, onEnd: (report: EndReport) => void): number {
  const refuse = (what: string) => () => assert(false, what);
  return reader.drain({
    onEnd,
    onStart: refuse("a beginning"),
    onMove: refuse("a move"),
    onStay: refuse("a connection that stays"),
    onHeader: refuse("a header"),
    onHello: refuse("a hello"),
    onReason: refuse("a reason"),
    onFailure: refuse("a failure"),
    onRefusal: refuse("a refusal"),
  });
}

function portsOf(reader: ReportReader): number[] {
  const ports: number[] = [];
  drain(reader, ({ port }) => ports.push(port));
  return ports;
}

Deno.test("drain() gives every field of an end as it was written", () => {
  const { reader, writer } = makeRing();
  const ip = Uint8Array.from({ length: 16 }, (_, i) => 255 - i);
  const end: EndRecord = {
    id: 2 ** 53 - 1,
    fate: "server_lost",
    slot: -1,
    errno: -2,
    first: FIRST_END.server,
    sentBytes: 2 ** 53,
    receivedBytes: 2 ** 40 + 1,
    durationMs: 0.25,
    acceptedAt: 1.8e12,
    endedAt: 1.8e12 + 0.5,
    connectMs: 0.125,
  };
  writer.writeEnd(clientRow(ip, 65535 | 3 << 16, { attempts: 7, moves: 65535 }), end);
  const count = drain(reader, (report) => {
    const got = Object.fromEntries(Object.keys(end).map((name) => [name, report[name as keyof EndRecord]]));
    assertEquals(got, { ...end });
    assertEquals([report.attempts, report.moves, report.port, report.listener], [7, 65535, 65535, 3]);
    assertEquals(report.ip, ip);
  });
  assertEquals(count, 1);
  assertEquals(drain(reader, () => {}), 0);
});

const MOVE: MoveRecord = { id: 8, slot: 4, from: 3, loss: "silent", state: "idle", replayedBytes: 9, movedAt: 1.8e12 };

Deno.test("drain() tells all kinds of reports apart, in the order in which they were written", () => {
  const { reader, writer } = makeRing();
  const told: unknown[] = [];
  writer.writeStart(clientRow(Uint8Array.of(127, 0, 0, 1), 79 | 2 << 16), 7, 1.7e12);
  writer.writeMove(clientRow(Uint8Array.of(127, 0, 0, 1), 80), MOVE);
  writer.writeHeader(clientRow(Uint8Array.of(127, 0, 0, 3), 83), 11, Uint8Array.from({ length: 60 }, (_, i) => i));
  writer.writeHeader(clientRow(Uint8Array.of(127, 0, 0, 3), 84), 12, new Uint8Array(0));
  writer.writeReason(clientRow(Uint8Array.of(127, 0, 0, 4), 85), 13, "x".repeat(56) + "\xff");
  writer.writeHello(clientRow(Uint8Array.of(127, 0, 0, 4), 86), 14, Uint8Array.of(2, 0, 1, 0x61));
  writer.writeFailure(3, 111);
  writer.writeRefusal(clientRow(Uint8Array.of(127, 0, 0, 2), 82), 9, "client_rate");
  writer.writeStay(2 ** 53 - 1, STAY_REASONS.at(-1));
  writer.writeStay(15, undefined);
  writeEnd(writer, 81);
  reader.drain({
    onStart: ({ id, ip, port, listener, acceptedAt }) => told.push({ id, ip: [...ip], port, listener, acceptedAt }),
    onEnd: ({ port }) => told.push({ port }),
    onMove: ({ id, slot, from, loss, state, replayedBytes, movedAt, ip, port }) =>
      told.push({ id, slot, from, loss, state, replayedBytes, movedAt, ip: [...ip], port }),
    onStay: ({ id, reason }) => told.push({ id, reason }),
    onHeader: ({ id, ip, port, tlvs }) => told.push({ id, ip: [...ip], port, tlvs: [...tlvs] }),
    onReason: ({ id, port, text }) => told.push({ id, port, text }),
    onHello: ({ id, port, text }) => told.push({ id, port, hello: text }),
    onFailure: (slot, errno) => told.push({ slot, errno }),
    onRefusal: ({ ip, port, fate }) => told.push({ ip: [...ip], port, fate }),
  });
  const ip = [127, 0, 0, 1];
  const start = { id: 7, ip, port: 79, listener: 2, acceptedAt: 1.7e12 };
  const refusal = { ip: [127, 0, 0, 2], port: 82, fate: "client_rate" };
  const header = { id: 11, ip: [127, 0, 0, 3], port: 83 };
  const bytes = Array.from({ length: 60 }, (_, i) => i);
  assertEquals(told, [
    start,
    { ...MOVE, ip, port: 80 },
    { ...header, tlvs: bytes.slice(0, 56) },
    { ...header, tlvs: bytes.slice(56) },
    { ...header, id: 12, port: 84, tlvs: [] },
    { id: 13, port: 85, text: "x".repeat(56) },
    { id: 13, port: 85, text: "\xff" },
    { id: 14, port: 86, hello: "\x02\x00\x01a" },
    { slot: 3, errno: 111 },
    refusal,
    { id: 2 ** 53 - 1, reason: STAY_REASONS.at(-1) },
    { id: 15, reason: undefined },
    { port: 81 },
  ]);
});

Deno.test("a full ring counts the ends and beginnings that it drops apart from the others, once", () => {
  const { reader, writer } = makeRing();
  for (let i = 0; i < RING_RECORDS + 2; i++) writeEnd(writer, i);
  writer.writeMove(clientRow(new Uint8Array(4), 80), MOVE);
  writer.writeStart(clientRow(new Uint8Array(4), 80), 1, 0);
  assertEquals([reader.takeUnreported(), reader.takeDropped(), reader.takeUnreported()], [3, 4, 0]);
});

Deno.test("a client's port is reported without its listener", () => {
  const { reader, writer } = makeRing();
  writeEnd(writer, 80 | 3 << 16);
  assertEquals(portsOf(reader), [80]);
});

Deno.test("a report's IP address is a copy of as many bytes as it has", () => {
  const { reader, writer } = makeRing();
  writer.writeEnd(clientRow(Uint8Array.of(127, 0, 0, 1), 80), END);
  let ip = new Uint8Array();
  drain(reader, (report) => ip = report.ip as Uint8Array<ArrayBuffer>);
  for (let i = 0; i < RING_RECORDS; i++) writeEnd(writer, i);
  assertEquals([...ip], [127, 0, 0, 1]);
});

Deno.test("publish() wakes main once until it sleeps again", () => {
  const ring = makeRing();
  for (let i = 0; i < 3; i++) ring.writer.publish();
  assertEquals(ring.woken, 1);
  drain(ring.reader, () => {});
  ring.writer.publish();
  assertEquals(ring.woken, 1);
  ring.reader.sleep();
  ring.writer.publish();
  assertEquals(ring.woken, 2);
});

Deno.test("a full ring keeps the oldest reports, and counts those it drops, once", () => {
  const { reader, writer } = makeRing();
  for (let i = 0; i < RING_RECORDS + 5; i++) writeEnd(writer, i);
  assertEquals(portsOf(reader), Array.from({ length: RING_RECORDS }, (_, i) => i));
  assertEquals(reader.takeDropped(), 5);
  assertEquals(reader.takeDropped(), 0);
  writeEnd(writer, 1);
  assertEquals(portsOf(reader), [1]);
});

Deno.test("a report that is written during drain() waits for the next one", () => {
  const { reader, writer } = makeRing();
  writeEnd(writer, 1);
  assertEquals(drain(reader, () => writeEnd(writer, 2)), 1);
  assertEquals(portsOf(reader), [2]);
});

for (const start of [-3, 2 ** 31 - 3]) {
  Deno.test(`the ring goes on in order when its count passes ${start + 3}`, () => {
    const shared = allocateReports();
    new Int32Array(shared).fill(start, 0, 2); // written and read so far
    const { reader, writer } = makeRing(shared);
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 4; i++) writeEnd(writer, i);
      assertEquals(portsOf(reader), [0, 1, 2, 3]);
    }
    for (let i = 0; i < RING_RECORDS + 1; i++) writeEnd(writer, i);
    assertEquals([portsOf(reader).length, reader.takeDropped()], [RING_RECORDS, 1]);
  });
}
