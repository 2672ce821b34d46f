// Who may get clients is written where routing reads it: for every word of the operator, every finding of health, and step by step.

import { assert, assertEquals, assertGreater, assertGreaterOrEqual, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { Address } from "../../lib/values/address.ts";
import { Admission, type ServerCondition } from "../../lib/health/admission.ts";
import { CheckBudget } from "../../lib/health/check_budget.ts";
import { type HealthClock, SYSTEM_CLOCK } from "../../lib/health/clock.ts";
import { plainCheck } from "../../lib/values/check_spec.ts";
import { parseConfig } from "../../lib/values/config.ts";
import type { TableServer } from "../../lib/routing/routing_table.ts";
import { allocateAvailabilities, AVAILABILITY, AvailabilityTable } from "../../lib/routing/availability.ts";
import { echo, Queue, startServer, tableServer, unusedAddress, writeText } from "../helpers.ts";
import { until } from "../raw_socket.ts";

const SLOTS = 8;
const NOWHERE: Address = { host: "192.0.2.1", port: 80 };
const OTHER: Address = { host: "192.0.2.2", port: 80 };

interface Test extends Disposable {
  readonly admission: Admission;
  readonly availabilities: AvailabilityTable;
  /** Lets a server enter, to be checked as the flags say. */
  readonly enter: (server: TableServer, options?: Parameters<Admission["enter"]>[2]) => void;
  /** Lets another server enter, that gets clients: the last one never rests. */
  readonly enterOther: () => void;
  /** Changes settings. */
  readonly configure: (flags: Record<string, string>) => void;
  /** What health has changed. */
  readonly changes: Queue<{ server: string } & ServerCondition>;
  readonly silences: Queue<{ slot: number; silentMs: number }>;
  /** The availability of a server, and the weight of all that get no clients. */
  read(slot: number): [availability: number, unavailableWeight: number];
}

/** Without checks of its own and with rests that do not end in a test, unless said. */
function start(flags: Record<string, string> = {}, clock?: HealthClock): Test {
  const availabilities = new AvailabilityTable(allocateAvailabilities(SLOTS));
  const changes = new Queue<{ server: string } & ServerCondition>();
  const silences = new Queue<{ slot: number; silentMs: number }>();
  const texts = { check: "off", rest: "1m", fall: "1", rise: "1", ...flags };
  const config = parseConfig(texts);
  const admission = new Admission({
    config,
    availabilities,
    budget: new CheckBudget({ clock, underWayMax: 10 }),
    clock,
    serviceOf: () => ({ connects: 0, receivedBytes: 0 }),
    onChange: ({ name }, condition) => changes.put({ server: name, ...condition }),
    onSilent: (slot, { silentMs }) => silences.put({ slot, silentMs }),
  });
  return {
    admission,
    enter: (server, options) => admission.enter(server, plainCheck(config.check), options),
    enterOther: () => admission.enter(tableServer(OTHER, SLOTS - 1), plainCheck({ kind: "off" })),
    configure: (changed) => admission.configure(parseConfig({ ...texts, ...changed })),
    availabilities,
    changes,
    silences,
    read: (slot) => [availabilities.get(slot), availabilities.unavailableWeightOf(0)],
    [Symbol.dispose]: () => admission[Symbol.dispose](),
  };
}

/** A clock for intervals that stands still until the test lets time pass. */
function stoppedClock(): HealthClock & { pass(ms: number): void } {
  let nowMs = 1000;
  return { ...SYSTEM_CLOCK, nowMs: () => nowMs, pass: (ms) => void (nowMs += ms) };
}

/** A test that leaves no timer and no connection behind. */
function test(name: string, fn: () => void | Promise<void>): void {
  Deno.test({ name: `Admission: ${name}`, sanitizeOps: true, sanitizeResources: true, fn });
}

test("a server that enters takes all its clients; one that was draining takes none", () => {
  using one = start();
  const { admission, read } = one;
  one.enter(tableServer(NOWHERE, 0, { weight: 3 }));
  assertEquals(read(0), [AVAILABILITY.full, 0]);
  one.enter(tableServer(NOWHERE, 1, { weight: 5 }), { draining: true });
  assertEquals(read(1), [AVAILABILITY.draining, 5]);
  assertEquals([admission.isDraining(0), admission.isDraining(1)], [false, true]);
  assertEquals(admission.conditionOf(0).reason, null);
});

test("drain and undrain", () => {
  using one = start();
  const { admission, read } = one;
  one.enter(tableServer(NOWHERE, 0, { weight: 3 }));
  const before = Date.now();
  admission.drain(0);
  assertEquals(read(0), [AVAILABILITY.draining, 3]);
  const { state, since, reason } = admission.conditionOf(0);
  assertEquals([state, reason], ["draining", "balancerctl drain"]);
  assertGreaterOrEqual(since.getTime(), before);
  admission.undrain(0);
  assertEquals(read(0), [AVAILABILITY.full, 0]);
  assertEquals([admission.conditionOf(0).state, admission.conditionOf(0).reason], ["up", null]);
});

test("a removed server is not in the table, and its weight is nobody's; the end of its time is written", () => {
  using one = start();
  const { admission, read } = one;
  one.enter(tableServer(NOWHERE, 0, { weight: 3 }));
  one.enter(tableServer(NOWHERE, 1, { weight: 2 }), { draining: true });
  admission.remove(0);
  assertEquals(read(0), [AVAILABILITY.draining, 2]);
  assertEquals(admission.conditionOf(0).state, "removing");
  assertEquals(admission.conditionOf(0).reason, "balancerctl remove");
  admission.remove(1);
  assertEquals(read(1), [AVAILABILITY.draining, 0], "though it was draining before");
  admission.expire(0);
  assertEquals(read(0), [AVAILABILITY.expired, 0]);
  assertEquals(read(1), [AVAILABILITY.draining, 0]);
  admission.forget(0);
  assertEquals(read(0), [AVAILABILITY.full, 0]);
  assertThrows(() => admission.conditionOf(0), Error, "no server has this slot");
});

test("only a removed server's time ends", () => {
  using one = start();
  one.enter(tableServer(NOWHERE, 0), { draining: true });
  assertThrows(() => one.admission.expire(0), Error, "the server is not being removed");
  assertEquals(one.read(0), [AVAILABILITY.draining, 1]);
});

test("a server that is added again while it is being removed takes its clients as if it were new", () => {
  using one = start();
  const { admission, read } = one;
  one.enter(tableServer(NOWHERE, 0, { weight: 3 }), { draining: true });
  admission.remove(0);
  admission.expire(0);
  one.enter(tableServer(NOWHERE, 0, { weight: 4 }));
  assertEquals(read(0), [AVAILABILITY.full, 0]);
  assertEquals([admission.isDraining(0), admission.conditionOf(0).state], [false, "up"]);
});

test("a server that did not take clients rests, and is the last resort", async () => {
  using one = start({ fall: "2" });
  const { admission, read, changes } = one;
  one.enterOther();
  one.enter(tableServer(NOWHERE, 0, { weight: 3 }));
  admission.trafficFailed(0, "it refused");
  assertEquals(read(0), [AVAILABILITY.full, 0]);
  admission.trafficFailed(0, "it refused again");
  assertEquals(read(0), [AVAILABILITY.fallback, 3]);
  const { state, reason } = admission.conditionOf(0);
  assertEquals([state, reason], ["resting", "it refused again"]);
  assertEquals(await changes.take(), { server: "192.0.2.1:80", ...admission.conditionOf(0) });
});

test("a server whose rest is over and that accepts is up again", async () => {
  await using server = startServer(echo);
  using one = start({ rest: "20ms" });
  const { admission, read, changes } = one;
  one.enterOther();
  one.enter(tableServer(server.address, 0, { weight: 3 }));
  admission.trafficFailed(0, "it refused");
  assertEquals((await changes.take()).state, "resting");
  assertEquals(read(0), [AVAILABILITY.fallback, 3]);
  assertEquals((await changes.take()).state, "up");
  assertEquals(read(0), [AVAILABILITY.full, 0]);
});

test("a server that fails its checks is down, its silence is told time after time, and it comes back", async () => {
  const address = unusedAddress();
  using one = start({ check: "tcp", "check-interval": "300ms", "check-timeout": "300ms" });
  const { read, changes, silences } = one;
  one.enter(tableServer(address, 0, { weight: 3 }));
  const down = await changes.take();
  assertEquals(down.state, "down");
  assertStringIncludes(down.reason ?? "", "refused");
  assertEquals(read(0), [AVAILABILITY.fallback, 3]);
  const [first, second] = [await silences.take(), await silences.take()];
  assertEquals([first.slot, second.slot], [0, 0]);
  for (const { silentMs } of [first, second]) assertGreater(silentMs, 0);
  await using _server = startServer(echo, address);
  assertEquals((await changes.take()).state, "up");
  assertEquals(read(0), [AVAILABILITY.full, 0]);
});

test("a server that answers its checks wrongly is down and not silent", async () => {
  await using server = startServer(async (socket) => void await socket.write(new TextEncoder().encode("no\r\n")));
  using one = start({ check: "expect:yes", "check-interval": "200ms", "check-timeout": "200ms" });
  let silences = 0;
  one.silences.take().then(() => silences++, () => {});
  one.enter(tableServer(server.address, 0));
  assertEquals((await one.changes.take()).state, "down");
  await until(() => server.accepted > 2, "more checks");
  assertEquals(silences, 0);
  one.silences.put({ slot: 0, silentMs: 0 }); // so that nobody waits for one any more
});

test("the operator's word comes before what health finds out, and what health has found out stays known", () => {
  using one = start();
  const { admission, read } = one;
  one.enterOther();
  one.enter(tableServer(NOWHERE, 0, { weight: 3 }));
  admission.trafficFailed(0, "it refused");
  admission.drain(0);
  assertEquals(read(0), [AVAILABILITY.draining, 3]);
  assertEquals(admission.conditionOf(0).state, "draining");
  admission.undrain(0);
  assertEquals(read(0), [AVAILABILITY.fallback, 3]);
  assertEquals(admission.conditionOf(0).state, "resting");
});

test("a server that begins to rest while it drains is counted once", () => {
  using one = start();
  const { admission, read } = one;
  one.enterOther();
  one.enter(tableServer(NOWHERE, 0, { weight: 3 }), { draining: true });
  admission.trafficFailed(0, "it refused");
  assertEquals(read(0), [AVAILABILITY.draining, 3]);
  admission.undrain(0);
  assertEquals(read(0), [AVAILABILITY.fallback, 3]);
});

test("failures of a server that is being removed change nothing", () => {
  using one = start();
  const { admission, read } = one;
  one.enter(tableServer(NOWHERE, 0, { weight: 3 }));
  admission.remove(0);
  admission.trafficFailed(0, "it refused");
  admission.trafficFailed(7, "nobody has this slot");
  assertEquals(read(0), [AVAILABILITY.draining, 0]);
  assertEquals(admission.conditionOf(0).state, "removing");
});

test("another weight of a server that gets no clients is counted at once", () => {
  using one = start();
  const { admission, read } = one;
  one.enter(tableServer(NOWHERE, 0, { weight: 3 }), { draining: true });
  admission.change(tableServer(NOWHERE, 0, { weight: 7 }), plainCheck({ kind: "off" }));
  assertEquals(read(0), [AVAILABILITY.draining, 7]);
  admission.undrain(0);
  assertEquals(read(0), [AVAILABILITY.full, 0]);
  admission.change(tableServer(NOWHERE, 0, { weight: 2 }), plainCheck({ kind: "off" }));
  assertEquals(read(0), [AVAILABILITY.full, 0]);
});

test("slow start: the part of its clients that a server does not take shrinks to nothing", async () => {
  const clock = stoppedClock();
  using one = start({ "slow-start": "1s" }, clock);
  const { admission, read } = one;
  one.enter(tableServer(NOWHERE, 0, { weight: 3 }));
  assertEquals(read(0), [AVAILABILITY.full, 0], "a new server does not ramp");
  admission.drain(0);
  admission.undrain(0);
  assertEquals(read(0), [AVAILABILITY.none, 0]);
  for (const part of [0.25, 0.5, 0.75]) {
    clock.pass(250);
    const expected = Math.round(AVAILABILITY.none * (1 - part));
    await until(() => read(0)[0] !== Math.round(AVAILABILITY.none * (1.25 - part)), "the next step");
    assertEquals(read(0), [expected, 0]);
  }
  clock.pass(250);
  await until(() => read(0)[0] === AVAILABILITY.full, "the last step");
});

test("slow start: each server has its own, and to be drained again ends it", async () => {
  const clock = stoppedClock();
  using one = start({ "slow-start": "1s" }, clock);
  const { admission, read } = one;
  for (const slot of [0, 1]) one.enter(tableServer(NOWHERE, slot, { weight: 2 }), { draining: true });
  admission.undrain(0);
  clock.pass(500);
  admission.undrain(1);
  await until(() => read(0)[0] === AVAILABILITY.none / 2, "a step");
  assertEquals(read(1), [AVAILABILITY.none, 0]);
  admission.drain(0);
  assertEquals(read(0), [AVAILABILITY.draining, 2]);
  clock.pass(500);
  await until(() => read(1)[0] === AVAILABILITY.none / 2, "a step of the other");
  assertEquals(read(0), [AVAILABILITY.draining, 2]);
  admission.undrain(0);
  assertEquals(read(0), [AVAILABILITY.none, 0], "it begins anew");
});

test("slow start: a server that is up again after a rest ramps, and one that rests again does not", async () => {
  await using server = startServer(echo);
  using one = start({ rest: "20ms", "slow-start": "24h" });
  const { admission, read, changes } = one;
  one.enterOther();
  one.enter(tableServer(server.address, 0, { weight: 3 }));
  admission.trafficFailed(0, "it refused");
  assertEquals((await changes.take()).state, "resting");
  assertEquals((await changes.take()).state, "up");
  const [availability, unavailableWeight] = read(0);
  assert(availability > 0.99 * AVAILABILITY.none, `${availability}`);
  assertEquals(unavailableWeight, 0, "a ramping server counts as available");
  admission.trafficFailed(0, "it refused again");
  assertEquals(read(0), [AVAILABILITY.fallback, 3]);
});

/** What may happen to a server; a step that cannot be is left out. */
const STEPS = ["enter", "enter draining", "change", "drain", "undrain", "remove", "expire", "forget", "fail"] as const;

interface Model {
  weight: number;
  takenOut: "no" | "draining" | "removing" | "expired";
  isResting: boolean;
}

/** A server whose clients fail rests, unless no other server gets clients. */
function failInModel(servers: ReadonlyMap<number, Model>, slot: number): void {
  const others = [...servers].filter(([other, server]) => other !== slot && availabilityOf(server) === AVAILABILITY.full);
  const server = servers.get(slot);
  if (server !== undefined && others.length > 0) server.isResting = true;
}

function isPossible(step: typeof STEPS[number], server: Model | undefined): boolean {
  if (server === undefined) return step === "enter" || step === "enter draining" || step === "fail";
  const isGone = server.takenOut === "removing" || server.takenOut === "expired";
  if (step === "enter" || step === "enter draining" || step === "expire" || step === "forget") return isGone;
  return !isGone || step === "fail";
}

function availabilityOf(server: Model | undefined): number {
  if (server === undefined) return AVAILABILITY.full;
  if (server.takenOut !== "no") return server.takenOut === "expired" ? AVAILABILITY.expired : AVAILABILITY.draining;
  return server.isResting ? AVAILABILITY.fallback : AVAILABILITY.full;
}

test("after any steps in any order availabilities and the unavailable weight are those of the servers", () => {
  const step = fc.record({ slot: fc.nat(3), step: fc.constantFrom(...STEPS), weight: fc.integer({ min: 1, max: 256 }) });
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 60 }), (steps) => {
      using one = start({ "rest-max": "100%" });
      const { admission, availabilities } = one;
      const servers = new Map<number, Model>();
      for (const { slot, step, weight } of steps) {
        const server = servers.get(slot);
        if (!isPossible(step, server)) continue;
        if (step === "enter" || step === "enter draining") {
          const draining = step === "enter draining";
          one.enter(tableServer(NOWHERE, slot, { weight }), { draining });
          servers.set(slot, { weight, takenOut: draining ? "draining" : "no", isResting: false });
        } else if (step === "forget") {
          admission.forget(slot);
          servers.delete(slot);
        } else if (step === "change") {
          admission.change(tableServer(NOWHERE, slot, { weight }), plainCheck({ kind: "off" }));
          server!.weight = weight;
        } else if (step === "fail") {
          admission.trafficFailed(slot, "it refused");
          failInModel(servers, slot);
        } else {
          admission[step](slot);
          server!.takenOut = ({ drain: "draining", undrain: "no", remove: "removing", expire: "expired" } as const)[step];
        }
        for (let slot = 0; slot < 4; slot++) assertEquals(availabilities.get(slot), availabilityOf(servers.get(slot)));
        const unavailable = [...servers.values()].filter((server) =>
          server.takenOut === "draining" || server.takenOut === "no" && server.isResting
        );
        assertEquals(availabilities.unavailableWeightOf(0), unavailable.reduce((sum, { weight }) => sum + weight, 0));
      }
    }),
  );
});

/** A server of HTTP that answers with what the test says last. */
function startHttp(): { answer: string } & ReturnType<typeof startServer> {
  const server = startServer(async (socket) => {
    await socket.read(new Uint8Array(4096));
    await writeText(socket, http.answer);
  });
  const http = Object.assign(server, { answer: "HTTP/1.1 200 OK\r\n\r\n" });
  return http;
}

const DRAIN = "HTTP/1.1 200 OK\r\nDrain: 1\r\n\r\n";
const NOT_FOUND = "HTTP/1.1 404 no\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\n\r\n";
const HTTP_FLAGS = { check: "http:/", "check-interval": "300ms", "check-timeout": "300ms" };

for (const asking of [DRAIN, NOT_FOUND]) {
  test(`a server whose check is answered with ${JSON.stringify(asking)} drains, and comes back by itself`, async () => {
    await using server = startHttp();
    using one = start(HTTP_FLAGS);
    const { read, changes, admission } = one;
    one.enter(tableServer(server.address, 0, { weight: 3 }));
    server.answer = asking;
    const { state, reason, since } = await changes.take();
    assertEquals([state, reason], ["draining", "its check asks for it"]);
    assertEquals(admission.conditionOf(0), { state, reason, since });
    assertEquals(read(0), [AVAILABILITY.asking, 3]);
    server.answer = OK;
    const back = await changes.take();
    assertEquals([back.state, back.reason], ["up", null]);
    assertEquals(read(0), [AVAILABILITY.full, 0]);
  });
}

test("a drain by hand and one that the check asks for are two things", async () => {
  await using server = startHttp();
  using one = start(HTTP_FLAGS);
  const { read, admission } = one;
  one.enter(tableServer(server.address, 0));
  admission.drain(0);
  server.answer = DRAIN;
  await until(() => admission.knownOf(0) !== undefined, "the check to ask");
  assertEquals(admission.conditionOf(0).reason, "balancerctl drain, and its check asks for it");
  assertEquals(read(0)[0], AVAILABILITY.draining);
  admission.undrain(0);
  assertEquals([admission.conditionOf(0).state, admission.conditionOf(0).reason], ["draining", "its check asks for it"]);
  assertEquals([read(0)[0], admission.isDraining(0)], [AVAILABILITY.asking, false]);
  admission.drain(0);
  server.answer = OK;
  await until(() => admission.knownOf(0) === undefined, "the check to ask no more");
  assertEquals(admission.conditionOf(0).reason, "balancerctl drain");
  admission.undrain(0);
  assertEquals(read(0)[0], AVAILABILITY.full);
});

test("a server that asked to be drained and then fails is down, and up again when it passes", async () => {
  await using server = startHttp();
  using one = start(HTTP_FLAGS);
  one.enter(tableServer(server.address, 0));
  server.answer = DRAIN;
  assertEquals((await one.changes.take()).state, "draining");
  server.answer = "HTTP/1.1 500 no\r\n\r\n";
  assertEquals((await one.changes.take()).state, "down");
  assertEquals(one.read(0)[0], AVAILABILITY.fallback);
  server.answer = OK;
  assertEquals((await one.changes.take()).state, "up");
});

test("a server that comes up and asks to be drained is told of as draining, not as up", async () => {
  await using server = startHttp();
  using one = start({ ...HTTP_FLAGS, rise: "2" });
  server.answer = "HTTP/1.1 500 no\r\n\r\n";
  one.enter(tableServer(server.address, 0));
  assertEquals((await one.changes.take()).state, "down");
  server.answer = NOT_FOUND;
  assertEquals((await one.changes.take()).state, "draining");
});

test("what is known of a server from before is where it begins, unless no check could end it", () => {
  using one = start({ check: "tcp" });
  const { read, admission } = one;
  const since = new Date(5);
  const down = { state: "down", since, reason: "it was", restMs: 0, restLeftMs: 0 } as const;
  const draining = { state: "draining", since } as const;
  one.enter(tableServer(NOWHERE, 0), { known: down });
  one.enter(tableServer(NOWHERE, 1), { known: draining });
  one.enter(tableServer(NOWHERE, 2), { known: down, draining: true });
  assertEquals([0, 1, 2].map((slot) => read(slot)[0]), [AVAILABILITY.fallback, AVAILABILITY.asking, AVAILABILITY.draining]);
  assertEquals([0, 1, 2].map((slot) => admission.knownOf(slot)), [down, draining, down]);
  assertEquals(admission.conditionOf(1), { state: "draining", since, reason: "its check asks for it" });
  for (const known of [down, draining]) {
    admission.enter(tableServer(NOWHERE, 3), plainCheck({ kind: "off" }), { known });
    assertEquals([read(3)[0], admission.knownOf(3)], [AVAILABILITY.full, undefined]);
  }
  admission.change(tableServer(NOWHERE, 1), plainCheck({ kind: "off" }));
  assertEquals(read(1)[0], AVAILABILITY.full);
});

test("the last server that gets clients does not rest, whatever the others are", () => {
  using one = start({ "rest-max": "100%" });
  const { admission, read } = one;
  for (const slot of [0, 1, 2]) one.enter(tableServer(NOWHERE, slot));
  admission.drain(0);
  admission.trafficFailed(1, "it refused");
  assertEquals(read(1)[0], AVAILABILITY.fallback);
  admission.trafficFailed(2, "it refused");
  assertEquals(read(2)[0], AVAILABILITY.full, "one drains and one rests");
  admission.undrain(0);
  admission.trafficFailed(2, "it refused");
  assertEquals(read(2)[0], AVAILABILITY.fallback);
  admission.trafficFailed(0, "it refused");
  assertEquals(read(0)[0], AVAILABILITY.full);
});

test("a server that is down or forgotten gets no clients, so the other one is the last", async () => {
  using one = start({ check: "tcp", "check-interval": "300ms", "check-timeout": "300ms" });
  const { admission, read, changes } = one;
  one.enter(tableServer(unusedAddress(), 0));
  assertEquals((await changes.take()).state, "down");
  one.enterOther();
  admission.trafficFailed(SLOTS - 1, "it refused");
  assertEquals(read(SLOTS - 1)[0], AVAILABILITY.full);
  admission.forget(0);
  admission.trafficFailed(SLOTS - 1, "it refused");
  assertEquals(read(SLOTS - 1)[0], AVAILABILITY.full);
});

test("a server in two minds about its drain moves its clients once, and gets them back when it has made up its mind", async () => {
  let asked = 0;
  await using server = startServer(async (socket) => {
    await socket.read(new Uint8Array(4096));
    await writeText(socket, asked++ % 2 === 0 ? NOT_FOUND : OK);
  });
  using one = start({ ...HTTP_FLAGS, rise: "2" });
  one.enter(tableServer(server.address, 0));
  assertEquals((await one.changes.take()).state, "draining");
  await until(() => asked > 7, "more checks");
  assertEquals(one.read(0)[0], AVAILABILITY.asking);
  asked = 1;
  const steady = setInterval(() => asked = 1, 5); // it answers OK from here on
  assertEquals((await one.changes.take()).state, "up", "no other change between them");
  clearInterval(steady);
});

test("configure(): a ramp goes on as if it had had its new length from the beginning", async () => {
  const clock = stoppedClock();
  using one = start({ "slow-start": "1m" }, clock);
  const { admission, read } = one;
  one.enter(tableServer(NOWHERE, 0), { draining: true });
  admission.undrain(0);
  clock.pass(1000);
  one.configure({ "slow-start": "2s" });
  assertEquals(read(0)[0], AVAILABILITY.none / 2);
  one.configure({ "slow-start": "4s" });
  assertEquals(read(0)[0], AVAILABILITY.none * 3 / 4);
  clock.pass(3000);
  await until(() => read(0)[0] === AVAILABILITY.full, "the last step, by the new timer");
});

test("configure(): a ramp that would be over by its new length, or without slow start, is over", () => {
  for (const length of ["1s", "off"]) {
    const clock = stoppedClock();
    using one = start({ "slow-start": "1m" }, clock);
    one.enter(tableServer(NOWHERE, 0), { draining: true });
    one.admission.undrain(0);
    clock.pass(1000);
    one.configure({ "slow-start": length });
    assertEquals(one.read(0)[0], AVAILABILITY.full);
  }
});

test("configure(): slow start that is set holds for those who come back from then on", () => {
  using one = start({}, stoppedClock());
  one.enter(tableServer(NOWHERE, 0));
  one.configure({ "slow-start": "1s" });
  assertEquals(one.read(0)[0], AVAILABILITY.full);
  one.admission.drain(0);
  one.admission.undrain(0);
  assertEquals(one.read(0)[0], AVAILABILITY.none);
});

test("configure(): without rests those that rest are up, with a ramp where slow start is set at the same time", async () => {
  using one = start({}, stoppedClock());
  one.enterOther();
  one.enter(tableServer(NOWHERE, 0, { weight: 3 }));
  one.admission.trafficFailed(0, "it refused");
  assertEquals(one.read(0), [AVAILABILITY.fallback, 3]);
  one.configure({ rest: "off", "slow-start": "1s" });
  assertEquals(one.read(0), [AVAILABILITY.none, 0]);
  assertEquals([(await one.changes.take()).state, (await one.changes.take()).state], ["resting", "up"]);
});

test("configure() after the end starts no timer", () => {
  const one = start({ "slow-start": "1s" });
  one.enter(tableServer(NOWHERE, 0), { draining: true });
  one.admission.undrain(0);
  one[Symbol.dispose]();
  one.configure({ "slow-start": "2s", check: "tcp" });
  assertEquals(one.admission.conditionOf(0).state, "up");
});
