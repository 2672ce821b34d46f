// What a plan says of a transition is what happens: the same connections, led one by one through the tables by the functions that
// lead them in earnest, end where the forecast says.

import { assert, assertEquals, assertLess } from "@std/assert";
import fc from "fast-check";
import { clientKey, type KeyRule, parseAddress, parseKeyRule } from "../../lib/values/address.ts";
import { LEVELS } from "../../lib/values/config.ts";
import { AVAILABILITY, isClosed } from "../../lib/routing/availability.ts";
import { newSlot, type Outcome, OUTCOMES, type PlannedConnection, type PlannedConnections } from "../../lib/routing/forecast.ts";
import { planTransition, type TransitionPlan, type TransitionRequest } from "../../lib/routing/plan.ts";
import { ANSWER } from "../../lib/routing/http_answer.ts";
import { decide, FACT, onServerBytes, type RedistributionPolicy } from "../../lib/routing/redistribution.ts";
import { buildRing, firstOnRing, type Ring } from "../../lib/routing/ring.ts";
import { boundOf, type Choice, type Load, nextServer } from "../../lib/routing/route.ts";
import { emptyTable, nextTable, type RoutingTable, type TableServer } from "../../lib/routing/routing_table.ts";
import { newTurns } from "../../lib/routing/candidates.ts";

const POLICY: RedistributionPolicy = { redistribute: "idle", quietMs: 250, replaysMax: 1, replayBytesMax: 65_536 };
const KEY = parseKeyRule("ip");
/** Facts of a connection between two exchanges, and of one that waits for its first answer. */
const IDLE = FACT.sent | FACT.answered;
const ASKS = FACT.sent | FACT.awaitingAnswer | FACT.recorded;

const REBALANCE_MOVES = "stays, and rebalance moves it to its owner";
const TRIES_OTHERS = "tries servers that are down when the drain time ends";
const MAY_FINISH = "may finish, and is reset when the drain time ends";
const FINISHES_DRAINED = "may finish, as its server is drained without a time limit";

/** A server of a pool; its slot is that of the same number before, or a new one. */
interface Member {
  readonly number: number;
  readonly weight: number;
  readonly connectionsMax: number;
  readonly isDrained: boolean;
}

function nameOf(number: number): string {
  return `10.0.0.${number}:80`;
}

function member(number: number, given: Partial<Member> = {}): Member {
  return { number, weight: 1, connectionsMax: Infinity, isDrained: false, ...given };
}

function tableOf(
  members: readonly Member[],
  loadBound = 1.25,
  slotOf = (number: number) => number,
  key: KeyRule = KEY,
): RoutingTable {
  const servers = members.map(({ number, weight, connectionsMax }): TableServer => (
    { name: nameOf(number), address: parseAddress(nameOf(number)), weight, connectionsMax, slot: slotOf(number) }
  ));
  return nextTable(emptyTable(key, loadBound), servers);
}

interface Case {
  readonly before: readonly Member[];
  readonly after: readonly Member[];
  readonly connections: readonly PlannedConnection[];
  readonly loadBound: number;
  readonly policyBefore: RedistributionPolicy;
  readonly policyAfter: RedistributionPolicy;
  /** Servers that are down. */
  readonly down: ReadonlySet<number>;
}

/** The request for a case, in which every connection counts as open with its server. */
function requestOf({ before, after, connections, loadBound, policyBefore, policyAfter, down }: Case): TransitionRequest {
  const tableBefore = tableOf(before, loadBound);
  const known = new Set(before.map(({ number }) => number));
  const slotOf = (number: number) => known.has(number) ? number : newSlot(number);
  const tableAfter = tableOf(after, loadBound, slotOf);
  const drained = (members: readonly Member[]) => members.filter(({ isDrained }) => isDrained).map(({ number }) => slotOf(number));
  const drainedBefore = new Set(drained(before));
  const load: Load = {
    open: connections.length,
    unavailableWeight: before.reduce((sum, { number, weight, isDrained }) => isDrained || down.has(number) ? sum + weight : sum, 0),
    tiersInUse: 0,
    turns: newTurns(),
    openOf: (slot) => {
      assert(slot >= 0, "a new server has no counters");
      return connections.filter((connection) => connection.slot === slot).length;
    },
    availabilityOf: (slot) => {
      assert(slot >= 0, "a new server has no availability yet");
      return drainedBefore.has(slot) ? AVAILABILITY.draining : down.has(slot) ? AVAILABILITY.fallback : AVAILABILITY.full;
    },
  };
  return { before: tableBefore, after: tableAfter, drained: new Set(drained(after)), policyBefore, policyAfter, load, connections };
}

function caseOf(given: Partial<Case>): Case {
  const [none, policy] = [{ before: [], after: [], connections: [], down: new Set<number>() }, POLICY];
  return { ...none, loadBound: 1.25, policyBefore: policy, policyAfter: policy, ...given };
}

function planOf(given: Partial<Case>): TransitionPlan {
  return planTransition(requestOf(caseOf(given)));
}

function ipOf(client: number): Uint8Array {
  return Uint8Array.of(client >>> 24, client >>> 16, client >>> 8, client);
}

function connectionOf(slot: number, client: number, facts = 0, quietForMs = 1000): PlannedConnection {
  return { slot, facts, quietForMs, replays: 0, ip: ipOf(client), port: 5000 };
}

/** `count` clients of a server, all in one state. */
function clientsOf(slot: number, count: number, facts = 0): PlannedConnection[] {
  return Array.from({ length: count }, (_, client) => connectionOf(slot, client * 77 + slot, facts));
}

function countOf(connections: readonly PlannedConnections[], outcome: Outcome): number {
  return connections.reduce((sum, group) => group.outcome === outcome ? sum + group.count : sum, 0);
}

function ownerName(ring: Ring, key: Uint8Array): string {
  return ring.servers[firstOnRing(ring, key)].name;
}

/** The pool after the transition, through which connections are led one by one. */
class Pool {
  readonly open = new Map<number, number>();
  readonly load: Load;

  constructor(readonly request: TransitionRequest) {
    const { after, drained, load } = request;
    for (const { slot } of request.connections) this.#count(slot, 1);
    const availabilityOf = (slot: number) => {
      if (drained.has(slot)) return AVAILABILITY.draining;
      return slot < -1 || isClosed(load.availabilityOf(slot)) ? AVAILABILITY.full : load.availabilityOf(slot);
    };
    let unavailableWeight = 0;
    for (const { slot, weight } of after.servers) if (availabilityOf(slot) < 0) unavailableWeight += weight;
    const openOf = (slot: number) => this.open.get(slot) ?? 0;
    this.load = { open: load.open, unavailableWeight, tiersInUse: 0, turns: newTurns(), availabilityOf, openOf };
  }

  /** Leads a connection to another server, as an engine does. */
  move({ slot, ip, port }: PlannedConnection, choice: Choice): boolean {
    const { after } = this.request;
    const key = clientKey(after.key, ip, port);
    const index = nextServer(after, this.load, key, choice, (index) => after.slots[index] !== slot);
    if (index < 0) return false;
    this.#count(slot, -1);
    this.#count(after.slots[index], 1);
    return true;
  }

  #count(slot: number, by: number): void {
    this.open.set(slot, (this.open.get(slot) ?? 0) + by);
  }
}

/** The moments at which connections leave, in order: their facts by then, the verdict, and how a plan calls it. */
const MOMENTS: [verdict: string, outcome: Outcome, isLater: boolean][] = [
  ["move", "moves", false],
  ["replay", "is replayed", false],
  ["move", "moves once it is quiet", true],
  ["replay", "is replayed once it is quiet", true],
];

/** What a draining server's connection may do now or, if it may do nothing now, once it is quiet or its exchange is over. */
function verdictAt({ facts, quietForMs, replays }: PlannedConnection, policy: RedistributionPolicy, isLater: boolean): string {
  const now = decide(policy, "drain", facts, quietForMs, replays);
  if (!isLater) return now;
  if (now === "move" || now === "replay") return "gone by then";
  const quiet = decide(policy, "drain", facts, policy.quietMs, replays);
  if (quiet !== "wait") return quiet;
  return decide(policy, "drain", onServerBytes(facts, ANSWER) & ~FACT.moving, policy.quietMs, replays);
}

/** Applies the transition to every connection of a server that is removed or newly drained, and counts what becomes of them. */
function applyTo(pool: Pool): Map<Outcome, number> {
  const { before, after, drained, load, policyAfter, connections } = pool.request;
  const happened = new Map<Outcome, number>();
  const count = (outcome: Outcome) => void happened.set(outcome, (happened.get(outcome) ?? 0) + 1);
  const slotsAfter = new Set(after.slots);
  const slotsBefore = new Set(before.slots);
  const isRemoved = ({ slot }: PlannedConnection) => slotsBefore.has(slot) && !slotsAfter.has(slot);
  const isDrained = ({ slot }: PlannedConnection) =>
    slotsBefore.has(slot) && drained.has(slot) && !isClosed(load.availabilityOf(slot));
  let left = [...connections].filter((connection) => isRemoved(connection) || isDrained(connection));
  const untaken = new Set<PlannedConnection>();
  for (const [verdict, outcome, isLater] of MOMENTS) {
    const going = left.filter((connection) => verdictAt(connection, policyAfter, isLater) === verdict);
    for (const connection of going) {
      if (pool.move(connection, "serving")) count(outcome);
      else untaken.add(connection);
    }
    left = left.filter((connection) => !going.includes(connection));
  }
  // Those that nobody took come in the order in which they were refused.
  for (const connection of untaken) {
    if (isRemoved(connection)) count(pool.move(connection, "any") ? TRIES_OTHERS : MAY_FINISH);
    else count(FINISHES_DRAINED);
  }
  for (const connection of left) count(isRemoved(connection) ? MAY_FINISH : FINISHES_DRAINED);
  return happened;
}

/** Servers at a bound or limit that they had not reached, or with more connections, or with a tighter bound: by definition. */
function boundsHitIn({ request, open, load }: Pool): string[] {
  const { before, after } = request;
  return after.servers.flatMap(({ name, slot, connectionsMax }, index) => {
    if (isClosed(load.availabilityOf(slot))) return [];
    const old = before.servers.findIndex((server) => server.name === name);
    const openBefore = old < 0 ? 0 : request.load.openOf(slot);
    const openAfter = open.get(slot) ?? 0;
    const isPlainBefore = old >= 0 && request.load.availabilityOf(slot) === AVAILABILITY.full;
    const bound = load.availabilityOf(slot) === AVAILABILITY.full ? boundOf(after, index, load) : Infinity;
    const boundBefore = isPlainBefore ? boundOf(before, old, request.load) : Infinity;
    const isHit = (allowed: number, was: number) => openAfter >= allowed && (openAfter > openBefore || allowed < was);
    return [
      ...(isHit(connectionsMax, old < 0 ? Infinity : before.connectionsMax[old])
        ? [`${name} limit ${connectionsMax} ${openAfter}`]
        : []),
      ...(isHit(bound, boundBefore) ? [`${name} bound ${bound} ${openAfter}`] : []),
    ];
  });
}

/** Moves those home whose owner changes while the old owner serves on, as `rebalance` does. */
function rebalance(pool: Pool): { moved: number; stayed: number } {
  const { before, after, drained, load, policyAfter, connections } = pool.request;
  const ringBefore = buildRing(before.servers.filter(({ slot }) => !isClosed(load.availabilityOf(slot))));
  const serving = after.servers.filter(({ slot }) => !drained.has(slot));
  const ringAfter = buildRing(serving);
  let [moved, stayed] = [0, 0];
  for (const connection of connections) {
    const { slot, facts, quietForMs, replays, ip, port } = connection;
    if (slot < 0 || !before.slots.includes(slot) || !serving.some((server) => server.slot === slot)) continue;
    const isUndrained = isClosed(load.availabilityOf(slot));
    if (!isUndrained) {
      const key = clientKey(KEY, ip, port);
      const owner = ownerName(ringBefore, key);
      if (owner === ownerName(ringAfter, key) || !serving.some(({ name }) => name === owner)) continue;
    }
    if (decide(policyAfter, "rebalance", facts, quietForMs, replays) === "move" && pool.move(connection, "owner")) moved++;
    else stayed++;
  }
  return { moved, stayed };
}

const anyMember = fc.record({
  isThere: fc.boolean(),
  weight: fc.integer({ min: 1, max: 3 }),
  connectionsMax: fc.constantFrom(Infinity, Infinity, 3, 8),
  isDrained: fc.constantFrom(false, false, false, true),
});
const anyMembers = fc.tuple(anyMember, anyMember, anyMember, anyMember, anyMember).map((rows) =>
  rows.flatMap(({ isThere, ...row }, number) => isThere ? [{ ...row, number }] : [])
);
const anyPolicy = fc.record({ redistribute: fc.constantFrom(...LEVELS), quietMs: fc.constantFrom(250, 500) }).map((given) => (
  { ...POLICY, ...given }
));
const anyConnections = (slots: readonly number[]) =>
  fc.array(
    fc.record({
      slot: fc.constantFrom(-1, ...slots, ...slots),
      facts: fc.nat(255),
      quietForMs: fc.constantFrom(0, 249, 250, 1000),
      replays: fc.nat(2),
      ip: fc.nat(2 ** 32 - 1).map(ipOf),
      port: fc.constant(5000),
    }),
    { maxLength: 40 },
  );
const anyCase = anyMembers.chain((before) =>
  fc.record({
    before: fc.constant(before),
    after: anyMembers,
    connections: anyConnections(before.map(({ number }) => number)),
    loadBound: fc.constantFrom(1, 1.25, Infinity),
    policyBefore: anyPolicy,
    policyAfter: anyPolicy,
    down: fc.array(fc.nat(4), { maxLength: 2 }).map((numbers) => new Set(numbers)),
  })
);

Deno.test("planTransition(): what it says of connections and bounds is what happens to them", () => {
  fc.assert(
    fc.property(anyCase, (given) => {
      const request = requestOf({ ...given, policyBefore: given.policyAfter });
      const { connections, boundsHit } = planTransition(request);
      const pool = new Pool(request);
      const happened = applyTo(pool);
      const found = boundsHit.map(({ server, bound, allowed, open }) =>
        `${server} ${bound === "load bound" ? "bound" : "limit"} ${allowed} ${open.after}`
      );
      assertEquals(found, boundsHitIn(pool));
      const { moved, stayed } = rebalance(pool);
      happened.set(REBALANCE_MOVES, moved);
      happened.set("stays", stayed);
      happened.set("dials by the new table", given.connections.filter(({ slot }) => slot < 0).length);
      for (const outcome of OUTCOMES) assertEquals(countOf(connections, outcome), happened.get(outcome) ?? 0, outcome);
    }),
    { numRuns: 200 },
  );
});

Deno.test("planTransition() lists connections that are leaving already only if the new policy treats them otherwise", () => {
  fc.assert(
    fc.property(anyPolicy, anyPolicy, anyConnections([1]), (policyBefore, policyAfter, connections) => {
      const before = [member(0), member(1, { isDrained: true })];
      const planWith = (policyBefore: RedistributionPolicy) =>
        planOf({ before, after: before, connections, policyBefore, policyAfter }).connections.filter(({ state }) =>
          state !== "dialling"
        );
      assertEquals(planWith(policyAfter), []);
      const isOther = (connection: PlannedConnection) =>
        MOMENTS.some(([verdict, , isLater]) =>
          (verdictAt(connection, policyBefore, isLater) === verdict) !== (verdictAt(connection, policyAfter, isLater) === verdict)
        );
      const listed = planWith(policyBefore).reduce((sum, { count }) => sum + count, 0);
      assertEquals(listed, connections.filter((connection) => connection.slot === 1 && isOther(connection)).length);
    }),
  );
});

Deno.test("planTransition() of a drain: clients go where a removal would send them; who cannot leave may finish", () => {
  const before = [member(0), member(1), member(2)];
  const after = [member(0), member(1, { isDrained: true }), member(2)];
  const connections = [connectionOf(1, 1, IDLE), connectionOf(1, 2, IDLE | FACT.pinned), connectionOf(0, 3, IDLE)];
  const plan = planOf({ before, after, connections });
  assertEquals(plan.connections, [
    { state: "idle", count: 1, outcome: "moves" },
    { state: "idle", count: 1, outcome: FINISHES_DRAINED },
  ]);
  assertEquals(plan.clients, planOf({ before, after: [member(0), member(2)] }).clients);
  assertEquals(plan.servers, { before: 3, after: 3, added: [], removed: [], changed: [nameOf(1)] });
});

Deno.test("planTransition() of a drain that ends: its clients come back, and its connections stay", () => {
  const before = [member(0), member(1, { isDrained: true })];
  const after = [member(0), member(1)];
  const plan = planOf({ before, after, connections: [connectionOf(1, 1, IDLE), connectionOf(1, 2, IDLE | FACT.moving)] });
  assertEquals(countOf(plan.connections, "moves"), 0);
  assertEquals(plan.connections.reduce((sum, { count }) => sum + count, 0), 2);
  assertEquals(plan.clients, planOf({ before: [member(0)], after }).clients);
});

Deno.test("planTransition() names servers that come, go and change, and copes with several new ones", () => {
  const before = [member(0), member(1), member(2), member(3)];
  const after = [member(1, { weight: 2 }), member(2, { connectionsMax: 7 }), member(3), member(4), member(5)];
  const { servers } = planOf({ before, after, connections: clientsOf(0, 40) });
  assertEquals(servers, {
    before: 4,
    after: 5,
    added: [nameOf(4), nameOf(5)],
    removed: [nameOf(0)],
    changed: [nameOf(1), nameOf(2)],
  });
});

Deno.test("planTransition() says which bounds are hit, and with what", () => {
  const before = [member(0), member(1), member(2)];
  const connections = [...clientsOf(0, 10, IDLE), ...clientsOf(1, 4, IDLE)];
  const limited = planOf({ before, after: [member(1, { connectionsMax: 6 })], connections, loadBound: Infinity });
  assertEquals(limited.boundsHit, [{ server: nameOf(1), bound: "connection limit", allowed: 6, open: { before: 4, after: 6 } }]);
  assertEquals(countOf(limited.connections, "moves"), 2);
  assertEquals(countOf(limited.connections, MAY_FINISH), 8);
  const many = [...clientsOf(0, 40, IDLE), ...clientsOf(1, 4, IDLE)];
  const bound = planOf({ before, after: [member(1), member(2, { weight: 3 })], connections: many, loadBound: 1 });
  // A quarter of 44 and the rest: at a factor of 1 the bounds leave no room to spare.
  assertEquals(bound.boundsHit, [
    { server: nameOf(1), bound: "load bound", allowed: 11, open: { before: 4, after: 11 } },
    { server: nameOf(2), bound: "load bound", allowed: 33, open: { before: 0, after: 33 } },
  ]);
  const tighter = planOf({
    before,
    after: [member(0, { connectionsMax: 9 }), member(1), member(2)],
    connections,
    loadBound: Infinity,
  });
  assertEquals(tighter.boundsHit, [{ server: nameOf(0), bound: "connection limit", allowed: 9, open: { before: 10, after: 10 } }]);
  assertEquals(planOf({ before, after: before, connections, loadBound: 1 }).boundsHit, []); // hit already, and nothing is worse
});

Deno.test("planTransition() of another key rule: clients are dealt out anew", () => {
  const request = requestOf(caseOf({ before: [member(0), member(1)], after: [member(0), member(1)] }));
  const after = tableOf([member(0), member(1)], 1.25, (number) => number, parseKeyRule("ip:port"));
  const connections = clientsOf(0, 200, IDLE);
  const plan = planTransition({ ...request, after, connections });
  assert(plan.clients.movedShare !== null && Math.abs(plan.clients.movedShare - 0.5) < 0.03);
  const isMoved = ({ ip, port }: PlannedConnection) =>
    ownerName(request.before.tiers[0].ring, clientKey(KEY, ip, port)) !==
      ownerName(after.tiers[0].ring, clientKey(after.key, ip, port));
  assertEquals(plan.connections.reduce((sum, { count }) => sum + count, 0), connections.filter(isMoved).length);
});

Deno.test("planTransition() where clients have no owners says why, and foresees only the connections of servers that go", () => {
  const connections = [...clientsOf(0, 3, IDLE), ...clientsOf(1, 5, ASKS)];
  const request = requestOf(caseOf({ before: [member(0), member(1)], after: [member(1, { weight: 3 }), member(2)], connections }));
  const after = { ...request.after, policy: "least-connections" as const };
  const plan = planTransition({ ...request, after });
  assertEquals(plan.clients, { movedShare: null, why: "with policy least-connections a client has no server before it comes" });
  assertEquals(plan.connections, [{ state: "idle", count: 3, outcome: "moves" }]);
  assertEquals(plan.servers.added, [nameOf(2)]);
});

Deno.test("planTransition() to an empty table: the connections may finish; from an empty one: there are none", () => {
  const removed = planOf({ before: [member(0)], connections: clientsOf(0, 3, IDLE) });
  assertEquals(removed.connections, [{ state: "idle", count: 3, outcome: MAY_FINISH }]);
  assertEquals(removed.clients.movedShare, 1);
  const added = planOf({ after: [member(0), member(1)] });
  assertEquals(added.connections, []);
  assert(added.clients.movedShare !== null);
  assertEquals(added.clients.flows.map(({ from, to }) => [from, to]).toSorted(), [[null, nameOf(0)], [null, nameOf(1)]]);
});

Deno.test("planTransition() is plain data: JSON keeps all of it", () => {
  fc.assert(
    fc.property(anyCase, (given) => {
      const plan = planTransition(requestOf(given));
      assertEquals(JSON.parse(JSON.stringify(plan)), plan);
    }),
    { numRuns: 50 },
  );
});

Deno.test("planTransition() of 1,000 servers and 100,000 connections takes no longer than a person waits", () => {
  const slots = 1500;
  const name = (number: number) => `10.${number >> 8}.${number & 255}.1:80`;
  const pool = (first: number, weightOf: (number: number) => number, slotOf: (number: number) => number) =>
    nextTable(
      emptyTable(KEY, 1.25),
      Array.from({ length: 1000 }, (_, i) => first + i).map((number) => (
        {
          name: name(number),
          address: parseAddress(name(number)),
          weight: weightOf(number),
          connectionsMax: 120,
          slot: slotOf(number),
        }
      )),
    );
  const before = pool(0, () => 1, (number) => number);
  const after = pool(slots - 1000, (number) => 1 + number % 2, (number) => number < 1000 ? number : newSlot(number));
  const connections = Array.from({ length: 100_000 }, (_, client) => connectionOf(client % 1000, client * 7919, IDLE));
  const idle = { tiersInUse: 0, turns: newTurns(), openOf: () => 100, availabilityOf: () => AVAILABILITY.full };
  const load: Load = { open: 100_000, unavailableWeight: 0, ...idle };
  const startedMs = performance.now();
  const plan = planTransition({ before, after, drained: new Set(), policyBefore: POLICY, policyAfter: POLICY, load, connections });
  assertLess(performance.now() - startedMs, 20_000); // it takes less than 1 s of a processor
  assertEquals(countOf(plan.connections, "moves"), 50_000);
  assertEquals(plan.clients.movedShare !== null && plan.clients.flows.length, 100);
});
