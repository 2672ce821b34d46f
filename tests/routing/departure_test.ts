import { assert, assertEquals } from "@std/assert";
import {
  DEPARTURES,
  fateOfEnds,
  fateOfUnserved,
  fateOfUntaken,
  INTERRUPTIONS,
  isCalledOff,
  MOVED_COUNTERS,
  PROBE_RESULTS,
  PROBES,
  retryAfterMs,
  sharesBudget,
} from "../../lib/routing/departure.ts";
import { decide, FACT, LOSSES, STATES } from "../../lib/routing/redistribution.ts";

/** Who calls a departure off, by its loss. */
const CALLED_OFF: Record<typeof LOSSES[number], string> = {
  reset: "",
  end: "",
  silent: "server",
  drain: "client server undrain",
  expired: "",
  rebalance: "client server",
  command: "client server",
};

for (const loss of LOSSES) {
  Deno.test(`after ${loss}, ${CALLED_OFF[loss] || "nobody"} calls the departure off`, () => {
    assertEquals(INTERRUPTIONS.filter((by) => isCalledOff(loss, by)).join(" "), CALLED_OFF[loss]);
  });
}

Deno.test("what calls a departure off needs a server that is kept: there is none to stay with otherwise", () => {
  for (const { keepsServer, calledOffBy } of Object.values(DEPARTURES)) assert(keepsServer || calledOffBy.length === 0);
});

const UNTAKEN: [loss: typeof LOSSES[number], state: typeof STATES[number], hasServer: boolean, fate: string | undefined][] = [
  ["reset", "unsent", false, "connect_failed"],
  ["reset", "unanswered", false, "server_lost"],
  ["reset", "idle", false, "server_lost"],
  ["silent", "idle", true, undefined],
  ["drain", "unsent", true, undefined],
  ["rebalance", "idle", true, undefined],
  ["command", "idle", true, undefined],
  ["expired", "idle", true, "removed"],
  ["expired", "unsent", false, "removed"],
];

for (const [loss, state, hasServer, fate] of UNTAKEN) {
  const having = `${hasServer ? "with" : "without"} its server`;
  Deno.test(`nobody takes a connection that is ${state}, after ${loss}, ${having}: ${fate ?? "it stays"}`, () => {
    assertEquals(fateOfUntaken(loss, state, hasServer), fate);
  });
}

Deno.test("a client that never had a server: what was tried decides, then whether there was anything to try", () => {
  assertEquals([fateOfUnserved(1, 3), fateOfUnserved(0, 3), fateOfUnserved(0, 0)], [
    "connect_failed",
    "refused_limit",
    "no_server",
  ]);
});

Deno.test("both directions have ended: a client that failed is named before a server that did", () => {
  const fates = [[true, true], [true, false], [false, true], [false, false]].map(([clientFailed, serverFailed]) =>
    fateOfEnds({ clientFailed, serverFailed })
  );
  assertEquals(fates, ["client_gone", "client_gone", "server_closed", "done"]);
});

Deno.test("only servers that were lost soon and without a byte share a budget", () => {
  assert(sharesBudget("reset", false, 15_000, 15_000));
  assert(!sharesBudget("reset", true, 0, 15_000), "it has served");
  assert(!sharesBudget("reset", false, 15_001, 15_000), "it was there for long");
  for (const loss of LOSSES.filter((loss) => loss !== "reset")) assert(!sharesBudget(loss, false, 0, 15_000), loss);
});

Deno.test("a connection that stays waits a second, or until it is quiet again if somebody spoke", () => {
  assertEquals([retryAfterMs("nobodyTookIt", 250), retryAfterMs("calledOff", 250), retryAfterMs("calledOff", 60_000)], [
    1000,
    250,
    1000,
  ]);
});

Deno.test("an end is passed on unless the probe proves that the server is lost; only a dead one counts as failed", () => {
  const meant = PROBE_RESULTS.filter((result) => PROBES[result].endWasMeant);
  const failures = PROBE_RESULTS.filter((result) => PROBES[result].countsAsFailure);
  assertEquals([meant, failures], [["accepted", "unasked"], ["failed"]]);
});

Deno.test("every state that decide() lets go has its counter, and a busy connection never goes", () => {
  const policy = { redistribute: "idle", quietMs: 250, replaysMax: 3, replayBytesMax: 1000 } as const;
  const busy = FACT.sent | FACT.answered | FACT.moving;
  for (const loss of LOSSES) assert(!["move", "replay"].includes(decide(policy, loss, busy, 0, 0)), loss);
  assertEquals(Object.keys(MOVED_COUNTERS), STATES.filter((state) => state !== "busy"));
});
