import { assertEquals } from "@std/assert";
import { allocateReports, REPORT, ReportReader, ReportWriter } from "../../../lib/engine/epoll/reports.ts";

const RING_RECORDS = 8192;

/** Both ends of a ring; `ring.woken` counts how often main was woken. */
function makeRing(shared = allocateReports()) {
  const ring = { woken: 0, reader: new ReportReader(shared), writer: new ReportWriter(shared, () => ring.woken++) };
  return ring;
}

function writeEnd(writer: ReportWriter, port: number): void {
  writer.write(REPORT.ended, 0, 0, 1, 0, 0, new Int32Array(4), 0, 4, port, 0, 0, 0);
}

function portsOf(reader: ReportReader): number[] {
  const ports: number[] = [];
  reader.drain(({ port }) => ports.push(port));
  return ports;
}

Deno.test("drain() gives every field as write() was given it", () => {
  const { reader, writer } = makeRing();
  const ip = Uint8Array.from({ length: 16 }, (_, i) => 255 - i);
  const row = new Int32Array(6);
  new Uint8Array(row.buffer).set(ip, 8);
  writer.write(REPORT.serverFailed, 3, -1, 7, 5, -2, row, 2, 16, 65535, 2 ** 53, 2 ** 40 + 1, 0.25);
  const count = reader.drain(
    ({ kind, fate, slot, attempts, moves, errno, ip: got, port, sentBytes, receivedBytes, durationMs }) => {
      assertEquals([kind, fate, slot, attempts, moves, errno, port], [REPORT.serverFailed, 3, -1, 7, 5, -2, 65535]);
      assertEquals([sentBytes, receivedBytes, durationMs], [2 ** 53, 2 ** 40 + 1, 0.25]);
      assertEquals(got, ip);
    },
  );
  assertEquals(count, 1);
  assertEquals(reader.drain(() => {}), 0);
});

Deno.test("a report's IP address is a copy of as many bytes as it has", () => {
  const { reader, writer } = makeRing();
  const row = new Int32Array(new Uint8Array([127, 0, 0, 1, ...new Array(12).fill(9)]).buffer);
  writer.write(REPORT.ended, 0, 0, 1, 0, 0, row, 0, 4, 80, 0, 0, 0);
  let ip = new Uint8Array();
  reader.drain((report) => ip = report.ip as Uint8Array<ArrayBuffer>);
  for (let i = 0; i < RING_RECORDS; i++) writeEnd(writer, i);
  assertEquals([...ip], [127, 0, 0, 1]);
});

Deno.test("publish() wakes main once until it sleeps again", () => {
  const ring = makeRing();
  for (let i = 0; i < 3; i++) ring.writer.publish();
  assertEquals(ring.woken, 1);
  ring.reader.drain(() => {});
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
  assertEquals(reader.drain(() => writeEnd(writer, 2)), 1);
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
