import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { CONNECT_BUCKETS, connectBucketOf, connectMsOf, NO_BUCKET, quantileBucket } from "../../lib/observe/connect_times.ts";

Deno.test("every time has a bucket, a longer one none before, and times from 20 µs to 16 s are told within 9 %", () => {
  const seconds = fc.double({ min: 0, max: 100, noNaN: true });
  fc.assert(fc.property(seconds, seconds, (one, other) => {
    const [low, high] = [Math.min(one, other), Math.max(one, other)];
    assert(connectBucketOf(low) <= connectBucketOf(high));
    assert(connectBucketOf(high) < CONNECT_BUCKETS);
    if (one > 20e-6 && one < 16) assert(Math.abs(connectMsOf(connectBucketOf(one)) / (one * 1000) - 1) < 0.095, `${one}`);
  }));
});

Deno.test("what is no time is in the first bucket", () => {
  for (const seconds of [0, -1, NaN, -Infinity]) assertEquals(connectBucketOf(seconds), 0);
  assertEquals(connectBucketOf(Infinity), CONNECT_BUCKETS - 1);
});

Deno.test("quantileBucket() is the bucket of the value with that rank", () => {
  const times = fc.array(fc.double({ min: 1e-6, max: 10, noNaN: true }), { minLength: 1, maxLength: 300 });
  fc.assert(fc.property(times, fc.constantFrom(0, 0.5, 0.9, 0.99, 1), (times, quantile) => {
    const counts = new Uint32Array(CONNECT_BUCKETS);
    for (const time of times) counts[connectBucketOf(time)]++;
    const sorted = times.toSorted((a, b) => a - b);
    const expected = sorted[Math.max(1, Math.ceil(quantile * sorted.length)) - 1];
    assertEquals(quantileBucket(counts, times.length, quantile), connectBucketOf(expected));
  }));
});

Deno.test("quantileBucket() of no time is none", () => {
  assertEquals(quantileBucket(new Uint32Array(CONNECT_BUCKETS), 0, 0.5), NO_BUCKET);
});
