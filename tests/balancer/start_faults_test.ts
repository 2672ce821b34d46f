// What a service asks of the machine and cannot have: at a start it fails alone, at a change it is refused, and what was there
// before stands in the way of nothing else.

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { Balancer } from "../../lib/balancer/balancer.ts";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { streams } from "../../lib/engine/streams/engine.ts";
import { parseConfig } from "../../lib/values/config.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { DEFAULT_SERVICE, type SavedService } from "../../lib/values/saved_state.ts";
import { unusedAddress } from "../helpers.ts";

const ANY_PORT = { address: "127.0.0.1", port: 0 };
const OFF = { check: "off" };

/** An engine on a machine that has no address for `--source`. */
const WITHOUT_SOURCES: EngineKind = {
  ...streams,
  checkConfig({ sources }) {
    if (sources !== null) throw new OperatorError("failed", "Cannot connect from --source: it is not an address of this machine");
  },
};

function start(services: readonly SavedService[], engine: EngineKind = streams): Promise<Balancer> {
  const state = { generation: 0, services };
  return Balancer.start({ engine, config: parseConfig(), connectionsMax: 100, required: DEFAULT_SERVICE, state });
}

function service(name: string, given: Partial<SavedService> = {}): SavedService {
  return { name, listeners: [ANY_PORT], settings: OFF, servers: [], ...given };
}

Deno.test("a service with an address that could not be opened can be changed, which tries the address again", async () => {
  using blocker = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const taken = { address: "127.0.0.1", port: blocker.addr.port };
  await using balancer = await start([service(DEFAULT_SERVICE), service("web", { listeners: [taken, ANY_PORT] })]);
  const faults = () => balancer.service("web").view().listeners.map(({ fault }) => fault !== null);
  assertEquals(faults(), [true, false]);
  const server = await unusedAddress();
  const { server: name } = await balancer.addServer(balancer.service("web"), server);
  assertEquals((await balancer.changeServer(balancer.service("web"), name, { draining: true })).state, "draining");
  assertEquals((await balancer.setService("web", { quiet: "1s" })).settings.quiet, "1s");
  assertEquals(faults(), [true, false]);
  blocker.close();
  await balancer.setService("web", { quiet: "2s" });
  assertEquals(faults(), [false, false]);
});

Deno.test("what this machine does not allow is refused at a start and a change, and of another service only logged", async () => {
  const sources = { ...OFF, source: "192.0.2.1" };
  await assertRejects(() => start([service(DEFAULT_SERVICE, { settings: sources })], WITHOUT_SOURCES), OperatorError, "--source");
  await using balancer = await start([service(DEFAULT_SERVICE), service("web", { settings: sources })], WITHOUT_SOURCES);
  assertEquals((await balancer.setService("web", { quiet: "1s" })).settings.quiet, "1s"); // it is not what changes
  const { generation } = balancer;
  for (
    const change of [
      () => balancer.setService(DEFAULT_SERVICE, { source: "192.0.2.1" }),
      () => balancer.addService(service("api", { settings: sources })),
    ]
  ) {
    const { kind, message } = await assertRejects(change, OperatorError);
    assertEquals(kind, "failed");
    assertMatch(message, /not an address of this machine/);
  }
  assertEquals([balancer.generation, balancer.services().length], [generation, 2]);
});
