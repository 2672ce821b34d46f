/** Finds out which descriptor of this process is a certain file: the runtime does not say. */

import type { Libc } from "./libc.ts";

/** Descriptors that are looked at: the kernel gives the lowest number that is free, and what is looked for was opened early. */
const LOOKED_AT = 4096;
const PATH_BYTES = 4096;

/** The lowest descriptor of the file with this real path (proc(5), /proc/self/fd); -1: none. */
export function descriptorOf(libc: Libc, path: string): number {
  const wanted = new TextEncoder().encode(path);
  const found = new Uint8Array(new ArrayBuffer(PATH_BYTES));
  const foundAddress = libc.addressOf(found.buffer);
  for (let descriptor = 0; descriptor < LOOKED_AT; descriptor++) {
    const name = new TextEncoder().encode(`/proc/self/fd/${descriptor}\0`);
    const length = libc.call.readlink(libc.addressOf(name.buffer), foundAddress, BigInt(PATH_BYTES));
    if (length === wanted.length && wanted.every((byte, i) => byte === found[i])) return descriptor;
  }
  return -1;
}
