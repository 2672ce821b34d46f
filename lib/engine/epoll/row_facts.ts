/** What the rows of an open connection say of it to `redistribution.ts`: the same to the worker that moves it and to main, which plans. */

import { FACT } from "../../routing/redistribution.ts";
import { FACTS_MASK, FLAG, ROW_SHIFT, WORD } from "./descriptor_table.ts";

/** A server after whose end nothing is to be moved: the client would hear no other. */
const NEVER_MOVED = FACT.sent | FACT.answered | FACT.awaitingAnswer;

/** FACT bits of a client's connection; one without a server has none to leave. */
export function factsOf(words: Int32Array, client: number): number {
  const row = client << ROW_SHIFT;
  const serverRow = words[row + WORD.peer] << ROW_SHIFT;
  const hasServer = words[row + WORD.peer] >= 0;
  const serverFlags = hasServer ? words[serverRow + WORD.flags] : 0;
  if ((serverFlags & FLAG.done) !== 0) return NEVER_MOVED;
  const isUnread = (serverFlags & (FLAG.readable | FLAG.hangup | FLAG.broken)) === FLAG.readable;
  const isMoving = isUnread || isHolding(words, row) || (hasServer && isHolding(words, serverRow)) ||
    (words[row + WORD.flags] & FLAG.replaying) !== 0;
  const hasEnded = (words[row + WORD.flags] & (FLAG.atEnd | FLAG.done)) !== 0;
  return words[row + WORD.facts] & FACTS_MASK | (isMoving ? FACT.moving : 0) | (hasEnded ? FACT.clientEnded : 0);
}

function isHolding(words: Int32Array, row: number): boolean {
  return words[row + WORD.chunk] !== 0 || words[row + WORD.pipeBytes] !== 0;
}
