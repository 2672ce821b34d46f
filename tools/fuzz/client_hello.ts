/**
 * Fuzzes the reader of ClientHellos. Each attempt checks that it does not throw, reads nothing but its bytes, judges bytes that
 * come in pieces as it judges them all at once, waits no longer than it says, and reads what a valid hello says.
 */

import { assert, assertEquals } from "@std/assert";
import { ClientHelloReader, type HelloVerdict } from "../../lib/values/client_hello.ts";
import { LIMITS } from "../../lib/values/config.ts";
import { Random } from "../random.ts";
import { parseAmidOthers } from "./guarded.ts";
import { anyHello, type MadeHello } from "./hellos.ts";

/** How many attempts the reader judged how. */
export type HelloOutcomes = Record<HelloVerdict["kind"], number>;

/** The verdict on these bytes, received at once. Throws if it depends on what surrounds them. */
export function readGuarded(bytes: Uint8Array): HelloVerdict {
  return parseAmidOthers(bytes, (bytes) => new ClientHelloReader().read(bytes), areAlike);
}

/**
 * The verdict on these bytes, received piece by piece: up to each of the ends, then whole. Throws if a verdict is not final or
 * depends on what surrounds the bytes, or if less than the reader said was enough.
 */
export function readInPieces(bytes: Uint8Array, ends: Iterable<number>): HelloVerdict {
  const reader = new ClientHelloReader();
  let last: HelloVerdict = { kind: "more", needed: 0 };
  for (const end of [...ends, bytes.length]) {
    const verdict = reader.read(bytes.slice(0, end));
    if (last.kind !== "more") assert(areAlike(last, verdict), `${last.kind} became ${verdict.kind} at ${end} bytes`);
    else checkNeeded(last.needed, verdict, end);
    last = verdict;
  }
  return last;
}

function checkNeeded(before: number, verdict: HelloVerdict, end: number): void {
  if (verdict.kind === "hello") assert(end >= before, `${end} bytes were enough, and ${before} were needed`);
  if (verdict.kind !== "more") return;
  assert(verdict.needed > end, `${end} bytes are there, and ${verdict.needed} are enough`);
  assert(verdict.needed >= before && verdict.needed <= LIMITS.helloBytesMax, `${before} became ${verdict.needed}`);
}

/** So many attempts by chance, the same for the same seed. */
export function fuzzClientHellos({ seed, count }: { seed: number; count: number }): HelloOutcomes {
  const random = new Random(seed);
  const outcomes: HelloOutcomes = { hello: 0, more: 0, notTls: 0, malformed: 0 };
  for (let attempt = 0; attempt < count; attempt++) {
    const { bytes, made, length } = anyHello(random);
    try {
      outcomes[checkOne(bytes, random)]++;
      if (made !== undefined) checkMade(bytes, made, length);
    } catch (error) {
      throw new Error(`Attempt ${attempt} of seed ${seed} failed with the bytes ${bytes.toHex()}`, { cause: error });
    }
  }
  return outcomes;
}

function checkOne(bytes: Uint8Array, random: Random): HelloVerdict["kind"] {
  const verdict = readGuarded(bytes);
  const [one, other] = [random.below(bytes.length + 1), random.below(bytes.length + 1)];
  assert(areAlike(readInPieces(bytes, [Math.min(one, other), Math.max(one, other)]), verdict), `pieces at ${one} and ${other}`);
  if (verdict.kind === "hello") {
    assert(verdict.hello.name === undefined || /^[a-z0-9_.-]{1,253}$/.test(verdict.hello.name));
    assert(!verdict.hello.alpn.includes(""));
  }
  return verdict.kind;
}

/** A valid hello is read when its last byte is there, as it was made. */
function checkMade(bytes: Uint8Array, { name, alpn }: MadeHello, length: number): void {
  const reader = new ClientHelloReader();
  assertEquals(reader.read(bytes.subarray(0, length - 1)).kind, "more");
  assertEquals(reader.read(bytes.subarray(0, length)), { kind: "hello", hello: { name, alpn } });
}

function areAlike(one: HelloVerdict, other: HelloVerdict): boolean {
  if (one.kind === "more") return other.kind === "more" && one.needed === other.needed;
  if (one.kind === "malformed") return other.kind === "malformed" && one.reason === other.reason;
  if (one.kind === "notTls" || other.kind !== "hello") return one.kind === other.kind;
  return one.hello.name === other.hello.name && one.hello.alpn.join() === other.hello.alpn.join();
}
