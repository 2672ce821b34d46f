// Changes of a state: what follows from each, what stays the same object, and what is refused.

import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { parseAddress } from "../../lib/values/address.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { LIMITS } from "../../lib/values/config.ts";
import { parseListenerText } from "../../lib/values/listener_text.ts";
import type { SavedService, SavedState } from "../../lib/values/saved_state.ts";
import {
  withChangedServer,
  withDaemon,
  withListener,
  withNewService,
  withoutListener,
  withoutServer,
  withoutService,
  withServer,
  withService,
  withSettings,
  withStart,
} from "../../lib/balancer/state_changes.ts";

function service(name: string, listeners: string[], servers: string[] = []): SavedService {
  return {
    name,
    listeners: listeners.map((text) => parseListenerText(text)),
    settings: {},
    servers: servers.map((server) => ({ server, weight: 1, connectionsMax: null })),
  };
}

const STATE: SavedState = {
  generation: 7,
  services: [service("api", ["0.0.0.0:81"], ["10.0.0.1:81"]), service("web", ["0.0.0.0:80", "[::1]:80"], ["10.0.0.1:80"])],
};

Deno.test("a change of one service leaves the others as they are", () => {
  const after = withService(STATE, "web", withServer(parseAddress("10.0.0.2:80"), { weight: 3 }));
  assertStrictEquals(after.services[0], STATE.services[0]);
  assertEquals(after.services[1].servers.map(({ server, weight }) => [server, weight]), [["10.0.0.1:80", 1], ["10.0.0.2:80", 3]]);
  assertEquals(STATE.services[1].servers.length, 1);
});

Deno.test("servers stay in the order of their names", () => {
  const added = withServer(parseAddress("10.0.0.0:80"), {})(STATE.services[1]);
  assertEquals(added.servers.map(({ server }) => server), ["10.0.0.0:80", "10.0.0.1:80"]);
  assertEquals(withoutServer("10.0.0.1:80")(added).servers.map(({ server }) => server), ["10.0.0.0:80"]);
});

Deno.test("a server keeps what is not changed, and is saved without what is the default", () => {
  const drained = withChangedServer("10.0.0.1:80", { draining: true, proxy: "v2" })(STATE.services[1]);
  assertEquals(drained.servers, [{ server: "10.0.0.1:80", weight: 1, connectionsMax: null, proxy: "v2", draining: true }]);
  const back = withChangedServer("10.0.0.1:80", { draining: false, proxy: null, weight: 2 })(drained);
  assertEquals(back.servers, [{ server: "10.0.0.1:80", weight: 2, connectionsMax: null }]);
});

Deno.test("settings replace earlier ones, and default takes one back", () => {
  const set = withSettings({ redistribute: "idle", quiet: "1s" })(STATE.services[0]);
  assertEquals(set.settings, { quiet: "1s", redistribute: "idle" });
  assertEquals(withSettings({ quiet: "default", fall: "5" })(set).settings, { fall: "5", redistribute: "idle" });
});

Deno.test("services stay in the order of their names", () => {
  const after = withNewService(STATE, service("db", ["127.0.0.1:5432"]));
  assertEquals(after.services.map(({ name }) => name), ["api", "db", "web"]);
  assertEquals(withoutService(after, "api").services.map(({ name }) => name), ["db", "web"]);
});

Deno.test("a listener is added to and taken from a service", () => {
  const after = withListener(STATE, "api", parseListenerText("[::1]:9000-9009"));
  assertEquals(after.services[0].listeners.map(({ port }) => port), [81, 9000]);
  assertEquals(withoutListener(after, "api", parseListenerText("0.0.0.0:81")).services[0].listeners.map(({ port }) => port), [
    9000,
  ]);
});

Deno.test("a start replaces the first address of service default, and keeps the rest", () => {
  const first = withStart({ generation: 0, services: [] }, parseListenerText("127.0.0.1:80"), { quiet: "1s" });
  assertEquals([first.generation, first.services[0].name], [1, "default"]);
  const more = withListener(first, "default", parseListenerText("127.0.0.1:81"));
  const again = withStart(more, parseListenerText("127.0.0.1:90"), { fall: "5" });
  assertEquals(again.services[0].listeners.map(({ port }) => port), [90, 81]);
  assertEquals(again.services[0].settings, { fall: "5", quiet: "1s" });
  assertStrictEquals(withStart(again, parseListenerText("127.0.0.1:90"), { fall: "5" }), again);
  assertStrictEquals(withStart(again, undefined, {}), again);
  assertEquals(withStart(more, parseListenerText("127.0.0.1:81"), {}).services[0].listeners.map(({ port }) => port), [81]);
});

Deno.test("a start keeps settings of the daemon, too, and changes those that it gives", () => {
  const at = parseListenerText("127.0.0.1:80");
  const first = withStart({ generation: 0, services: [] }, at, {}, { workers: "7", "log-level": "debug" });
  assertEquals([first.generation, first.daemon], [1, { "log-level": "debug", workers: "7" }]);
  assertStrictEquals(withStart(first, at, {}, { workers: "7" }), first);
  assertStrictEquals(withStart(first, undefined, {}, {}), first);
  const again = withStart(first, undefined, {}, { workers: "8" });
  assertEquals([again.generation, again.daemon, again.services], [2, { "log-level": "debug", workers: "8" }, first.services]);
  assertEquals(withStart(first, parseListenerText("127.0.0.1:81"), {}, { workers: "8" }).generation, 2, "one change");
});

Deno.test("settings of the daemon change, and go back to their defaults", () => {
  const changed = withDaemon({ ...STATE, daemon: { workers: "7" } }, { "max-connections": "9", http: "[::1]:9" });
  assertEquals(changed.daemon, { http: "[::1]:9", "max-connections": "9", workers: "7" });
  assertEquals(withDaemon(changed, { http: "default", workers: "7" }).daemon, { "max-connections": "9", workers: "7" });
});

const REFUSED: Readonly<Record<string, readonly [change: () => unknown, kind: string, says: string]>> = {
  "another engine while it runs": [
    () => withDaemon(STATE, { engine: "streams" }),
    "conflict",
    "Cannot change --engine from auto to streams while the balancer runs; that takes a restart: balancerctl stop, then " +
    "balancerctl start --engine streams",
  ],
  "the default number of workers in place of another": [
    () => withDaemon({ ...STATE, daemon: { workers: "64" } }, { workers: "default" }),
    "conflict",
    "Cannot change --workers from 64 to auto while the balancer runs",
  ],
  "a server twice": [
    () => withServer(parseAddress("10.0.0.1:80"), {})(STATE.services[1]),
    "conflict",
    'Cannot add server "10.0.0.1:80": it is already in the pool',
  ],
  "a server with too few ports for a range": [
    () => withServer(parseAddress("10.0.0.9:65530"), {})(service("web", ["127.0.0.1:82-90"])),
    "conflict",
    'Cannot add server "10.0.0.9:65530": server 10.0.0.9:65530 would need ports up to 65538 for listener 127.0.0.1:82-90',
  ],
  "a range that a server has too few ports for": [
    () =>
      withListener(
        { generation: 0, services: [service("web", ["127.0.0.1:80"], ["10.0.0.9:65530"])] },
        "web",
        parseListenerText("127.0.0.1:82-90"),
      ),
    "conflict",
    "Cannot listen on 127.0.0.1:82-90: server 10.0.0.9:65530 would need ports up to 65538",
  ],
  "a service twice": [
    () => withNewService(STATE, service("web", ["127.0.0.1:1"])),
    "conflict",
    "change it with balancerctl service set",
  ],
  "more services than the limit": [
    () =>
      withNewService(
        { generation: 0, services: Array.from({ length: LIMITS.servicesMax }, (_, i) => service(`s${i}`, [])) },
        service("x", []),
      ),
    "conflict",
    `its limit of ${LIMITS.servicesMax} services`,
  ],
  "an address of another service": [
    () => withNewService(STATE, service("db", ["127.0.0.1:80"])),
    "conflict",
    'service "web" listens on 0.0.0.0:80; choose another port',
  ],
  "an address twice": [
    () => withNewService(STATE, service("db", ["127.0.0.1:82-90", "127.0.0.1:85"])),
    "conflict",
    "another address of the same service listens on 127.0.0.1:82-90",
  ],
  "a service that is not there": [
    () => withService(STATE, "wbe", (service) => service),
    "unknown",
    'there is none with this name; did you mean "web"?',
  ],
  "the last service": [
    () => withoutService({ generation: 0, services: [STATE.services[0]] }, "api"),
    "conflict",
    "it is the last one; stop the balancer",
  ],
  "the last address": [
    () => withoutListener(STATE, "api", parseListenerText("0.0.0.0:81")),
    "conflict",
    "it is the last address of the service",
  ],
  "an address that the service does not have": [
    () => withoutListener(STATE, "web", parseListenerText("0.0.0.0:8")),
    "unknown",
    'Service "web" does not listen on 0.0.0.0:8',
  ],
  "a start without services and address": [
    () => withStart({ generation: 0, services: [] }, undefined, {}),
    "usage",
    "give an address and a port",
  ],
  "a start on an address of another service": [
    () => withStart(STATE, parseListenerText("127.0.0.1:80"), {}),
    "conflict",
    'service "web" listens on 0.0.0.0:80',
  ],
};
for (const [what, [change, kind, says]] of Object.entries(REFUSED)) {
  Deno.test(`${what} is refused`, () => {
    const error = assertThrows(change, OperatorError, says);
    assertEquals(error.kind, kind);
  });
}
