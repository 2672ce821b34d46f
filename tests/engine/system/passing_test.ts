import { assert, assertEquals } from "@std/assert";
import { ERRNO } from "../../../lib/engine/system/errno.ts";
import { FILE, type Libc, openLibc } from "../../../lib/engine/system/libc.ts";
import { acceptAt, connectTo, listenAt, makePair, PASSED_MAX, Passing, peerOf } from "../../../lib/engine/system/passing.ts";

const ignore = Deno.build.os !== "linux";

/** Memory with an address. */
function memory(libc: Libc, size: number): { bytes: Uint8Array<ArrayBuffer>; address: bigint } {
  const bytes = new Uint8Array(new ArrayBuffer(size));
  return { bytes, address: libc.addressOf(bytes.buffer) };
}

Deno.test({ name: "a descriptor arrives with its bytes, as another number for the same thing", ignore }, () => {
  using libc = openLibc();
  const passing = new Passing(libc);
  const [here, there] = makePair(libc)!;
  const pipe = memory(libc, 8);
  libc.call.pipe2(pipe.address, FILE.O_NONBLOCK | FILE.O_CLOEXEC);
  const [reader, writer] = new Int32Array(pipe.bytes.buffer);
  const { bytes, address } = memory(libc, 64);
  bytes.set([1, 2, 3]);
  assertEquals(passing.send(here, address, 3, [writer]), 3);
  bytes.fill(0);
  const received = passing.receive(there, address, 64);
  assertEquals([received.bytes, received.isCut, [...bytes.subarray(0, 3)]], [3, false, [1, 2, 3]]);
  const [arrived] = received.descriptors;
  assert(arrived !== writer);
  libc.call.close(writer);
  assertEquals(libc.call.write(arrived, address, 2n), 2);
  assertEquals(libc.call.read(reader, address, 64n), 2);
  for (const one of [here, there, reader, arrived]) libc.call.close(one);
});

Deno.test({ name: "as many descriptors as the kernel allows arrive in one message, and no more are sent", ignore }, () => {
  using libc = openLibc();
  const passing = new Passing(libc);
  const [here, there] = makePair(libc)!;
  const { address } = memory(libc, 64);
  assertEquals(passing.send(here, address, 1, new Array(PASSED_MAX).fill(here)), 1);
  const { descriptors } = passing.receive(there, address, 64);
  assertEquals(descriptors.length, PASSED_MAX);
  assertEquals(new Set(descriptors).size, PASSED_MAX);
  for (const one of [here, there, ...descriptors]) libc.call.close(one);
});

Deno.test({ name: "the bytes of two messages with descriptors are received apart", ignore }, () => {
  using libc = openLibc();
  const passing = new Passing(libc);
  const [here, there] = makePair(libc)!;
  const { address } = memory(libc, 64);
  for (const size of [5, 7]) passing.send(here, address, size, [here]);
  const first = passing.receive(there, address, 64);
  const second = passing.receive(there, address, 64);
  assertEquals([first.bytes, second.bytes], [5, 7]);
  assertEquals(passing.receive(there, address, 64).bytes, -ERRNO.EAGAIN);
  for (const one of [here, there, ...first.descriptors, ...second.descriptors]) libc.call.close(one);
});

Deno.test({ name: "the end of the other side is 0 bytes; sending to it is EPIPE and no signal", ignore }, () => {
  using libc = openLibc();
  const passing = new Passing(libc);
  const [here, there] = makePair(libc)!;
  const { address } = memory(libc, 64);
  libc.call.close(there);
  assertEquals(passing.receive(here, address, 64).bytes, 0);
  assertEquals(passing.send(here, address, 1, []), -ERRNO.EPIPE);
  libc.call.close(here);
});

Deno.test({ name: "a socket at a path takes one caller, who is told by the kernel", ignore }, async () => {
  using libc = openLibc();
  const folder = await Deno.makeTempDir();
  const path = `${folder}/s`;
  assertEquals(connectTo(libc, path), -2); // ENOENT
  const listener = listenAt(libc, path);
  assert(listener >= 0);
  assertEquals(acceptAt(libc, listener), -ERRNO.EAGAIN);
  const here = connectTo(libc, path);
  const there = acceptAt(libc, listener);
  assertEquals([peerOf(libc, here), peerOf(libc, there)], [Deno.pid, Deno.pid]);
  assertEquals(listenAt(libc, `${folder}/${"x".repeat(120)}`), -ERRNO.EINVAL);
  for (const one of [listener, here, there]) libc.call.close(one);
  await Deno.remove(folder, { recursive: true });
});
