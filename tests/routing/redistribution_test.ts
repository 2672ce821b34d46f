import { ANSWER, PROGRESS_MAX, UPGRADE } from "../../lib/routing/http_answer.ts";
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { type Level, LEVELS } from "../../lib/values/config.ts";
import { FATES } from "../../lib/values/fates.ts";
import {
  type ConnectionState,
  decide,
  FACT,
  fateOfCut,
  forgetRecording,
  hindranceOf,
  HINDRANCES,
  looksLikeTls,
  type Loss,
  LOSSES,
  onClientBytes,
  onServerBytes,
  probedUntilMs,
  progressOf,
  type RedistributionPolicy,
  stateOf,
  STATES,
  type Verdict,
} from "../../lib/routing/redistribution.ts";

const QUIET_MS = 250;
const REPLAYS_MAX = 3;
const { sent, answered, awaitingAnswer, recorded, tls, pinned, moving, clientEnded } = FACT;

type Verdicts = Readonly<Record<Loss, Verdict>>;

/** What is done with a connection that may not leave. */
const KEPT: Verdicts = {
  reset: "cut",
  end: "passOn",
  silent: "cut",
  drain: "wait",
  expired: "cut",
  rebalance: "stay",
  command: "stay",
};
const MOVED: Verdicts = {
  reset: "move",
  end: "probe",
  silent: "move",
  drain: "move",
  expired: "move",
  rebalance: "move",
  command: "move",
};
const REPLAYED: Verdicts = {
  reset: "replay",
  end: "probe",
  silent: "replay",
  drain: "replay",
  expired: "replay",
  rebalance: "stay",
  command: "replay",
};
/** The answer may be coming: draining waits for it, and nobody is told to move. */
const ASKED: Verdicts = { ...REPLAYED, drain: "wait", command: "stay" };

/** One situation, and what becomes of it at each level. */
interface Row {
  readonly facts: number;
  readonly isQuiet: boolean;
  readonly replays?: number;
  readonly state: ConnectionState;
  readonly verdicts: Readonly<Record<Level, Verdicts>>;
}

const never = { new: KEPT, unanswered: KEPT, idle: KEPT };
const always = { new: MOVED, unanswered: MOVED, idle: MOVED };
/** Neither has a word to say: nobody asks what an end means. */
const MUTE: Verdicts = { ...MOVED, end: "passOn" };
const mute = { new: MUTE, unanswered: MUTE, idle: MUTE };
const onlyIdle = { new: KEPT, unanswered: KEPT, idle: MOVED };
/** What was recorded while another level was set is not said again at level new. */
const replayed = { new: KEPT, unanswered: REPLAYED, idle: REPLAYED };
const asked = { new: KEPT, unanswered: ASKED, idle: ASKED };

const TABLE: Readonly<Record<string, Row>> = {
  "nothing said": { facts: 0, isQuiet: true, state: "unsent", verdicts: always },
  "nothing said, a moment ago": { facts: 0, isQuiet: false, state: "unsent", verdicts: always },
  "said, and nothing sent": { facts: awaitingAnswer | moving, isQuiet: false, state: "unsent", verdicts: always },
  "said and recorded, and nothing sent": {
    facts: awaitingAnswer | recorded | moving,
    isQuiet: false,
    state: "unsent",
    verdicts: always,
  },
  "nothing but the client's end": {
    facts: clientEnded,
    isQuiet: true,
    state: "unsent",
    verdicts: mute,
  },
  "sent and recorded": { facts: sent | awaitingAnswer | recorded, isQuiet: true, state: "unanswered", verdicts: replayed },
  "sent and recorded, a moment ago": {
    facts: sent | awaitingAnswer | recorded,
    isQuiet: false,
    state: "unanswered",
    verdicts: asked,
  },
  "sent with its end": {
    facts: sent | awaitingAnswer | recorded | clientEnded,
    isQuiet: true,
    state: "unanswered",
    verdicts: replayed,
  },
  "sent in part": { facts: sent | awaitingAnswer | recorded | moving, isQuiet: true, state: "unanswered", verdicts: replayed },
  "sent, looking like TLS": {
    facts: sent | awaitingAnswer | recorded | tls,
    isQuiet: true,
    state: "unanswered",
    verdicts: replayed,
  },
  "sent and not recorded": { facts: sent | awaitingAnswer, isQuiet: true, state: "unanswered", verdicts: never },
  "sent again for the last time": {
    facts: sent | awaitingAnswer | recorded,
    isQuiet: true,
    replays: REPLAYS_MAX - 1,
    state: "unanswered",
    verdicts: replayed,
  },
  "sent again too often": {
    facts: sent | awaitingAnswer | recorded,
    isQuiet: true,
    replays: REPLAYS_MAX,
    state: "unanswered",
    verdicts: never,
  },
  "a later exchange, recorded": {
    facts: sent | answered | awaitingAnswer | recorded,
    isQuiet: true,
    state: "unanswered",
    verdicts: replayed,
  },
  "a later exchange, not recorded": { facts: sent | answered | awaitingAnswer, isQuiet: true, state: "busy", verdicts: never },
  "a later exchange of a pinned one": {
    facts: sent | answered | awaitingAnswer | recorded | pinned,
    isQuiet: true,
    state: "unanswered",
    verdicts: never,
  },
  "answered, and quiet": { facts: sent | answered, isQuiet: true, state: "idle", verdicts: onlyIdle },
  "answered, and quiet, after many replays": {
    facts: sent | answered,
    isQuiet: true,
    replays: REPLAYS_MAX,
    state: "idle",
    verdicts: onlyIdle,
  },
  "answered a moment ago": { facts: sent | answered, isQuiet: false, state: "busy", verdicts: never },
  "answered in part": { facts: sent | answered | moving, isQuiet: true, state: "busy", verdicts: never },
  "answered after the client's end": { facts: sent | answered | clientEnded, isQuiet: true, state: "busy", verdicts: never },
  "answered in TLS": { facts: sent | answered | tls | pinned, isQuiet: true, state: "idle", verdicts: never },
  "the server spoke first": { facts: answered | pinned, isQuiet: true, state: "idle", verdicts: never },
};

function policyOf(level: Level): RedistributionPolicy {
  return { redistribute: level, quietMs: QUIET_MS, replaysMax: REPLAYS_MAX, replayBytesMax: 1000 };
}

for (const [title, { facts, isQuiet, replays = 0, state, verdicts }] of Object.entries(TABLE)) {
  Deno.test(`decide() ${title}`, () => {
    const quietForMs = isQuiet ? QUIET_MS : QUIET_MS - 1;
    assertEquals(stateOf(QUIET_MS, facts, quietForMs), state);
    for (const level of LEVELS) {
      const got = Object.fromEntries(LOSSES.map((loss) => [loss, decide(policyOf(level), loss, facts, quietForMs, replays)]));
      assertEquals(got, verdicts[level], level);
    }
  });
}

Deno.test("decide() has a row of the table for every state", () => {
  assertEquals(new Set(Object.values(TABLE).map(({ state }) => state)), new Set(STATES));
});

Deno.test("onClientBytes() keeps what is said first, from level unanswered on", () => {
  for (const level of LEVELS) {
    for (const quietForMs of [0, QUIET_MS]) {
      const expected = level === "new" ? awaitingAnswer : awaitingAnswer | recorded;
      assertEquals(onClientBytes(policyOf(level), 0, quietForMs, false), expected);
      assertEquals(onClientBytes(policyOf(level), 0, quietForMs, true), expected | tls);
    }
  }
});

Deno.test("onClientBytes() keeps what begins a later exchange at level idle alone, and only after silence", () => {
  const before = sent | answered;
  for (const level of LEVELS) {
    assertEquals(
      onClientBytes(policyOf(level), before, QUIET_MS, false),
      before | awaitingAnswer | (level === "idle" ? recorded : 0),
    );
    assertEquals(onClientBytes(policyOf(level), before, QUIET_MS - 1, false), before | awaitingAnswer);
    assertEquals(onClientBytes(policyOf(level), before | pinned, QUIET_MS, false), before | pinned | awaitingAnswer);
  }
});

Deno.test("onClientBytes() changes nothing while the client goes on", () => {
  for (
    const facts of [awaitingAnswer, awaitingAnswer | recorded, awaitingAnswer | recorded | sent, awaitingAnswer | sent | answered]
  ) {
    for (const level of LEVELS) assertEquals(onClientBytes(policyOf(level), facts, QUIET_MS, true), facts);
  }
});

Deno.test("probedUntilMs() waits on while the server ends others, but not for ever", () => {
  assertEquals(probedUntilMs(1000, -Infinity), 1200);
  assertEquals(probedUntilMs(1000, 900), 1200);
  assertEquals(probedUntilMs(1000, 1150), 1350);
  assertEquals(probedUntilMs(1000, 2900), 3000);
});

Deno.test("onServerBytes() pins a connection on which it speaks first, or answers in TLS", () => {
  assertEquals(onServerBytes(0, ANSWER), answered | pinned);
  assertEquals(onServerBytes(clientEnded, ANSWER), answered | pinned | clientEnded);
  assertEquals(onServerBytes(sent | awaitingAnswer | recorded, ANSWER), sent | answered);
  // The client had spoken, but nothing was sent to the server: its greeting is no answer, and the request still waits for one.
  assertEquals(onServerBytes(awaitingAnswer | recorded, ANSWER), awaitingAnswer | answered | pinned);
  assertEquals(onServerBytes(sent | awaitingAnswer | recorded | tls, ANSWER), sent | answered | tls | pinned);
  assertEquals(onServerBytes(sent | answered, ANSWER), sent | answered);
  assertEquals(onServerBytes(sent | answered | awaitingAnswer | tls, ANSWER), sent | answered | tls | pinned);
});

Deno.test("onServerBytes() lets the exchange go on after an interim answer, and pins what has changed to another protocol", () => {
  const { interim } = FACT;
  const waiting = sent | answered | awaitingAnswer | interim;
  assertEquals(progressOf(onServerBytes(sent | awaitingAnswer, PROGRESS_MAX)), PROGRESS_MAX);
  assertEquals(onServerBytes(onServerBytes(sent | awaitingAnswer, PROGRESS_MAX), ANSWER), sent | answered);
  assertEquals(onServerBytes(sent | awaitingAnswer | recorded, 0), waiting);
  for (const quietForMs of [0, QUIET_MS, 1e9]) assertEquals(stateOf(QUIET_MS, waiting, quietForMs), "busy");
  assertEquals(onServerBytes(waiting, 0), waiting);
  assertEquals(onServerBytes(waiting, ANSWER), sent | answered);
  assertEquals(onServerBytes(sent | awaitingAnswer | recorded, UPGRADE), sent | answered | pinned);
});

Deno.test("forgetRecording() forgets that and nothing else", () => {
  const all = Object.values(FACT).reduce((a, b) => a | b);
  assertEquals(forgetRecording(all), all & ~recorded);
});

Deno.test("looksLikeTls() knows a handshake by its first two bytes", () => {
  assert(looksLikeTls(22, 3));
  assert(looksLikeTls(22, undefined));
  for (const [first, second] of [[22, 2], [23, 3], [0x47, 0x45], [0x47, undefined]] as const) {
    assert(!looksLikeTls(first, second), `${first}, ${second}`);
  }
});

Deno.test("the bits of FACT are different ones, and leave room for the number of replays", () => {
  const { progress, ...single } = FACT;
  const bits = Object.values(single);
  assertEquals(bits.filter((bit) => (bit & progress) !== 0), []);
  assert(PROGRESS_MAX <= progressOf(progress) && progress < 1 << 16);
  assertEquals(new Set(bits).size, bits.length);
  for (const bit of bits) assertEquals(bit & (bit - 1), 0);
  assert(Math.max(...bits) < 1 << 16);
});

Deno.test("fateOfCut() is a fate, and says removed where the time was over", () => {
  for (const { facts } of Object.values(TABLE)) {
    for (const level of LEVELS) {
      assertEquals(fateOfCut(policyOf(level), "expired", facts, QUIET_MS), "removed");
      assert(fateOfCut(policyOf(level), "reset", facts, QUIET_MS) in FATES);
    }
  }
});

Deno.test("fateOfCut() tells what the level covers from what it does not", () => {
  const tooLong = sent | awaitingAnswer;
  assertEquals(LEVELS.map((level) => fateOfCut(policyOf(level), "reset", tooLong, QUIET_MS)), [
    "server_lost",
    "redistribute_refused",
    "redistribute_refused",
  ]);
  for (const level of LEVELS) assertEquals(fateOfCut(policyOf(level), "reset", sent | answered, 0), "server_lost");
});

/** What may happen to a connection. */
type Step =
  | { readonly who: "client"; readonly quietForMs: number; readonly isTls: boolean }
  | { readonly who: "server" | "taken" | "overflow" | "end" };

const steps = fc.array(
  fc.oneof(
    fc.record({ who: fc.constant("client" as const), quietForMs: fc.nat(2 * QUIET_MS), isTls: fc.boolean() }),
    fc.record({ who: fc.constantFrom("server" as const, "taken" as const, "overflow" as const, "end" as const) }),
  ),
  { maxLength: 20 },
);

/** The facts after these steps. A server takes something only if the client has said something. */
function factsAfter(level: Level, happened: readonly Step[], onStep: (step: Step, facts: number) => void = () => {}): number {
  let facts = 0;
  let hasSpoken = false;
  for (const step of happened) {
    if (step.who === "client") {
      facts = onClientBytes(policyOf(level), facts, step.quietForMs, step.isTls);
      hasSpoken = true;
    } else if (step.who === "server") facts = onServerBytes(facts, ANSWER);
    else if (step.who === "overflow") facts = forgetRecording(facts);
    else if (step.who === "end") facts |= clientEnded;
    else if (hasSpoken) facts |= sent;
    onStep(step, facts);
  }
  return facts;
}

const moment = fc.record({
  level: fc.constantFrom(...LEVELS),
  happened: steps,
  quietForMs: fc.nat(2 * QUIET_MS),
  replays: fc.nat(2 * REPLAYS_MAX),
  loss: fc.constantFrom(...LOSSES),
  isMoving: fc.boolean(),
});

Deno.test("whatever is said: nothing stays recorded once a server has spoken, and only what is being asked is recorded", () => {
  fc.assert(fc.property(moment, ({ level, happened }) => {
    let before = 0;
    factsAfter(level, happened, ({ who }, facts) => {
      const isGreeting = (before & (sent | answered)) === 0; // and what the client has said already still waits for an answer
      if (who === "server") assertEquals(facts & (recorded | awaitingAnswer), isGreeting ? before & awaitingAnswer : 0);
      before = facts;
      if ((facts & recorded) !== 0) assertNotEquals(facts & awaitingAnswer, 0);
      if (level === "new") assertEquals(facts & recorded, 0);
      if ((facts & pinned) !== 0) assertEquals(facts & recorded, 0);
    });
  }));
});

Deno.test("whatever is said: pinned stays pinned, answered stays answered, TLS stays TLS", () => {
  fc.assert(fc.property(moment, ({ level, happened }) => {
    let before = 0;
    factsAfter(level, happened, (_, facts) => {
      for (const bit of [pinned, answered, tls, sent]) if ((before & bit) !== 0) assertNotEquals(facts & bit, 0);
      before = facts;
    });
  }));
});

Deno.test("whatever is said: a connection is unsent if and only if no server has taken or said anything", () => {
  fc.assert(fc.property(moment, ({ level, happened, quietForMs }) => {
    const facts = factsAfter(level, happened);
    const isUntouched = (facts & sent) === 0 && happened.every(({ who }) => who !== "server");
    assertEquals(stateOf(QUIET_MS, facts, quietForMs) === "unsent", isUntouched);
  }));
});

Deno.test("whatever is said: who leaves may, and nothing that was said is lost or said twice", () => {
  fc.assert(fc.property(moment, ({ level, happened, quietForMs, replays, loss, isMoving }) => {
    const facts = factsAfter(level, happened) | (isMoving ? moving : 0);
    const state = stateOf(QUIET_MS, facts, quietForMs);
    const verdict = decide(policyOf(level), loss, facts, quietForMs, replays);
    if (verdict === "replay") {
      assertEquals(state, "unanswered");
      assertNotEquals(level, "new");
      assertNotEquals(facts & recorded, 0);
      assert(replays < REPLAYS_MAX);
    }
    if (verdict === "move") assert(state === "unsent" || state === "idle", state);
    if (verdict === "move" && state === "idle") {
      assertEquals(level, "idle");
      assertEquals(facts & (awaitingAnswer | moving | clientEnded), 0);
    }
    if (["move", "replay", "probe"].includes(verdict) && (facts & pinned) !== 0) assertEquals(state, "unsent");
    if (verdict === "probe" || verdict === "passOn") assertEquals(loss, "end");
    if (verdict === "wait") assertEquals(loss, "drain");
    if (verdict === "stay") assert(loss === "rebalance" || loss === "command", loss);
  }));
});

Deno.test("whatever is said: whom nothing hinders moves when told to, and leaves a drained server; nobody else does", () => {
  fc.assert(fc.property(moment, ({ level, happened, quietForMs, replays, isMoving }) => {
    const facts = factsAfter(level, happened) | (isMoving ? moving : 0);
    const verdict = (loss: Loss) => decide(policyOf(level), loss, facts, quietForMs, replays);
    const isFree = hindranceOf(policyOf(level), facts, quietForMs, replays) === undefined;
    assertEquals(verdict("command") !== "stay", isFree);
    assertEquals(verdict("drain") !== "wait", isFree);
  }));
});

Deno.test("hindranceOf() names what lasts before what passes", () => {
  const of = (level: Level, facts: number, quietForMs = QUIET_MS, replays = 0) =>
    hindranceOf(policyOf(level), facts, quietForMs, replays);
  const asking = sent | awaitingAnswer;
  const rows: [got: string | undefined, expected: string | undefined][] = [
    [of("new", 0, 0), undefined],
    [of("idle", sent | answered), undefined],
    [of("unanswered", asking | recorded), undefined],
    [of("idle", sent | answered | pinned | moving, 0), "pinned"],
    [of("unanswered", sent | answered | moving, 0), "level"],
    [of("new", asking | recorded, 0), "level"],
    [of("unanswered", sent | answered | awaitingAnswer), "level"],
    [of("idle", asking | recorded, 0, REPLAYS_MAX), "replays"],
    [of("idle", asking, 0), "unrecorded"],
    [of("idle", sent | answered | awaitingAnswer, 0), "unrecorded"],
    [of("idle", sent | answered | clientEnded | moving, 0), "ending"],
    [of("idle", sent | answered | moving, 0), "transit"],
    [of("idle", sent | answered, QUIET_MS - 1), "recent"],
    [of("idle", asking | recorded, QUIET_MS - 1), "awaited"],
  ];
  for (const [got, expected] of rows) assertEquals(got, expected);
  assertEquals(new Set(rows.map(([, expected]) => expected)), new Set([undefined, ...HINDRANCES]));
});

Deno.test("whatever is said: a higher level never loses what a lower one keeps", () => {
  fc.assert(fc.property(moment, ({ happened, quietForMs, replays, loss }) => {
    const verdicts = LEVELS.map((level) => decide(policyOf(level), loss, factsAfter(level, happened), quietForMs, replays));
    for (const [i, verdict] of verdicts.slice(1).entries()) {
      const before = verdicts[i];
      if (before === "move" || before === "replay" || before === "probe") assertEquals(verdict, before);
    }
  }));
});
