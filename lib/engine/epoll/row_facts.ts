/**
 * The facts about an open connection for `redistribution.ts`, from its rows. The workers move connections by them, and main plans.
 */

import { factsNow } from "../../routing/redistribution.ts";
import { FACTS_MASK, FLAG, rowOf, WORD } from "./descriptor_table.ts";

/** The FACT bits of a client's connection. */
export function factsOf(words: Int32Array, client: number): number {
  const row = rowOf(client);
  const serverRow = words[row + WORD.peer] < 0 ? -1 : rowOf(words[row + WORD.peer]);
  const serverFlags = serverRow < 0 ? 0 : words[serverRow + WORD.flags];
  const isUnread = (serverFlags & (FLAG.readable | FLAG.hangup | FLAG.broken)) === FLAG.readable;
  return factsNow(words[row + WORD.facts] & FACTS_MASK, {
    isInTransit: isUnread || isHolding(words, row) || (serverRow >= 0 && isHolding(words, serverRow)) ||
      (words[row + WORD.flags] & FLAG.replaying) !== 0,
    hasClientEnded: (words[row + WORD.flags] & (FLAG.atEnd | FLAG.done)) !== 0,
    hasServerEnded: (serverFlags & FLAG.done) !== 0,
  });
}

function isHolding(words: Int32Array, row: number): boolean {
  return words[row + WORD.chunk] !== 0 || words[row + WORD.pipeBytes] !== 0;
}
