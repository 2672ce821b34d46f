import { assert, assertEquals } from "@std/assert";
import { WORD } from "../../../lib/engine/epoll/descriptor_table.ts";
import { allocateReports, type EndRecord, type EndReport, ReportReader, ReportWriter } from "../../../lib/engine/epoll/reports.ts";

const RING_RECORDS = 8192;

/** Both ends of a ring; `ring.woken` counts how often main was woken. */
function makeRing(shared = allocateReports()) {
  const ring = { woken: 0, reader: new ReportReader(shared), writer: new ReportWriter(shared, () => ring.woken++) };
  return ring;
}

const END: EndRecord = { fate: "done", slot: 0, errno: 0, sentBytes: 0, receivedBytes: 0, durationMs: 0 };

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
  return reader.drain({
    onEnd,
    onMove: () => assert(false, "a move"),
    onFailure: () => assert(false, "a failure"),
    onRefusal: () => assert(false, "a refusal"),
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
    fate: "server_lost",
    slot: -1,
    errno: -2,
    sentBytes: 2 ** 53,
    receivedBytes: 2 ** 40 + 1,
    durationMs: 0.25,
  };
  writer.writeEnd(clientRow(ip, 65535, { attempts: 7, moves: 5 }), end);
  const count = drain(reader, ({ fate, slot, attempts, moves, errno, ip: got, port, sentBytes, receivedBytes, durationMs }) => {
    assertEquals({ fate, slot, errno, sentBytes, receivedBytes, durationMs }, end);
    assertEquals([attempts, moves, port], [7, 5, 65535]);
    assertEquals(got, ip);
  });
  assertEquals(count, 1);
  assertEquals(drain(reader, () => {}), 0);
});

Deno.test("drain() tells ends, moves, failures and refusals apart, in the order in which they were written", () => {
  const { reader, writer } = makeRing();
  const told: unknown[] = [];
  writer.writeMove(clientRow(Uint8Array.of(127, 0, 0, 1), 80), {
    slot: 4,
    from: 3,
    loss: "silent",
    state: "idle",
    replayedBytes: 9,
  });
  writer.writeFailure(3, 111);
  writer.writeRefusal(clientRow(Uint8Array.of(127, 0, 0, 2), 82), "client_rate");
  writeEnd(writer, 81);
  reader.drain({
    onEnd: ({ port }) => told.push({ port }),
    onMove: ({ slot, from, loss, state, replayedBytes, ip, port }) =>
      told.push({ slot, from, loss, state, replayedBytes, ip: [...ip], port }),
    onFailure: (slot, errno) => told.push({ slot, errno }),
    onRefusal: ({ ip, port, fate }) => told.push({ ip: [...ip], port, fate }),
  });
  const move = { slot: 4, from: 3, loss: "silent", state: "idle", replayedBytes: 9, ip: [127, 0, 0, 1], port: 80 };
  assertEquals(told, [move, { slot: 3, errno: 111 }, { ip: [127, 0, 0, 2], port: 82, fate: "client_rate" }, { port: 81 }]);
});

Deno.test("a client's port is reported without its service", () => {
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
