/** How much memory a recording takes: what a client said and no server has answered, kept to be sent to another server. */

/** The smallest recording holds most requests; each larger size is so many times the one before. */
export const RECORDING_BYTES_MIN = 1024;
const GROWTH = 4;

/** The size that holds so many bytes, in bytes, from `current` on (0: none yet); undefined where that is more than `bytesMax`. */
export function recordingSize(bytes: number, current: number, bytesMax: number): number | undefined {
  if (bytes > bytesMax) return undefined;
  let size = Math.max(RECORDING_BYTES_MIN, current);
  while (size < bytes) size *= GROWTH;
  return size;
}
