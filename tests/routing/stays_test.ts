import { assert, assertEquals, assertMatch } from "@std/assert";
import { explainStay, STAY_REASONS, yieldsToForce } from "../../lib/routing/stays.ts";

const STAY = { policy: { redistribute: "unanswered", quietMs: 250, replaysMax: 3 }, service: "web", to: undefined } as const;

Deno.test("every reason to stay is a clause with a way out, which names --force exactly where it resets", () => {
  for (const reason of STAY_REASONS) {
    for (const to of [undefined, "10.0.0.1:80"]) {
      const [why, wayOut] = explainStay(reason, { ...STAY, to });
      assertMatch(why, /^[a-z-].*[^.]$/, reason);
      assertMatch(wayOut, /^[a-z].*[^.]$/, reason);
      assertEquals(wayOut.endsWith(", or reset it with --force"), yieldsToForce(reason), reason);
    }
  }
});

Deno.test("a connection that leaves its server anyway, or has left it, is not reset", () => {
  assertEquals(STAY_REASONS.filter((reason) => !yieldsToForce(reason)), ["leaving", "elsewhere"]);
});

Deno.test("the level, the quiet time, the limit of replays and the server that was named are in the sentence", () => {
  const level = (redistribute: "new" | "unanswered") =>
    explainStay("level", { ...STAY, policy: { ...STAY.policy, redistribute } })[0];
  assertEquals([level("new"), level("unanswered")], [
    "--redistribute new does not let it move after its first byte",
    "--redistribute unanswered does not let it move after its first answer",
  ]);
  assert(explainStay("level", STAY)[1].includes("balancerctl service set web --redistribute idle"));
  assert(explainStay("recent", STAY)[0].includes("250ms"));
  assert(explainStay("replays", STAY)[0].includes("3 times"));
  for (const reason of ["nowhere", "refused"] as const) {
    assert(explainStay(reason, { ...STAY, to: "10.0.0.1:80" })[0].includes("server 10.0.0.1:80"), reason);
  }
});
