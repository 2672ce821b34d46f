// Services that share an address: clients get the one whose names they ask for, while services come, change and go.

import { assertEquals, assertRejects } from "@std/assert";
import { Balancer } from "../../lib/balancer/balancer.ts";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { type Address, formatAddress } from "../../lib/values/address.ts";
import { parseConfig } from "../../lib/values/config.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import type { SavedService } from "../../lib/values/saved_state.ts";
import { connect, readText, soon, startServer, type TestServer, unusedAddress, writeAll } from "../helpers.ts";
import { GOLDEN_HELLOS } from "../values/hello_golden.ts";
import { until } from "../raw_socket.ts";

/** Hellos of real clients: one that asks for api.example.com, one that asks for no name. */
const NAMED = GOLDEN_HELLOS.find(({ name }) => name === "api.example.com")!.bytes;
const NAMELESS = GOLDEN_HELLOS.find(({ name }) => name === undefined)!.bytes;

/** A server that says its name once it has been told all of the hello. */
function named(name: string, hello: Uint8Array): TestServer {
  return startServer(async (socket) => {
    const buffer = new Uint8Array(64 * 1024);
    for (let got = 0; got < hello.length;) got += await socket.read(buffer) ?? hello.length;
    await writeAll(socket, new TextEncoder().encode(name));
  });
}

/** What a client that begins with these bytes is told. */
async function say(address: Address, hello: Uint8Array): Promise<string> {
  using client = await connect(address);
  try {
    await writeAll(client, hello);
    return await soon(readText(client), "an answer");
  } catch {
    return "";
  }
}

function service(name: string, { host: address, port }: Address, server: TestServer, sni?: string): SavedService {
  const settings = { check: "off", ...(sni === undefined ? {} : { sni }) };
  const servers = [{ server: formatAddress(server.address), weight: 1, connectionsMax: null }];
  return { name, listeners: [{ address, port }], settings, servers };
}

async function start(engine: EngineKind, services: readonly SavedService[]): Promise<Balancer> {
  const config = parseConfig({ workers: "1" });
  return await Balancer.start({ engine, config, connectionsMax: 1000, state: { generation: 0, services } });
}

const CASES: Readonly<Record<string, (engine: EngineKind) => Promise<void>>> = {
  async "services share an address, and each client gets the one that has its name"(engine) {
    await using api = named("api", NAMED);
    await using web = named("web", NAMELESS);
    const address = unusedAddress();
    await using balancer = await start(engine, [service("api", address, api, "*.example.com"), service("web", address, web)]);
    assertEquals([await say(address, NAMED), await say(address, NAMELESS)], ["api", "web"]);
    await until(() => balancer.counters.get("open") === 0, "the ends");
    assertEquals(balancer.listServices().map(({ service, accepted }) => [service, accepted]), [["api", 1], ["web", 1]]);
  },

  async "a service joins an address that another one has, changes its names, and leaves it"(engine) {
    await using api = named("api", NAMED);
    await using web = named("web", NAMED);
    const address = unusedAddress();
    await using balancer = await start(engine, [service("web", address, web)]);
    assertEquals(await say(address, NAMED), "web");
    await balancer.addService(service("api", address, api, "api.example.com"));
    assertEquals(await say(address, NAMED), "api");
    await balancer.setService("api", { sni: "other.example.com" });
    assertEquals(await say(address, NAMED), "web");
    await balancer.setService("api", { sni: "api.example.com" });
    assertEquals(await say(address, NAMED), "api");
    await balancer.removeService("api", 0);
    assertEquals(await say(address, NAMED), "web");
    await until(() => balancer.listServices().length === 1, "the service to be gone");
    assertEquals(await say(address, NAMED), "web");
  },

  async "a client whose name no service has is refused, and counted"(engine) {
    await using api = named("api", NAMED);
    const address = unusedAddress();
    await using balancer = await start(engine, [service("api", address, api, "other.example.com")]);
    assertEquals(await say(address, NAMED), "\x15\x03\x03\x00\x02\x02\x70", "the alert unrecognized_name (RFC 6066)");
    await until(() => balancer.counters.get("no_service") === 1, "the refusal");
    await until(() => balancer.recent({ limit: 1 }).ends.at(0)?.fate === "no_service", "the report of it");
  },

  async "two services for the same clients of an address are refused, and nothing changes"(engine) {
    await using api = named("api", NAMED);
    await using web = named("web", NAMED);
    const address = unusedAddress();
    const first = service("api", address, api, "api.example.com");
    await using balancer = await start(engine, [first]);
    const before = balancer.state;
    const same = await assertRejects(() => balancer.addService(service("web", address, web, "api.example.com")), OperatorError);
    assertEquals([same.kind, same.message], [
      "conflict",
      `Services "api" and "web" are both for api.example.com on ${formatAddress(address)}; ` +
      "give one of them other names (--sni) or protocols (--alpn), or another address",
    ]);
    await balancer.addService(service("web", address, web));
    await assertRejects(() => balancer.setService("api", { sni: "default" }), OperatorError, "whose name no other service has");
    assertEquals(await say(address, NAMED), "api");
    await balancer.removeService("web", 0);
    assertEquals(balancer.state.services, before.services);
  },
};
for (const [name, engine] of Object.entries(ENGINES)) {
  const ignore = engine.unsupported() !== undefined;
  for (const [title, run] of Object.entries(CASES)) Deno.test({ name: `[${name}] ${title}`, ignore, fn: () => run(engine) });
}
