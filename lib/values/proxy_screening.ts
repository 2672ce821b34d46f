/**
 * Finds PROXY headers where none may be: in the first bytes of a client that is not trusted to send one. The bytes may come in any
 * pieces, and are passed on as they come: a header is found when its signature is complete.
 */

import { V1_SIGNATURE } from "./proxy_v1.ts";
import { V2_SIGNATURE } from "./proxy_v2.ts";

const SIGNATURES = [V1_SIGNATURE, V2_SIGNATURE];

/** The signatures that all bytes so far agree with, as bits. `none`: they are not the beginning of a header. */
export const SCREENED = { none: 0, any: 3, header: 4 } as const;

/**
 * Compares further bytes of a client, which `before` earlier ones precede, with the signatures in `screened`. Returns those that
 * still agree, or `SCREENED.header` if one of them is complete.
 */
export function screen(screened: number, bytes: Uint8Array, before: number): number {
  let left = 0;
  for (let i = 0; i < SIGNATURES.length; i++) {
    if ((screened & 1 << i) === 0) continue;
    const signature = SIGNATURES[i];
    const end = Math.min(signature.length, before + bytes.length);
    let at = before;
    while (at < end && bytes[at - before] === signature[at]) at++;
    if (at === signature.length) return SCREENED.header;
    if (at === end) left |= 1 << i;
  }
  return left;
}
