// A difference says what changes and nothing else, and leads from one state to the other.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { parseDaemonConfig, parseServiceConfig } from "../../lib/values/config.ts";
import { completeServer, type DeclaredState } from "../../lib/values/declared_state.ts";
import { formatListener } from "../../lib/values/listener_text.ts";
import { applyDifference, differenceOf, formatDifference, isSame } from "../../lib/values/state_difference.ts";
import { validState } from "./declared_states.ts";

/** What a state means, whatever the order and the spelling: settings as values, everything sorted. */
function meaningOf({ services, daemon }: DeclaredState): unknown {
  const own = services.map(({ name, listeners, settings, servers }) => ({
    name,
    listeners: listeners.map(formatListener).toSorted(),
    config: parseServiceConfig(settings),
    servers: servers.map(completeServer).toSorted((a, b) => a.server < b.server ? -1 : 1),
  }));
  return { services: own.toSorted((a, b) => a.name < b.name ? -1 : 1), daemon: parseDaemonConfig(daemon) };
}

Deno.test("a difference with prune, applied to the first state, gives the second", () => {
  fc.assert(fc.property(validState, validState, (from, to) => {
    const reached = applyDifference(differenceOf(from, to, { prune: true }), from);
    assertEquals(meaningOf(reached), meaningOf(to));
  }));
});

Deno.test("a difference without prune gives all of the second state and keeps the rest of the first", () => {
  fc.assert(fc.property(validState, validState, (from, to) => {
    const difference = differenceOf(from, to, { prune: false });
    const reached = applyDifference(difference, from);
    assert(isSame(differenceOf(reached, to, { prune: false })), "it takes one step");
    for (const before of from.services) {
      const [said, after] = [to, reached].map(({ services }) => services.find(({ name }) => name === before.name));
      if (said === undefined) assertEquals(after, before);
      const listeners = after!.listeners.map(formatListener);
      for (const listener of before.listeners) assert(listeners.includes(formatListener(listener)));
      for (const server of before.servers.filter(({ server }) => said?.servers.every((other) => other.server !== server))) {
        assertEquals(after!.servers.find((other) => other.server === server.server), server);
      }
    }
    assertEquals(difference.services.filter(({ kind }) => kind === "removed"), []);
  }));
});

Deno.test("a state does not differ from itself, in whatever order, and then there is no line", () => {
  fc.assert(fc.property(validState, fc.boolean(), (state, prune) => {
    const turned = {
      ...state,
      services: state.services.toReversed().map((service) => ({
        ...service,
        servers: service.servers.toReversed(),
        listeners: service.listeners.toReversed(),
      })),
    };
    const difference = differenceOf(state, turned, { prune });
    assert(isSame(difference));
    assertEquals(formatDifference(difference), []);
  }));
});

Deno.test("a difference has a line for each thing that differs, and no line twice", () => {
  fc.assert(fc.property(validState, validState, (from, to) => {
    const difference = differenceOf(from, to, { prune: true });
    const count = difference.services.reduce((sum, change) => {
      if (change.kind === "removed") return sum + 1;
      if (change.kind === "added") return sum + 1 + change.service.listeners.length + change.service.servers.length;
      return sum + 1 + change.listenersAdded.length + change.listenersRemoved.length + change.servers.length;
    }, Math.min(1, difference.daemon.length));
    assertEquals(formatDifference(difference).length, count);
  }));
});

const FROM: DeclaredState = {
  services: [
    {
      name: "api",
      listeners: [{ address: "0.0.0.0", port: 80 }],
      settings: { redistribute: "new", "idle-timeout": "60s" },
      servers: [
        { server: "10.0.0.1:80", weight: 1, connectionsMax: null },
        { server: "10.0.0.2:80", weight: 1, connectionsMax: null, draining: true },
        { server: "10.0.0.3:80", weight: 1, connectionsMax: null },
      ],
    },
    { name: "old", listeners: [{ address: "::", port: 9000, lastPort: 9009 }], settings: {}, servers: [] },
  ],
  daemon: { "log-level": "debug", "access-log-start": "" },
};

const TO: DeclaredState = {
  services: [
    {
      name: "web",
      listeners: [{ address: "::1", port: 80 }],
      settings: { redistribute: "idle", "limits-dry-run": "", "client-rate": "5/1s", quiet: "250ms" },
      servers: [{ server: "10.0.0.9:80", weight: 2, draining: true }, { server: "10.0.0.8:80" }],
    },
    {
      name: "api",
      listeners: [{ address: "0.0.0.0", port: 81 }],
      settings: { redistribute: "idle", "idle-timeout": "1m" },
      servers: [{ server: "10.0.0.1:80", weight: 3, check: "http:/a" }, { server: "10.0.0.2:80" }, { server: "10.0.0.4:80" }],
    },
  ],
  daemon: { "access-log-start": "on" },
};

const ADDED = [
  "+ service web: redistribute idle, client-rate 5/1s, limits-dry-run on",
  "  + listener [::1]:80",
  "  + server 10.0.0.9:80: weight 2, drained",
  "  + server 10.0.0.8:80",
];

Deno.test("a difference with prune reads like a plan", () => {
  assertEquals(formatDifference(differenceOf(FROM, TO, { prune: true })), [
    ...ADDED,
    "~ service api: redistribute new → idle",
    "  + listener 0.0.0.0:81",
    "  - listener 0.0.0.0:80",
    "  ~ server 10.0.0.1:80: weight 1 → 3, check default → http:/a",
    "  ~ server 10.0.0.2:80: no longer drained",
    "  + server 10.0.0.4:80",
    "  - server 10.0.0.3:80",
    "- service old: [::]:9000-9009, 0 servers",
    "~ daemon: log-level debug → info",
  ]);
});

Deno.test("a difference without prune leaves alone what is not said", () => {
  assertEquals(formatDifference(differenceOf(FROM, TO, { prune: false })), [
    ...ADDED,
    "~ service api: redistribute new → idle",
    "  + listener 0.0.0.0:81",
    "  ~ server 10.0.0.1:80: weight 1 → 3, check default → http:/a",
    "  + server 10.0.0.4:80",
  ]);
});
