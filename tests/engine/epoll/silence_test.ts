import { assertEquals } from "@std/assert";
import { AT_REST, judge, SILENT } from "../../../lib/engine/epoll/silence.ts";
import type { PeerFacts } from "../../../lib/engine/system/sockets.ts";

const LIMIT_MS = 5000;
const NOW_MS = 100_000;

/** What the system knows, when it was heard of last, and what follows. */
const CASES: Record<string, [facts: Partial<PeerFacts>, heardAgoMs: number, verdict: number]> = {
  "a peer that owes nothing is not watched, however long it is quiet": [{ isOwing: false }, 1e9, AT_REST],
  "a peer that owes something has the whole limit from when it was heard of last": [{}, 1000, NOW_MS + 4000],
  "it has it even if nothing it was sent lately was answered": [{ unanswered: 9 }, 4999, NOW_MS + 1],
  "a peer that answered nothing for the limit is silent": [{ unanswered: 3 }, 5000, SILENT],
  "a peer that was hardly asked is looked at again": [{ unanswered: 2 }, 60_000, NOW_MS + 1250],
};

for (const [name, [facts, heardAgoMs, verdict]] of Object.entries(CASES)) {
  Deno.test(`judge(): ${name}`, () => {
    assertEquals(judge({ isOwing: true, unanswered: 0, heardAgoMs, ...facts }, NOW_MS - heardAgoMs, NOW_MS, LIMIT_MS), verdict);
  });
}
