/**
 * CRC32C: the 32-bit cyclic redundancy check with Castagnoli's polynomial, as iSCSI (RFC 3720), SCTP (RFC 9260) and the PROXY
 * protocol use it. A table of 256 entries: one look-up a byte, which is enough for the few dozen bytes of a header.
 */

/** Castagnoli's polynomial 0x1edc6f41 with its bits reversed: the register shifts to the right. */
const POLYNOMIAL = 0x82f63b78;

/** What eight shifts do to each value of the lowest byte. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let register = byte;
  for (let bit = 0; bit < 8; bit++) register = register & 1 ? register >>> 1 ^ POLYNOMIAL : register >>> 1;
  return register;
});

/** The checksum of these bytes one after another, 0 to 2³²−1. */
export function crc32c(...parts: readonly Uint8Array[]): number {
  let register = 0xffffffff;
  for (const bytes of parts) {
    for (let i = 0; i < bytes.length; i++) register = register >>> 8 ^ TABLE[(register ^ bytes[i]) & 0xff];
  }
  return (register ^ 0xffffffff) >>> 0;
}
