// What differs between two looks: enough to make the later one of the earlier one, and no more.

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Answers } from "../../lib/control/api.ts";
import { changesBetween, type Look, pictureOf } from "../../lib/dashboard/live_changes.ts";
import { serverAnswer, STARTED_AT } from "../answers.ts";
import { shownServer } from "./dashboards.ts";

type Pools = Readonly<Record<string, Readonly<Record<string, number>>>>;

/** Services with servers with open connections. */
function look(pools: Pools, generation = 1): Look {
  const servers = Object.entries(pools).map(([service, pool]) => ({
    service,
    servers: Object.entries(pool).map(([server, open]) => shownServer(server, open)),
    ring: { fingerprint: Object.keys(pool).join(), points: Object.keys(pool).length, peakToMean: 1 },
  }));
  return { status: { generation } as Answers["status"], servers };
}

function changes(before: Look, after: Look) {
  return changesBetween(pictureOf(before), pictureOf(after));
}

/** What somebody knows who knew `before` and is told the changes. */
function told(before: Look, { status = before.status, servers, gone }: ReturnType<typeof changes>): unknown {
  const known = new Map(before.servers.map(({ service, servers, ring }) => [service, { servers: byName(servers), ring }]));
  for (const service of gone) known.delete(service);
  for (const { service, servers: changed, gone, ring } of servers) {
    const list = known.get(service) ?? { servers: new Map(), ring: undefined };
    for (const server of gone) list.servers.delete(server);
    for (const change of changed) {
      const server = list.servers.get(change.server);
      list.servers.set(change.server, { ...server, ...change, fates: { ...server?.fates, ...change.fates } } as Answers["server"]);
    }
    known.set(service, { servers: list.servers, ring: ring ?? list.ring! });
  }
  return { status, known: sorted(known) };
}

function byName(servers: readonly Answers["server"][]): Map<string, Answers["server"]> {
  return new Map(servers.map((server) => [server.server, server]));
}

function sorted(known: Map<string, { servers: Map<string, unknown>; ring: unknown }>): unknown {
  return [...known].toSorted().map(([service, { servers, ring }]) => [service, [...servers].toSorted(), ring]);
}

Deno.test("where nothing differs, nothing is said", () => {
  assertEquals(changes(look({ web: { a: 1 } }), look({ web: { a: 1 } })), { servers: [], gone: [] });
});

Deno.test("only the server that differs is said; the ring as well if it is another one", () => {
  const busier = changes(look({ web: { a: 1, b: 1 }, db: { c: 1 } }), look({ web: { a: 1, b: 2 }, db: { c: 1 } }, 2));
  assertEquals(busier, {
    status: look({}, 2).status,
    servers: [{ service: "web", servers: [{ server: "b", open: 2 }], gone: [] }],
    gone: [],
  });
  const removed = changes(look({ web: { a: 1, b: 1 } }), look({ web: { a: 1 } }));
  assertEquals(removed.servers, [{
    service: "web",
    servers: [],
    gone: ["b"],
    ring: { fingerprint: "a", points: 1, peakToMean: 1 },
  }]);
});

Deno.test("of a server that differs, only the fields and the fates that differ are said", () => {
  const server = serverAnswer({ server: "a", open: 1 });
  const fates = { ...server.fates, done: 3 };
  const of = (server: Answers["server"]): Look => ({
    ...look({}),
    servers: [{ ...look({ web: {} }).servers[0], servers: [server] }],
  });
  const lastFailure = { at: STARTED_AT, reason: "refused" };
  const said = changes(of(server), of({ ...server, open: 2, lastFailure, fates })).servers[0].servers;
  assertEquals(said, [{ server: "a", open: 2, lastFailure, fates: { done: 3 } }]);
  assertEquals(changes(of({ ...server, lastFailure }), of({ ...server, lastFailure: { ...lastFailure } })).servers, []);
});

Deno.test("who is told every change knows what there is", () => {
  const names = fc.constantFrom("a", "b", "constructor", "__proto_");
  const pools: fc.Arbitrary<Pools> = fc.dictionary(names, fc.dictionary(names, fc.nat(2)));
  fc.assert(fc.property(pools, pools, fc.nat(1), (one, other, generation) => {
    const [before, after] = [look(one), look(other, generation)];
    assertEquals(told(before, changes(before, after)), told(after, { servers: [], gone: [] }));
  }));
});
