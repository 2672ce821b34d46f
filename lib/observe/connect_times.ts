/**
 * How long servers take to accept, as counts in logarithmic buckets: fine enough to tell a percentile within 9 %, and small enough
 * to have one for each server and thread. Written once for each connection. Knows neither servers nor memory.
 */

/** Four buckets for each doubling from 20 µs on; the last one takes everything from 16 s on. */
const PER_DOUBLING = 4;
const LEAST_SECONDS = 20e-6;
/** The number of buckets. */
export const CONNECT_BUCKETS = 80;

/** What stands for a bucket where there was no connection. */
export const NO_BUCKET = 255;

/** The bucket of a time in seconds. */
export function connectBucketOf(seconds: number): number {
  if (!(seconds > LEAST_SECONDS)) return 0;
  return Math.min(Math.ceil(Math.log2(seconds / LEAST_SECONDS) * PER_DOUBLING), CONNECT_BUCKETS - 1);
}

/** The time that stands for all of a bucket, in ms: its geometric middle. Within 9 % of each, but for the first and the last. */
export function connectMsOf(bucket: number): number {
  return Number((LEAST_SECONDS * 1000 * 2 ** ((bucket - 0.5) / PER_DOUBLING)).toPrecision(3));
}

/** The bucket of a quantile from 0 to 1, by the nearest rank; NO_BUCKET without a connection. `total` is the sum of the counts. */
export function quantileBucket(counts: ArrayLike<number>, total: number, quantile: number): number {
  if (total === 0) return NO_BUCKET;
  const rank = Math.max(1, Math.ceil(quantile * total));
  let seen = 0;
  for (let bucket = 0; bucket < CONNECT_BUCKETS; bucket++) {
    seen += counts[bucket];
    if (seen >= rank) return bucket;
  }
  return CONNECT_BUCKETS - 1;
}
