/**
 * Hellos of TLS clients by chance, for the fuzzer and the tests: valid ones, made without the product's code, and what becomes of
 * them by errors and malice.
 */

import type { Random } from "../random.ts";

/** An extension: its type, and what is in it. */
export type Extension = readonly [type: number, content: readonly number[]];

/** A hello before it is bytes. */
export interface HelloParts {
  readonly sessionId: readonly number[];
  readonly suites: readonly number[];
  /** None, where the hello ends before them. */
  readonly extensions: readonly Extension[] | undefined;
}

/** A valid hello, and what it says. */
export interface MadeHello {
  readonly message: readonly number[];
  readonly name: string | undefined;
  readonly alpn: readonly string[];
}

const RECORD_BYTES_MAX = 2 ** 14;
/** Bytes that parsers stumble over. */
const SHARP_BYTES = [0, 1, 2, 3, 4, 5, 0x10, 0x15, 0x16, 0x20, 0x2e, 0x2a, 0x3a, 0x3f, 0x40, 0x41, 0x7f, 0x80, 0x0a, 0xff];
const LABELS = ["a", "api", "example", "com", "xn--bcher-kva", "x".repeat(63), "_dmarc", "WWW", "0", "-a-", "localhost"];
const PROTOCOLS = ["h2", "http/1.1", "http/1.0", "h3", "postgresql", "\0", "\xff\xfe", "p".repeat(255), "acme-tls/1"];
/** Types whose content nobody here reads: groups, signature algorithms, versions, key shares, GREASE, ECH, tickets, padding. */
const OTHER_TYPES = [10, 13, 43, 51, 0x0a0a, 0xfafa, 0xfe0d, 35, 21, 17, 1, 0xff01];

/** A ClientHello with its head. */
export function messageOf({ sessionId, suites, extensions }: HelloParts, random?: Random): number[] {
  const blocks = extensions?.flatMap(([type, content]) => [...number16(type), ...vector16(content)]);
  const body = [3, 3, ...bytesBy(random, 32), sessionId.length, ...sessionId, ...vector16(suites), 1, 0];
  if (blocks !== undefined) body.push(...vector16(blocks));
  return [1, body.length >> 16, ...number16(body.length & 0xffff), ...body];
}

/** The extension with these names, each behind its type. */
export function namesExtension(...names: readonly (readonly [type: number, name: string])[]): Extension {
  return [0, vector16(names.flatMap(([type, name]) => [type, ...vector16(bytesOf(name))]))];
}

/** The extension with these protocols. */
export function protocolsExtension(...protocols: readonly string[]): Extension {
  return [16, vector16(protocols.flatMap((protocol) => [protocol.length, ...bytesOf(protocol)]))];
}

/** The message in records with so many bytes each, the last one with the rest. */
export function inRecords(message: readonly number[], sizes: Iterable<number> = []): number[] {
  const records: number[] = [];
  let at = 0;
  const add = (size: number) => {
    const part = message.slice(at, at + size);
    records.push(22, 3, 1, ...vector16(part));
    at += part.length;
  };
  for (const size of sizes) if (at < message.length) add(size);
  while (at < message.length) add(RECORD_BYTES_MAX);
  return records;
}

/** A hello as a client would send it. */
export function validHello(random: Random): MadeHello {
  const name = random.below(4) === 0 ? undefined : nameBy(random);
  const alpn = random.below(3) === 0 ? random.shuffled(PROTOCOLS).slice(0, random.between([1, 4])) : [];
  const others = Array.from(
    { length: random.below(6) },
    (): Extension => [random.pick(OTHER_TYPES), bytesBy(random, random.below(40))],
  );
  const extensions = [
    ...others,
    ...(name === undefined ? [] : [namesExtension([0, name])]),
    ...(alpn.length === 0 ? [] : [protocolsExtension(...random.below(2) === 0 ? ["\x1a\x1a", ...alpn] : alpn)]),
  ];
  const isBare = extensions.length === 0 && random.below(2) === 0;
  const parts = { sessionId: bytesBy(random, random.pick([0, 32])), suites: bytesBy(random, 2 * random.between([1, 20])) };
  const message = messageOf({ ...parts, extensions: isBare ? undefined : random.shuffled(extensions) }, random);
  return { message, name: name?.toLowerCase(), alpn };
}

/** The bytes of one attempt: a hello, one that was changed, or noise; often with more behind it. `made`: it was not changed. */
export function anyHello(
  random: Random,
): { readonly bytes: Uint8Array; readonly made: MadeHello | undefined; readonly length: number } {
  const [valid, changed] = [0.25, 0.92];
  const chance = random.below(1000) / 1000;
  if (chance >= changed) return { bytes: Uint8Array.from(noise(random)), made: undefined, length: 0 };
  const made = validHello(random);
  const isChangedInside = chance >= valid && random.below(2) === 0;
  const message = [...made.message];
  if (isChangedInside) change(message, random);
  const hello = inRecords(message, random.below(3) === 0 ? sizesBy(random) : []);
  if (chance >= valid && !isChangedInside) change(hello, random);
  const length = hello.length;
  if (random.below(3) === 0) hello.push(...bytesBy(random, random.below(40)));
  return { bytes: Uint8Array.from(hello), made: chance < valid ? made : undefined, length };
}

function change(hello: number[], random: Random): void {
  for (let changes = random.between([1, 3]); changes > 0; changes--) CHANGES[random.below(CHANGES.length)](hello, random);
}

/** Changes of a hello in place. */
const CHANGES: readonly ((hello: number[], random: Random) => void)[] = [
  (hello, random) => hello[random.below(hello.length)] = random.below(256),
  (hello, random) => hello[random.below(hello.length)] = random.pick(SHARP_BYTES),
  (hello, random) => hello[random.below(hello.length)] ^= 1 << random.below(8),
  (hello, random) => hello.splice(random.below(hello.length), random.between([1, 4])),
  (hello, random) => hello.splice(random.below(hello.length), 0, ...bytesBy(random, random.between([1, 4]))),
  (hello, random) => hello.length = random.below(hello.length + 1),
  (hello, random) => hello.splice(random.below(9), 1, random.pick(SHARP_BYTES)), // in the heads
  (hello, random) => hello.splice(random.below(hello.length), Infinity, ...inRecords(validHello(random).message)),
];

function noise(random: Random): number[] {
  const beginning = random.pick([
    [22],
    [22, 3, 1],
    [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3],
    [0x80, 0x2e, 1, 3, 1],
    bytesOf("GET / "),
    [],
  ]);
  return [...beginning, ...bytesBy(random, random.below(120))];
}

function nameBy(random: Random): string {
  return Array.from({ length: random.between([1, 3]) }, () => random.pick(LABELS)).join(".").replace(/(^|\.)0$/, "$1a");
}

function sizesBy(random: Random): number[] {
  const max = random.pick([1, 5, 100]);
  return Array.from({ length: random.between([1, 40]) }, () => random.between([1, max]));
}

/** Bytes by chance; without it, counted up. */
function bytesBy(random: Random | undefined, count: number): number[] {
  return Array.from({ length: count }, (_, i) => {
    if (random === undefined) return i & 0xff;
    return random.below(4) === 0 ? random.pick(SHARP_BYTES) : random.below(256);
  });
}

function vector16(content: readonly number[]): number[] {
  return [...number16(content.length), ...content];
}

function number16(value: number): [number, number] {
  return [value >> 8, value & 0xff];
}

function bytesOf(text: string): number[] {
  return Array.from(text, (character) => character.charCodeAt(0));
}
