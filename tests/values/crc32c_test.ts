// CRC32C gives the checksums that the standards print.

import { assertEquals } from "@std/assert";
import { crc32c } from "../../lib/values/crc32c.ts";

/** RFC 3720, appendix B.4, which prints the lowest byte first; and the check value of the catalogues of CRCs. */
const VECTORS = [
  ["no bytes", "", 0],
  ["32 bytes of zeroes", "00".repeat(32), 0x8a9136aa],
  ["32 bytes of ones", "ff".repeat(32), 0x62a8ab43],
  ["32 bytes that count up", Uint8Array.from({ length: 32 }, (_, i) => i).toHex(), 0x46dd794e],
  ["32 bytes that count down", Uint8Array.from({ length: 32 }, (_, i) => 31 - i).toHex(), 0x113fdb5c],
  [
    "an iSCSI read command",
    "01c00000000000000000000000000000140000000000040000000014000000182800000000000000" + "0200000000000000",
    0xd9963a56,
  ],
  ["the digits 1 to 9", "313233343536373839", 0xe3069283],
] as const;

for (const [what, hex, sum] of VECTORS) {
  Deno.test(`crc32c() of ${what}`, () => assertEquals(crc32c(Uint8Array.fromHex(hex)), sum));
}

Deno.test("crc32c() of parts is that of the whole, wherever it is cut", () => {
  const whole = Uint8Array.fromHex("313233343536373839");
  for (let cut = 0; cut <= whole.length; cut++) {
    assertEquals(crc32c(whole.subarray(0, cut), new Uint8Array(0), whole.subarray(cut)), 0xe3069283);
  }
});
