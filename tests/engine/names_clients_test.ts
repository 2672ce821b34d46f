// Real clients of TLS reach the server that they name, through an engine that does not end TLS: OpenSSL, curl and the runtime's.

import { assertEquals, assertMatch } from "@std/assert";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { allocateClients } from "../../lib/observe/client_table.ts";
import { allocateCounters, Counters } from "../../lib/observe/counters.ts";
import { allocateAvailabilities, AvailabilityTable } from "../../lib/routing/availability.ts";
import { compileNameRoutes } from "../../lib/routing/name_routes.ts";
import { emptyTable, nextTable } from "../../lib/routing/routing_table.ts";
import { type Address, parseKeyRule } from "../../lib/values/address.ts";
import { parseConfig } from "../../lib/values/config.ts";
import { CA, SERVER } from "../certificates.ts";
import { assertFatesAddUp, connect, readText, soon, tableServer, writeText } from "../helpers.ts";
import { outcomeOf } from "../programs.ts";
import { until } from "../raw_socket.ts";

/** A server of TLS that answers an HTTP request with its name and the protocol that was agreed on. */
function startTlsServer(name: string): { readonly address: Address } & AsyncDisposable {
  const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...SERVER, alpnProtocols: ["http/1.1", "postgresql"] });
  const serving = (async () => {
    for (;;) {
      const socket = await listener.accept().catch(() => undefined);
      if (socket === undefined) return;
      void answer(socket, name).catch(() => {});
    }
  })();
  return {
    address: { host: "127.0.0.1", port: listener.addr.port },
    async [Symbol.asyncDispose]() {
      listener.close();
      await serving;
    },
  };
}

async function answer(socket: Deno.TlsConn, name: string): Promise<void> {
  using _socket = socket;
  const { alpnProtocol } = await socket.handshake();
  await socket.read(new Uint8Array(1000));
  const body = `${name} ${alpnProtocol ?? "-"}`;
  await writeText(socket, `HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  await socket.closeWrite();
  await socket.read(new Uint8Array(1000)); // the client's end, or closing could destroy the answer
}

/** What a client is answered that asks for this name and offers these protocols; nothing if it got no connection. */
type Ask = (address: Address, name: string, alpn: readonly string[]) => Promise<string>;

interface Client {
  readonly name: string;
  /** The program that it needs. */
  readonly program?: string;
  readonly ask: Ask;
}

const CLIENTS: readonly Client[] = [
  {
    name: "the runtime's own client",
    async ask(address, hostname, alpn) {
      const options = { hostname, caCerts: [CA], alpnProtocols: [...alpn], unsafelyDisableHostnameVerification: true };
      try {
        using tls = await Deno.startTls(await connect(address), options);
        await writeText(tls, "GET / HTTP/1.1\r\n\r\n");
        return await readText(tls);
      } catch {
        return "";
      }
    },
  },
  {
    name: "openssl s_client",
    program: "openssl",
    async ask({ host, port }, name, alpn) {
      const protocols = alpn.length === 0 ? [] : ["-alpn", alpn.join(",")];
      const args = ["s_client", "-quiet", "-no_ign_eof", "-connect", `${host}:${port}`, "-servername", name, ...protocols];
      const child = new Deno.Command("openssl", { args, stdin: "piped", stdout: "piped", stderr: "null" }).spawn();
      const input = child.stdin.getWriter();
      await input.write(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n")).catch(() => {});
      const answer = await soon(new Response(child.stdout).text(), "the answer");
      await input.close().catch(() => {});
      await child.status;
      return answer;
    },
  },
  {
    name: "curl",
    program: "curl",
    async ask({ host, port }, name, alpn) {
      const resolve = ["--connect-to", `${name}:443:${host}:${port}`, "--noproxy", "*"];
      const args = [
        "-sk",
        "--max-time",
        "20",
        ...resolve,
        ...(alpn.length === 0 ? ["--no-alpn"] : ["--http1.1"]),
        `https://${name}/`,
      ];
      return (await outcomeOf(new Deno.Command("curl", { args, stdin: "null" }))).stdout;
    },
  },
];

function isMissing(program: string | undefined): boolean {
  try {
    if (program !== undefined) {
      new Deno.Command(program, { args: ["--version"], stdin: "null", stdout: "null", stderr: "null" }).outputSync();
    }
    return false;
  } catch {
    return true;
  }
}

async function reachTheirServers(kind: EngineKind, ask: Ask): Promise<void> {
  await using db = startTlsServer("db");
  await using web = startTlsServer("web");
  await using wild = startTlsServer("wild");
  const config = { ...parseConfig({ workers: "1" }), connectionsMax: 100 };
  const counters = new Counters(allocateCounters(kind.threads(config), 100));
  const listener = kind.listen({ host: "127.0.0.1", port: 0 }, config);
  const claims = [
    { service: 0, title: "db", names: ["db.example"], protocols: [] },
    { service: 1, title: "web", names: ["db.example"], protocols: ["http/1.1"] },
    { service: 2, title: "wild", names: ["*.db.example"], protocols: [] },
  ];
  const routes = compileNameRoutes(claims, "the address")!;
  const table = (server: Address) => nextTable(emptyTable(parseKeyRule("ip"), Infinity), [tableServer(server, 0)]);
  const services = [db, web, wild].map(({ address }) => ({ table: table(address), config }));
  {
    await using _engine = kind.create({
      startId: "00000000000000ff",
      publication: { services, listeners: [{ listener, service: 0, routes, portOffset: 0 }] },
      config,
      counters,
      clients: allocateClients(1, 1024),
      availabilities: new AvailabilityTable(allocateAvailabilities(counters.slots)),
      onEnded: () => {},
      onMoved: () => {},
      onServerFailed: () => {},
      onServerEmpty: () => {},
    });
    assertMatch(await ask(listener.address, "db.example", []), /db -$/);
    assertMatch(await ask(listener.address, "db.example", ["http/1.1"]), /web http\/1\.1$/);
    assertMatch(await ask(listener.address, "a.db.example", ["http/1.1"]), /wild http\/1\.1$/);
    assertEquals(await ask(listener.address, "other.example", []), "");
    assertEquals([0, 1, 2].map((service) => counters.getOfService(service, "serviceAccepted")), [1, 1, 1]);
    await until(() => counters.get("no_service") === 1, "the end to be counted");
  }
  assertFatesAddUp(counters);
}

for (const [engine, kind] of Object.entries(ENGINES)) {
  for (const { name, program, ask } of CLIENTS) {
    Deno.test({
      name: `[${engine}] ${name} reaches the server that it names`,
      ignore: kind.unsupported() !== undefined || isMissing(program),
      fn: () => reachTheirServers(kind, ask),
    });
  }
}
