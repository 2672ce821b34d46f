// Declared states over running balancers: what the plan says of clients is what happens to them, and a fault changes nothing.

import { assert, assertEquals, assertNotEquals, assertRejects, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import type { PlannedConnections } from "../../lib/routing/forecast.ts";
import type { StatePlan } from "../../lib/routing/state_plan.ts";
import type { Address } from "../../lib/values/address.ts";
import { LIMITS } from "../../lib/values/config.ts";
import { parseDeclared } from "../../lib/values/declared_file.ts";
import type { DeclaredServer, DeclaredState } from "../../lib/values/declared_state.ts";
import { formatDeclared } from "../../lib/values/declared_text.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import type { SavedService } from "../../lib/values/saved_state.ts";
import { ask, connect, unusedAddress } from "../helpers.ts";
import { until } from "../raw_socket.ts";
import {
  type Client,
  CLIENT_KINDS,
  type ClientKind,
  countOf,
  declared,
  fortunesOf,
  IDLE,
  LEAVING,
  LEAVING_NOW,
  PRUNED,
  Servers,
  service,
  Stand,
  Watch,
} from "./applied.ts";

/** Random states that are tried. */
const PROPERTY_RUNS = 8;

const LOOPBACK = "127.0.0.1";

const ANY_PORT = { address: LOOPBACK, port: 0 };

/** A random service: which of the servers it has, and how. */
interface RandomService {
  readonly name: string;
  readonly settings: Readonly<Record<string, string>>;
  readonly servers: readonly { readonly at: number; readonly weight: number; readonly draining: boolean }[];
}

const randomService = (name: string): fc.Arbitrary<RandomService> =>
  fc.record({
    name: fc.constant(name),
    settings: fc.record({
      redistribute: fc.constantFrom("new", "unanswered", "idle", "idle"),
      key: fc.constantFrom("ip:port", "ip:port", "ip"),
      policy: fc.constantFrom("ring", "ring", "least-connections"),
    }).map((some) => ({ ...IDLE, ...some })),
    servers: fc.uniqueArray(
      fc.record({ at: fc.nat(3), weight: fc.integer({ min: 1, max: 3 }), draining: fc.constantFrom(false, false, false, true) }),
      { maxLength: 3, selector: ({ at }) => at },
    ),
  });

/** Two services, their clients, and what is declared then: one of them may go, and a third one come. */
const scenario = fc.record({
  before: fc.tuple(randomService("a"), randomService("b")),
  clients: fc.array(fc.tuple(fc.nat(1), fc.constantFrom<ClientKind>(...CLIENT_KINDS)), { maxLength: 12 }),
  after: fc.subarray(["a", "b", "c"], { minLength: 1 }).chain((names) => fc.tuple(...names.map(randomService))),
});

function serversOf({ servers }: RandomService, names: readonly string[]): DeclaredServer[] {
  return servers.map(({ at, ...rest }) => ({ server: names[at], ...rest }));
}

function savedOf(one: RandomService, names: readonly string[]): SavedService {
  const servers = serversOf(one, names).map((server) => ({ weight: 1, connectionsMax: null, ...server }));
  return { ...one, listeners: [ANY_PORT], servers: servers.toSorted((a, b) => a.server < b.server ? -1 : 1) };
}

/** The service with one more listener. */
function listeningTwice(service: SavedService): SavedService {
  return { ...service, listeners: [ANY_PORT, ANY_PORT] };
}

/** The planned connections to which something happens now: where owners change, others stay. */
function touching({ totals }: StatePlan): PlannedConnections[] {
  return totals.connections.filter(({ outcome }) => !outcome.startsWith("stays"));
}

/** Short-lived clients of an address, some at a time. A client that is not answered ends the test. */
class Traffic {
  readonly #asking: Promise<void>[];
  #isOver = false;

  constructor(address: Address, atATime: number) {
    this.#asking = Array.from({ length: atATime }, async () => {
      while (!this.#isOver) assertEquals((await ask(address, "?")).length, 1, "a client was not answered");
    });
    for (const asking of this.#asking) asking.catch(() => {}); // it is awaited at the end
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#asking);
  }
}

/** Clients that ask all the time. One that gets no answer, or that of another server, ends the test. */
class Talkers implements AsyncDisposable {
  readonly #talking: Promise<number>[];
  #isOver = false;

  constructor(clients: readonly Client[]) {
    this.#talking = clients.map(async (client) => {
      let count = 0;
      for (; !this.#isOver; count++) assertEquals(await client.look(), "same");
      return count;
    });
    for (const talking of this.#talking) talking.catch(() => {}); // it is awaited at the end
  }

  async end(): Promise<void> {
    this.#isOver = true;
    for (const count of await Promise.all(this.#talking)) assert(count > 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    await Promise.allSettled(this.#talking);
  }
}

type Case = (kind: EngineKind) => Promise<void>;

/** What depends on the engine. */
const CASES: Record<string, Case> = {
  async "one apply changes three services with traffic on each, and only those of the plan are touched, as it says"(kind) {
    await using servers = new Servers(7);
    const [a, b, c, d, e, f, g] = servers.names;
    await using stand = await Stand.start(kind, [
      listeningTwice(service("web", IDLE, [a, b])),
      service("api", { ...IDLE, redistribute: "new" }, [d, e]),
      service("mail", IDLE, [f]),
    ]);
    const { balancer } = stand;
    const staying = [b, e, f].map((name) => servers.names.indexOf(name));
    await using talkers = new Talkers(await stand.talkersOf(["web", "api", "mail"], staying));
    const quiet: Client[] = [];
    for (const name of ["web", "api", "mail"]) {
      for (const kind of CLIENT_KINDS) quiet.push(...await stand.open(name, kind, kind === "idle" ? 8 : 3));
    }
    for (const kind of ["idle", "busy"] as const) { // which server a client has is a matter of its port
      while (!quiet.some((client) => client.kind === kind && client.server === 0)) quiet.push(...await stand.open("web", kind));
    }
    const [web, api, mail] = ["web", "api", "mail"].map((name) => stand.saved(name));
    const state = declared(
      {
        ...web,
        listeners: web.listeners.slice(0, 1), // the other one is mail's from now on
        settings: { ...IDLE, "idle-timeout": "1h" },
        servers: [{ server: b, weight: 2 }, { server: c }],
      },
      { ...api, servers: [{ server: d, draining: true }, { server: e, weight: 3 }] },
      { ...mail, listeners: [...mail.listeners, web.listeners[1]], servers: [{ server: f }, { server: g }] },
    );
    const moving = stand.addressOf("web", 1);
    await stand.quiet();
    const planned = balancer.planDeclared(state, PRUNED);
    const watch = new Watch(balancer);
    const { generation } = balancer;
    const plan = (await balancer.apply(state, PRUNED))!;
    assertEquals(balancer.generation, generation + 1);
    assertEquals(touching(plan), touching(planned));
    assertEquals(plan.services.map(({ service, change }) => [service, change]), [
      ["web", "changed"],
      ["api", "changed"],
      ["mail", "changed"],
    ]);
    const foreseen = fortunesOf(plan);
    assert(foreseen.web.moved > 0 && foreseen.web.ended > 0, "some move, and some cannot");
    await until(() => watch.moved === countOf(plan.totals.connections, LEAVING), "the moves");
    await watch.endDrains();
    assertEquals(watch.fortunes, foreseen);
    const byState = (state: string) => countOf(touching(plan).filter((group) => group.state === state), LEAVING);
    assertEquals(watch.movesByState, { unsent: byState("unsent"), unanswered: byState("unanswered"), idle: byState("idle") });
    assertEquals([foreseen.mail, foreseen.api?.ended], [undefined, foreseen.api && 0], "a drained server resets nobody");
    const became = await Promise.all(quiet.map((client) => client.look()));
    assertEquals(became.filter((fate) => fate === "gone").length, foreseen.web.ended);
    assertEquals(became.filter((fate) => fate === "other").length, byState("idle"));
    await talkers.end();
    const answered = await Promise.all(Array.from({ length: 20 }, () => ask(moving, "?")));
    assert(answered.every((answer) => ["\x05", "\x06"].includes(answer)), "the listener is mail's");
  },

  async "a listener that goes to another service and back refuses nobody"(kind) {
    await using servers = new Servers(2);
    await using stand = await Stand.start(kind, [
      listeningTwice(service("one", IDLE, servers.names.slice(0, 1))),
      service("two", IDLE, servers.names.slice(1)),
    ]);
    const { balancer } = stand;
    const [one, two] = [stand.saved("one"), stand.saved("two")];
    const [first, moving] = one.listeners;
    const address = stand.addressOf("one", 1);
    const traffic = new Traffic(address, 4);
    const [client] = await stand.open("one", "idle");
    for (let round = 0; round < 5; round++) {
      await balancer.apply(declared({ ...one, listeners: [first] }, { ...two, listeners: [...two.listeners, moving] }), PRUNED);
      assertEquals(await ask(address, "?"), "\x01");
      await balancer.apply(declared(one, two), PRUNED);
      assertEquals(await ask(address, "?"), "\x00");
    }
    await traffic.end();
    assertEquals(await client.look(), "same");
  },

  async "of two faults in one apply none leaves a trace"(kind) {
    await using servers = new Servers(2);
    const [a, b] = servers.names;
    await using stand = await Stand.start(kind, [service("web", IDLE, [a]), service("zero", IDLE, [b])]);
    const { balancer } = stand;
    using taken = Deno.listen({ hostname: LOOPBACK, port: 0 });
    const [web, zero] = [stand.saved("web"), stand.saved("zero")];
    const [one, two, three] = Array.from({ length: 3 }, unusedAddress);
    const listener = (port: number) => ({ address: LOOPBACK, port });
    const good = { ...web, listeners: [...web.listeners, listener(one.port)], servers: [{ server: b }] };
    const added = { ...zero, name: "added", listeners: [listener(two.port)] };
    const list = { ...zero, listeners: [listener(three.port)], settings: { ...zero.settings, allow: "@/none/list" } };
    const port = { ...zero, listeners: [listener(three.port), listener(taken.addr.port)] };
    const faulty: readonly [DeclaredState, string][] = [
      [declared(good, added, list), 'Cannot use list "/none/list"'],
      [declared(good, added, port), String(taken.addr.port)],
      [declared(added, { ...port, settings: list.settings }), "Cannot"],
    ];
    const [client] = await stand.open("web", "idle");
    const before = await stand.traces();
    for (const [state, reason] of faulty) {
      await assertRejects(() => balancer.apply(state, PRUNED), OperatorError, reason);
      assertEquals(await stand.traces(), before);
      for (const { port } of [one, two, three]) Deno.listen({ hostname: LOOPBACK, port }).close(); // throws if it was left open
    }
    const many = Array.from({ length: LIMITS.serversMax / 2 }, (_, i) => `192.0.2.1:${i + 1}`);
    const big = { ...service("big", {}, many), listeners: port.listeners };
    for (let round = 0; round < 3; round++) { // the places of servers that were never there are free again
      await assertRejects(() => balancer.addService(big), OperatorError, String(taken.addr.port));
    }
    assertEquals(await stand.traces(), before);
    assertEquals(await client.look(), "same");
    await balancer.apply(declared(good, added), PRUNED); // now without the faults
    assertEquals(await Promise.all([one, two].map((address) => ask(address, "?"))), ["\x01", "\x01"]);
  },

  async "an apply that cannot be saved leaves no trace, and works once it can"(kind) {
    await using servers = new Servers(2);
    const [a, b] = servers.names;
    await using stand = await Stand.start(kind, [listeningTwice(service("web", IDLE, [a])), service("old", IDLE, [a])]);
    const { balancer } = stand;
    const clients = [...await stand.open("web", "idle"), ...await stand.open("old", "busy")];
    const { address, port } = { address: LOOPBACK, port: unusedAddress().port };
    const web = stand.saved("web");
    const state = declared(
      { ...web, listeners: [web.listeners[0], { address, port }], servers: [{ server: b }] },
      { ...web, name: "new", listeners: [web.listeners[1]] },
    );
    const before = await stand.traces();
    stand.isDiskFull = true;
    await assertRejects(() => balancer.apply(state, PRUNED), OperatorError, "the disk is full");
    assertEquals(await stand.traces(), before);
    Deno.listen({ hostname: address, port }).close();
    for (const client of clients) assertEquals(await client.look(), "same");
    assertEquals(await ask(stand.addressOf("web", 1), "?"), "\x00");
    stand.isDiskFull = false;
    await balancer.apply(state, PRUNED);
    assertEquals(balancer.services().map(({ name }) => name), ["new", "web"]);
    assertEquals(await ask({ host: address, port }, "?"), "\x01");
  },

  async "a service that is removed lets its clients finish, and one of its name begins anew meanwhile"(kind) {
    await using servers = new Servers(2);
    const [a, b] = servers.names;
    await using stand = await Stand.start(kind, [service("web", IDLE, [a]), service("other", IDLE, [b])]);
    const { balancer } = stand;
    const [web, other] = [stand.saved("web"), stand.saved("other")];
    const [client] = await stand.open("web", "idle");
    const watch = new Watch(balancer);
    await stand.quiet();
    const plan = await balancer.apply(declared(other), PRUNED);
    assertEquals(plan!.totals.connections, [
      { state: "idle", count: 1, outcome: "may finish, and is reset when the drain time ends" },
    ]);
    assertEquals(balancer.listServices().map(({ service, open, removing }) => [service, open, removing]), [
      ["other", 0, false],
      ["web", 1, true],
    ]);
    assertEquals(await client.look(), "same");
    const address = { host: LOOPBACK, port: web.listeners[0].port };
    const isRefused = () => connect(address).then((late) => (late.close(), false), () => true);
    while (!await isRefused()); // a worker that is starting accepts who is in the listener's queue
    await balancer.apply(declared(other, web), PRUNED);
    assertEquals(await ask(stand.addressOf("web"), "?"), "\x00");
    assertEquals(await client.look(), "same", "the one before goes on");
    assertEquals(balancer.service("web").view().accepted, 1, "and is not counted for the new one");
    await watch.endDrains();
    assertEquals(await client.look(), "gone");
    await until(() => balancer.listServices().length === 2, "the service to be forgotten");
    assertEquals(await ask(stand.addressOf("web"), "?"), "\x00");
  },

  async "a server that comes back while it is being removed keeps its clients"(kind) {
    await using servers = new Servers(1);
    await using stand = await Stand.start(kind, [service("web", IDLE, servers.names)]);
    const { balancer } = stand;
    const web = stand.saved("web");
    const clients = [...await stand.open("web", "idle"), ...await stand.open("web", "busy")];
    await balancer.apply(declared({ ...web, servers: [] }), PRUNED);
    assertEquals(balancer.service("web").list().map(({ state, open }) => [state, open]), [["removing", 2]]);
    stand.isDiskFull = true;
    await assertRejects(() => balancer.apply(declared(web), PRUNED), OperatorError, "the disk is full");
    assertEquals(balancer.service("web").list().map(({ state, open }) => [state, open]), [["removing", 2]]);
    stand.isDiskFull = false;
    await balancer.apply(declared(web), PRUNED);
    assertEquals(balancer.service("web").list().map(({ state, open }) => [state, open]), [["up", 2]]);
    for (const client of clients) assertEquals(await client.look(), "same");
  },

  async "what a plan says of random states is what happens to quiet clients, and exporting the result changes nothing"(kind) {
    await using servers = new Servers(4);
    await fc.assert(
      fc.asyncProperty(scenario, async ({ before, clients, after }) => {
        await using stand = await Stand.start(kind, before.map((one) => savedOf(one, servers.names)));
        const { balancer } = stand;
        const opened: Client[] = [];
        for (const [place, kind] of clients) {
          const { name, servers } = before[place];
          if (servers.some(({ draining }) => !draining)) opened.push(...await stand.open(name, kind));
        }
        await stand.quiet();
        const state = declared(...after.map((one) => {
          const listeners = before.some(({ name }) => name === one.name) ? stand.saved(one.name).listeners : [ANY_PORT];
          return { ...one, listeners, servers: serversOf(one, servers.names) };
        }));
        const planned = balancer.planDeclared(state, PRUNED);
        const watch = new Watch(balancer);
        const plan = await balancer.apply(state, PRUNED);
        assertEquals(plan ?? planned, planned);
        const foreseen = fortunesOf(planned);
        const { connections } = planned.totals;
        await until(() => watch.moved >= countOf(connections, LEAVING_NOW), "the moves");
        for (const client of opened) if (client.kind === "unanswered") await client.ask(); // those who wait for it can move then
        await until(() => watch.moved >= countOf(connections, LEAVING), "the moves of those who were answered");
        await watch.endDrains();
        assertEquals(watch.fortunes, foreseen);
        const became = await Promise.all(opened.map((client) => client.look()));
        const ended = Object.values(foreseen).reduce((sum, { ended }) => sum + ended, 0);
        assertEquals(became.filter((fate) => fate === "gone").length, ended, "the others are served");
        const text = formatDeclared({ services: balancer.state.services, daemon: {} });
        const again = await parseDeclared(new TextEncoder().encode(text));
        assert("state" in again, text);
        const { generation } = balancer;
        assertEquals(await balancer.apply(again.state, PRUNED), undefined, text);
        assertEquals(balancer.generation, generation);
      }),
      { numRuns: PROPERTY_RUNS },
    );
  },
};

for (const [name, kind] of Object.entries(ENGINES)) {
  const ignore = kind.unsupported() !== undefined;
  for (const [title, run] of Object.entries(CASES)) Deno.test({ name: `[${name}] ${title}`, ignore, fn: () => run(kind) });
}

const ENGINE = ENGINES.streams;

Deno.test("an apply for the generation of yesterday changes nothing", async () => {
  await using stand = await Stand.start(ENGINE, [service("web", {}, [])]);
  const { balancer } = stand;
  const [web, yesterday] = [stand.saved("web"), balancer.generation];
  await balancer.apply(declared({ ...web, servers: [{ server: "192.0.2.1:80" }] }), { ...PRUNED, ifGeneration: yesterday });
  const { kind, message } = await assertRejects(
    () => balancer.apply(declared(web), { ...PRUNED, ifGeneration: yesterday }),
    OperatorError,
  );
  assertEquals(kind, "conflict");
  assertStringIncludes(message, `it is at generation ${yesterday + 1}, not ${yesterday}`);
  assertEquals([balancer.generation, stand.saved("web").servers.length], [yesterday + 1, 1]);
});

Deno.test("of two applies at once the second sees the first, and of two for one generation the second is refused", async () => {
  await using stand = await Stand.start(ENGINE, [service("web", {}, [])]);
  const { balancer } = stand;
  const { generation } = balancer;
  const having = (...servers: string[]) => declared({ ...stand.saved("web"), servers: servers.map((server) => ({ server })) });
  const [one, two] = ["192.0.2.1:80", "192.0.2.2:80"];
  const plans = await Promise.all([having(one), having(two)].map((state) => balancer.apply(state, { ...PRUNED, prune: false })));
  assertEquals(plans.map((plan) => plan?.services[0].lines), [[`+ server ${one}`], [`+ server ${two}`]]);
  assertEquals([balancer.generation, stand.saved("web").servers.map(({ server }) => server)], [generation + 2, [one, two]]);
  const options = { ...PRUNED, ifGeneration: balancer.generation };
  const [first, second] = await Promise.allSettled([having(one), having(two)].map((state) => balancer.apply(state, options)));
  assertEquals([first.status, second.status], ["fulfilled", "rejected"]);
  assertEquals([balancer.generation, stand.saved("web").servers.map(({ server }) => server)], [generation + 3, [one]]);
});

Deno.test("undo returns to exactly what was before, and undone again to what was after", async () => {
  await using stand = await Stand.start(ENGINE, [
    service("web", { check: "off", "idle-timeout": "1h" }, ["192.0.2.1:80", "192.0.2.2:80"]),
    service("old", { check: "off" }, ["192.0.2.3:80"]),
  ]);
  const { balancer } = stand;
  const before = balancer.state.services;
  const fingerprints = () => balancer.services().map((service) => service.ring().fingerprint);
  const [ring, { generation }] = [fingerprints(), balancer];
  const state = declared(
    {
      ...stand.saved("web"),
      settings: { check: "off", redistribute: "idle" },
      servers: [{ server: "192.0.2.2:80", weight: 7, draining: true, proxy: "v2" }, { server: "192.0.2.4:80" }],
    },
    { ...stand.saved("old"), name: "new" }, // with the same listener
  );
  await balancer.apply(state, { ...PRUNED, file: "/etc/balancer.yaml", who: "somebody" });
  const after = balancer.state.services;
  assertNotEquals(after, before);
  await balancer.undo(undefined, {});
  assertEquals([balancer.state.services, fingerprints(), balancer.generation], [before, ring, generation + 2]);
  await balancer.undo(generation + 1, {});
  assertEquals(balancer.state.services, after);
  const history = await balancer.history();
  assertEquals(history.map(({ generation }) => generation), [3, 2, 1, 0].map((more) => generation + more));
  assertEquals(history.map(({ who, what }) => `${who}: ${what}`).slice(0, 3), [
    `balancer: undo: return to generation ${generation + 1}`,
    `balancer: undo: return to generation ${generation}`,
    "somebody: apply /etc/balancer.yaml",
  ]);
});

Deno.test("so many services are served, and no more, those that wait for their last clients included", async () => {
  await using servers = new Servers(1);
  const names = Array.from({ length: LIMITS.servicesMax - 1 }, (_, i) => `s${String(i).padStart(4, "0")}`);
  const deaf = names.map((name) => ({ name, settings: { check: "off" }, listeners: [], servers: [] }));
  await using stand = await Stand.start(ENGINE, [...deaf, service("web", IDLE, servers.names)]);
  const { balancer } = stand;
  const kept = declared(...balancer.state.services);
  const more = { name: "zz", settings: { check: "off" }, listeners: [ANY_PORT], servers: [] };
  const before = balancer.generation;
  await assertRejects(() => balancer.apply(declared(more), { ...PRUNED, prune: false }), OperatorError, String(LIMITS.servicesMax));
  await assertRejects(() => balancer.addService(more), OperatorError, String(LIMITS.servicesMax));
  const [client] = await stand.open("web", "busy");
  await balancer.removeService("web", 60_000);
  const { kind } = await assertRejects(() => balancer.addService(more), OperatorError, "still have connections");
  assertEquals([kind, balancer.generation], ["conflict", before + 1]);
  assertEquals(await client.look(), "same");
  client.close();
  await until(() => balancer.listServices().length === names.length, "the service to be forgotten");
  await balancer.addService(more);
  assertEquals(balancer.listServices().length, kept.services.length);
});
