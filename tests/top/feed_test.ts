// What top asks of the daemon: only what is new, and all of it anew after a restart.

import { LONG_FIELDS } from "../../lib/top/window.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Answers } from "../../lib/control/api.ts";
import { Feed, type Source } from "../../lib/top/feed.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { NO_HOLD } from "../answers.ts";
import { connections, listedServer, NOW_MS, series, status } from "./fixture.ts";

const NOW_S = NOW_MS / 1000;
const NOTHING_MORE = { connections: undefined, connectionsMax: 0 };

/** A daemon that answers from memory, and what it was asked. */
class Daemon {
  startId = "a1b2c3";
  endS = NOW_S;
  events: Answers["events"]["events"] = [];
  servers = 6;
  isGone = false;
  readonly asked: string[] = [];

  sourceOf = (service: string | undefined): Source => ({
    status: () => {
      if (this.isGone) return Promise.reject(new OperatorError("notRunning", "No balancer runs"));
      return this.#answer("status", status({ servers: this.servers }));
    },
    list: () => {
      const servers = Array.from({ length: this.servers }, (_, i) => listedServer(`10.0.0.1:${i + 1}`));
      return this.#answer(`list ${service}`, { servers, ring: { fingerprint: "", points: 0, peakToMean: 1 }, hold: NO_HOLD });
    },
    events: (query) => {
      const events = this.events.filter(({ number }) => number > Number(query.after ?? 0));
      const last = this.events.length;
      return this.#answer(`events ${JSON.stringify(query)}`, { startId: this.startId, first: Math.min(1, last), last, events });
    },
    series: ({ after, seconds, fields }) => {
      const whole = { ...series({ servers: this.servers }), startId: this.startId };
      const steps = after === undefined ? Number(seconds) : this.endS - Number(after) - 1;
      const from = this.endS - steps;
      const servers = fields === LONG_FIELDS.join(",")
        ? []
        : whole.servers.map((one) => ({ ...one, open: one.open?.slice(-steps) }));
      return this.#answer(`series ${after === undefined ? seconds : "after"}`, { ...whole, from, steps, servers, flows: [] });
    },
    connections: ({ sort }) => this.#answer(`connections ${sort}`, connections()),
  });

  happen(kind: Answers["events"]["events"][number]["kind"]): void {
    const number = this.events.length + 1;
    const rest = { level: "info", service: null, server: null, who: null, text: `event ${number}` } as const;
    this.events = [...this.events, { number, at: new Date(NOW_MS).toISOString(), kind, ...rest }];
  }

  /** What was asked since the last time. */
  take(): string[] {
    return this.asked.splice(0);
  }

  #answer<T>(asked: string, answer: T): Promise<T> {
    this.asked.push(asked);
    return Promise.resolve(answer);
  }
}

Deno.test("the first reading asks for the past, the next ones for what is new", async () => {
  const daemon = new Daemon();
  daemon.happen("daemon");
  const feed = new Feed(daemon.sourceOf, undefined);
  const first = await feed.read(NOTHING_MORE, NOW_MS);
  assertEquals(daemon.take(), ["status", 'events {"since":"900s","limit":"500"}', "series 900", "series 60", "list default"]);
  assertEquals([first.events.length, first.window.endS, first.connections], [1, NOW_S, null]);
  daemon.endS += 2;
  daemon.happen("server");
  const second = await feed.read(NOTHING_MORE, NOW_MS + 2000);
  assertEquals(daemon.take(), ["status", 'events {"after":"1","limit":"500"}', "series after", "list default"]);
  assertEquals([second.events.map(({ number }) => number), second.window.endS], [[1, 2], NOW_S + 2]);
});

Deno.test("after a restart of the daemon all begins anew", async () => {
  const daemon = new Daemon();
  daemon.happen("daemon");
  daemon.happen("server");
  const feed = new Feed(daemon.sourceOf, undefined);
  const { window: before } = await feed.read(NOTHING_MORE, NOW_MS);
  daemon.isGone = true;
  await assertRejects(() => feed.read(NOTHING_MORE, NOW_MS + 1000), OperatorError, "No balancer runs");
  Object.assign(daemon, { isGone: false, startId: "another", endS: NOW_S + 30, events: [] });
  daemon.happen("daemon");
  const { events, window } = await feed.read(NOTHING_MORE, NOW_MS + 30_000);
  assertEquals(events.map(({ number }) => number), [1]);
  assertEquals([window.startId, window.endS, window === before], ["another", NOW_S + 30, false]);
});

Deno.test("a long list of servers is asked for now and then, and at once after an event that changes it", async () => {
  const daemon = new Daemon();
  daemon.servers = 300;
  const feed = new Feed(daemon.sourceOf, undefined);
  const lists = async (atMs: number) => {
    const { isListFresh } = await feed.read(NOTHING_MORE, NOW_MS + atMs);
    assertEquals(isListFresh, daemon.asked.includes("list default"));
    return daemon.take().filter((asked) => asked === "list default").length;
  };
  assertEquals([await lists(0), await lists(1000), await lists(4000), await lists(5000), await lists(6000)], [1, 0, 0, 1, 0]);
  await feed.read(NOTHING_MORE, NOW_MS + 7000);
  assertEquals(daemon.take().filter((asked) => asked.startsWith("series")), ["series after"]); // 3 s after the last one
  await feed.read(NOTHING_MORE, NOW_MS + 8000);
  assertEquals(daemon.take().map((asked) => asked.split(" ")[0]), ["status", "events"]);
  daemon.happen("limit");
  assertEquals(await lists(9000), 0);
  daemon.happen("server");
  assertEquals(await lists(9500), 1);
});

Deno.test("connections are asked for only where they are shown and not too many", async () => {
  const daemon = new Daemon();
  const feed = new Feed(daemon.sourceOf, undefined);
  const { open } = status().connections;
  const shown = async (connectionsMax: number) =>
    (await feed.read({ connections: "bytes", connectionsMax }, NOW_MS)).connections !== null;
  assertEquals([await shown(open - 1), await shown(open)], [false, true]);
  assert(daemon.asked.includes("connections bytes"));
});

Deno.test("--service shows one service alone", async () => {
  const daemon = new Daemon();
  const { pools, status } = await new Feed(daemon.sourceOf, "default").read(NOTHING_MORE, NOW_MS);
  assertEquals([pools.map(({ service }) => service), status.services.length], [["default"], 1]);
  const none = await new Feed(daemon.sourceOf, "nobody").read(NOTHING_MORE, NOW_MS);
  assertEquals([none.pools, none.status.services], [[], []]);
});
