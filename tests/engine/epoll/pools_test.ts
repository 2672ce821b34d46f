import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { allocateDescriptorTable, DescriptorTable, ROLE, ROW_SHIFT, WORD } from "../../../lib/engine/epoll/descriptor_table.ts";
import { type Libc, openLibc } from "../../../lib/engine/system/libc.ts";
import { CHUNK_BYTES, ChunkPool, PIPE_BYTES, PipePool } from "../../../lib/engine/epoll/pools.ts";

const ignore = Deno.build.os !== "linux";
const OWNER = 7;
const ROWS = 20_000;

function makePipes(libc: Libc, max: number, rows = ROWS) {
  const table = new DescriptorTable(allocateDescriptorTable(rows));
  const pool = new PipePool(libc, table, OWNER, max);
  const ends = (pipe: number) => [pool.readers[pipe], pool.writers[pipe]];
  const owners = (pipe: number) => ends(pipe).map((end) => table.words[(end << ROW_SHIFT) + WORD.owner]);
  const roles = (pipe: number) => ends(pipe).map((end) => table.words[(end << ROW_SHIFT) + WORD.role]);
  return { pool, ends, owners, roles };
}

Deno.test({
  name: "ChunkPool: chunks do not overlap, and one that was given back is taken again",
  ignore,
  fn() {
    using libc = openLibc();
    const pool = new ChunkPool(libc);
    const chunks = Array.from({ length: 40 }, () => pool.take());
    assertEquals(new Set(chunks).size, chunks.length);
    const addresses = chunks.map((chunk) => pool.addresses[chunk]).sort((a, b) => a < b ? -1 : 1);
    for (let i = 1; i < addresses.length; i++) assert(addresses[i] - addresses[i - 1] >= BigInt(CHUNK_BYTES));
    pool.give(chunks[5]);
    const grown = pool.addresses.length;
    assertEquals(pool.take(), chunks[5]);
    assertEquals(pool.addresses.length, grown);
  },
});

Deno.test({
  name: "PipePool: a pipe holds what it should, and its ends are its owner's",
  ignore,
  fn() {
    using libc = openLibc();
    const { pool, owners, roles } = makePipes(libc, 1);
    const pipe = pool.take();
    assertEquals([owners(pipe), roles(pipe)], [[OWNER, OWNER], [ROLE.pipe, ROLE.pipe]]);
    const bytes = new ArrayBuffer(PIPE_BYTES + 4096);
    const taken = libc.call.write(pool.writers[pipe], libc.addressOf(bytes), BigInt(bytes.byteLength));
    assert(taken >= PIPE_BYTES / 4 && taken <= PIPE_BYTES, `${taken} bytes`);
    assertEquals(libc.call.read(pool.readers[pipe], libc.addressOf(bytes), BigInt(bytes.byteLength)), taken);
    pool.drop(pipe);
    assertEquals(owners(pipe), [0, 0]);
  },
});

Deno.test({
  name: "PipePool: there are no more than there may be, and a pipe that was given back is taken again",
  ignore,
  fn() {
    using libc = openLibc();
    const { pool } = makePipes(libc, 2);
    const pipes = [pool.take(), pool.take()];
    assertNotEquals(pipes[0], pipes[1]);
    assertEquals(pool.take(), -1);
    pool.give(pipes[0]);
    assertEquals(pool.take(), pipes[0]);
    for (const pipe of pipes) pool.drop(pipe);
  },
});

Deno.test({
  name: "PipePool: another pipe takes the place of one that was dropped",
  ignore,
  fn() {
    using libc = openLibc();
    const { pool, owners } = makePipes(libc, 1);
    const first = pool.take();
    pool.drop(first);
    const second = pool.take();
    assertEquals([second, owners(second)], [first, [OWNER, OWNER]]);
    pool.give(second);
    pool.clear();
    assertEquals(owners(second), [0, 0]);
  },
});

Deno.test({
  name: "PipePool: descriptors without a row are not kept",
  ignore,
  fn() {
    using libc = openLibc();
    const { pool } = makePipes(libc, 1, 0);
    assertEquals(pool.take(), -1);
    assertEquals([pool.readers, pool.writers], [[], []]);
  },
});
