import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  ByteReader,
  bytes,
  ByteWriter,
  type Codec,
  CodecError,
  f64,
  flag,
  i32,
  list,
  oneOf,
  optional,
  record,
  u8,
} from "../../lib/values/binary_codec.ts";

function written<T>(codec: Codec<T>, value: T): Uint8Array<ArrayBuffer> {
  const writer = new ByteWriter();
  codec.write(writer, value);
  return writer.bytes.slice();
}

function readAll<T>(codec: Codec<T>, from: Uint8Array): T {
  const reader = new ByteReader(from);
  const value = codec.read(reader);
  assertEquals(reader.isAtEnd, true);
  return value;
}

const SAMPLE = record({
  small: u8,
  word: i32,
  number: f64,
  flag,
  kind: oneOf(["one", "two", "three"] as const),
  bytes: bytes(100),
  all: list(record({ word: i32, maybe: optional(f64) }), 10),
});

Deno.test("what was written is read again, and nothing is left over", () => {
  const words = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
  const numbers = fc.double();
  const sample = fc.record({
    small: fc.integer({ min: 0, max: 255 }),
    word: words,
    number: numbers,
    flag: fc.boolean(),
    kind: fc.constantFrom("one" as const, "two" as const, "three" as const),
    bytes: fc.uint8Array({ maxLength: 100 }).map((all) => Uint8Array.from(all)),
    all: fc.array(fc.record({ word: words, maybe: fc.option(numbers, { nil: undefined }) }), { maxLength: 10 }),
  });
  fc.assert(fc.property(sample, (value) => assertEquals(readAll(SAMPLE, written(SAMPLE, value)), value)));
});

Deno.test("bytes that are cut short anywhere are an error, and no other one", () => {
  const whole = written(SAMPLE, {
    small: 1,
    word: -1,
    number: NaN,
    flag: true,
    kind: "two",
    bytes: Uint8Array.of(1, 2, 3),
    all: [{ word: 7, maybe: 8 }, { word: 9, maybe: undefined }],
  });
  for (let length = 0; length < whole.length; length++) {
    assertThrows(() => readAll(SAMPLE, whole.subarray(0, length)), CodecError, "end early");
  }
});

Deno.test("any bytes are a value or a CodecError", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (any) => {
    try {
      SAMPLE.read(new ByteReader(any));
    } catch (error) {
      assertEquals(error instanceof CodecError, true, String(error));
    }
  }));
});

for (
  const [what, codec, from, sentence] of [
    ["too many bytes", bytes(3), written(bytes(9), new Uint8Array(4)), "not in 0 to 3"],
    ["too many values", list(u8, 1), written(list(u8, 9), [1, 2]), "not in 0 to 1"],
    ["a negative length", bytes(3), written(i32, -1), "not in 0 to 3"],
    ["a choice that is not there", oneOf(["a", "b"]), Uint8Array.of(2), "no value 2"],
    ["a flag that is neither", flag, Uint8Array.of(2), "neither yes nor no"],
  ] as const satisfies readonly [string, Codec<never> | Codec<unknown>, Uint8Array, string][]
) {
  Deno.test(`${what}: is not read`, () => {
    assertThrows(() => readAll(codec as Codec<unknown>, from), CodecError, sentence);
  });
}

Deno.test("more than the limit is not written", () => {
  assertThrows(() => written(bytes(3), new Uint8Array(4)), CodecError, "more than 3");
  assertThrows(() => written(list(u8, 1), [1, 2]), CodecError, "more than 1");
});

Deno.test("a writer that is truncated goes on from there, and a number is written over", () => {
  const writer = new ByteWriter();
  for (let i = 0; i < 5000; i++) u8.write(writer, i & 255);
  writer.truncate(4);
  u8.write(writer, 9);
  writer.patch32(0, 7);
  assertEquals([...writer.bytes], [7, 0, 0, 0, 9]);
});
