// What clients said is kept byte for byte, within its limits, and said again from the beginning.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Libc, openLibc } from "../../../lib/engine/system/libc.ts";
import { Recorder } from "../../../lib/engine/epoll/recorder.ts";
import { someBytes } from "../../helpers.ts";

const ignore = Deno.build.os !== "linux";
const KIB = 1024;
const BYTES_MAX = 64 * KIB;

/** A recorder, and what a test does with it in terms of bytes. */
function record(libc: Libc, bytesMax = BYTES_MAX, totalMax?: number) {
  const recorder = new Recorder(libc, totalMax);
  return {
    recorder,
    append: (client: number, bytes: Uint8Array<ArrayBuffer>) =>
      recorder.append(client, libc.addressOf(bytes.buffer) + BigInt(bytes.byteOffset), bytes.length, bytesMax),
    /** Says so many of the pending bytes again. */
    say(client: number, count = recorder.pending(client)): Uint8Array {
      const said = new Uint8Array(new ArrayBuffer(count));
      if (count > 0) libc.call.memmove(libc.addressOf(said.buffer), recorder.pendingAddress(client), BigInt(count));
      if (count > 0) recorder.advance(client, count);
      return said;
    },
  };
}

function test(name: string, fn: (libc: Libc) => void): void {
  Deno.test({
    name: `Recorder: ${name}`,
    ignore,
    fn() {
      using libc = openLibc();
      fn(libc);
    },
  });
}

test("what was said in parts is said again whole, as often as one likes", (libc) => {
  const { recorder, append, say } = record(libc);
  const bytes = someBytes(10 * KIB);
  for (let at = 0; at < bytes.length; at += 1000) assert(append(1, bytes.subarray(at, Math.min(bytes.length, at + 1000))));
  assertEquals(recorder.pending(1), 0, "the present server has all of it");
  for (let time = 0; time < 3; time++) {
    assertEquals(recorder.rewind(1), bytes.length);
    assertEquals(recorder.pending(1), bytes.length);
    assertEquals(say(1), bytes);
    assertEquals(recorder.pending(1), 0);
  }
});

test("it is said again in parts, from where the last part ended, and anew after a rewind", (libc) => {
  const { recorder, append, say } = record(libc);
  const bytes = someBytes(3000);
  append(1, bytes);
  recorder.rewind(1);
  assertEquals(say(1, 1000), bytes.subarray(0, 1000));
  assertEquals(say(1, 1500), bytes.subarray(1000, 2500));
  assertEquals(recorder.pending(1), 500);
  assertEquals(recorder.rewind(1), 3000);
  assertEquals(say(1), bytes);
});

test("what is said after a replay is kept with what was said before", (libc) => {
  const { recorder, append, say } = record(libc);
  const bytes = someBytes(2000);
  append(1, bytes.subarray(0, 900));
  recorder.rewind(1);
  say(1);
  append(1, bytes.subarray(900));
  assertEquals(recorder.pending(1), 0);
  recorder.rewind(1);
  assertEquals(say(1), bytes);
});

test("a client of which nothing is kept has nothing to say", (libc) => {
  const { recorder } = record(libc);
  assertEquals([recorder.rewind(1), recorder.pending(1)], [0, 0]);
  recorder.forget(1);
  assertEquals(recorder.rewind(1), 0);
});

test("a client may say as much as its limit, and one byte more forgets all of it", (libc) => {
  const { recorder, append, say } = record(libc, 5000);
  const bytes = someBytes(5001);
  assert(append(1, bytes.subarray(0, 5000)));
  recorder.rewind(1);
  assertEquals(say(1), bytes.subarray(0, 5000));
  assertEquals(append(1, bytes.subarray(5000)), false);
  assertEquals([recorder.rewind(1), recorder.pending(1)], [0, 0]);
  assert(append(1, bytes.subarray(0, 10)), "it may begin anew");
});

test("more than the limit at once is not kept, and a limit of 0 keeps nothing", (libc) => {
  assertEquals(record(libc, 5000).append(1, someBytes(5001)), false);
  assertEquals(record(libc, 0).append(1, someBytes(1)), false);
});

test("all clients together have no more than the total, and what one forgets another may have", (libc) => {
  const { recorder, append, say } = record(libc, 64 * KIB, 8 * KIB);
  for (let client = 0; client < 8; client++) assert(append(client, someBytes(KIB, client + 1)));
  assertEquals(append(8, someBytes(1)), false);
  assertEquals(append(0, someBytes(1)), false, "nor may one of them have more");
  assertEquals(recorder.rewind(0), 0, "who has no room is forgotten");
  assert(append(8, someBytes(KIB, 9)), "the room it had is another's");
  for (let client = 1; client <= 8; client++) {
    recorder.rewind(client);
    assertEquals(say(client), someBytes(KIB, client + 1));
  }
});

test("room of one size that nobody uses becomes room of another", (libc) => {
  const { recorder, append } = record(libc, 64 * KIB, 16 * KIB);
  for (let client = 0; client < 16; client++) assert(append(client, someBytes(KIB)));
  assertEquals(append(16, someBytes(16 * KIB)), false);
  for (let client = 0; client < 16; client++) recorder.forget(client);
  assert(append(16, someBytes(4 * KIB)));
  recorder.forget(16);
  assert(append(17, someBytes(KIB)), "and small room again");
});

/** What may be done with a recording. */
type Step = { readonly kind: "append" | "say"; readonly client: number; readonly count: number } | {
  readonly kind: "rewind" | "forget";
  readonly client: number;
};

test("whatever clients say, and whenever, each has its own bytes in their order", (libc) => {
  const client = fc.nat(4);
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant("append" as const), client, count: fc.integer({ min: 1, max: 6000 }) }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("say" as const), client, count: fc.nat(8000) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("rewind" as const), client }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("forget" as const), client }) },
  );
  const bytes = someBytes(1 << 20);
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { recorder, append, say } = record(libc, 20_000);
      const kept = new Map<number, { bytes: number[]; said: number }>();
      let at = 0;
      for (const step of steps) {
        const own = kept.get(step.client) ?? { bytes: [], said: 0 };
        const pending = own.bytes.length - own.said;
        if (step.kind === "append" && pending === 0) { // what is being said again comes first
          const more = bytes.subarray(at, at += step.count);
          const hasRoom = own.bytes.length + step.count <= 20_000;
          assertEquals(append(step.client, more), hasRoom);
          if (hasRoom) kept.set(step.client, { bytes: [...own.bytes, ...more], said: own.bytes.length + step.count });
          else kept.delete(step.client);
        } else if (step.kind === "say") {
          const count = Math.min(pending, step.count);
          assertEquals([...say(step.client, count)], own.bytes.slice(own.said, own.said + count));
          own.said += count;
        } else if (step.kind === "rewind") {
          assertEquals(recorder.rewind(step.client), own.bytes.length);
          own.said = 0;
        } else if (step.kind === "forget") {
          recorder.forget(step.client);
          kept.delete(step.client);
        }
        const now = kept.get(step.client);
        assertEquals(recorder.pending(step.client), now === undefined ? 0 : now.bytes.length - now.said);
      }
    }),
    { numRuns: 50 },
  );
});
