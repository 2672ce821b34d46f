/** Sizes of recordings. A recording keeps a client's unanswered bytes, so that they can be replayed to another server. */

/** The smallest recording holds most requests; each larger size is GROWTH times the previous one. */
export const RECORDING_BYTES_MIN = 1024;
const GROWTH = 4;

/**
 * The size of a recording that holds `bytes`, at least `current` (0: none yet), in bytes; undefined if `bytes` exceeds `bytesMax`.
 */
export function recordingSize(bytes: number, current: number, bytesMax: number): number | undefined {
  if (bytes > bytesMax) return undefined;
  let size = Math.max(RECORDING_BYTES_MIN, current);
  while (size < bytes) size *= GROWTH;
  return size;
}
