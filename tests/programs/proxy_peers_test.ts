// HAProxy and nginx as peers of the PROXY protocol, with their own logs and answers as the witness: HAProxy in front of the
// balancer and nginx behind it, HAProxy behind it, and the log of a second server after the first was killed.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Address, formatAddress } from "../../lib/values/address.ts";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { Random } from "../../tools/random.ts";
import { quietPorts } from "../../tools/lost/server_process.ts";
import { connect, soon, writeText } from "../helpers.ts";
import { turn, until } from "../raw_socket.ts";
import { needing } from "../tools.ts";
import { type OneService, startBalancer } from "../one_service.ts";

const random = new Random(Date.now());

/** A program in the foreground, which is ended with the stage. */
class Peer implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;

  constructor(program: string, args: readonly string[]) {
    const env = { PATH: `${Deno.env.get("PATH")}:/usr/sbin:/sbin` };
    this.#process = new Deno.Command(program, { args: [...args], env, stdin: "null", stdout: "null", stderr: "null" }).spawn();
  }

  async kill(signal: Deno.Signal = "SIGKILL"): Promise<void> {
    try {
      this.#process.kill(signal);
    } catch { /* it has ended */ }
    await this.#process.status;
  }

  /** nginx ends its worker processes only when it is asked to. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill("SIGTERM");
  }
}

/** A folder for one case, and the programs started in it. */
class Stage implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();

  private constructor(readonly folder: string) {
    this.#stack.defer(() => Deno.remove(folder, { recursive: true }));
  }

  static async open(): Promise<Stage> {
    return new Stage(await Deno.makeTempDir({ prefix: "balancer_proxy_" }));
  }

  /** nginx that requires a PROXY header, answers with the client's address, and logs it to `<name>.log`. */
  async nginx(name: string): Promise<{ address: Address; log: string; peer: Peer }> {
    const [port] = await quietPorts(1, random);
    const log = `${this.folder}/${name}.log`;
    const configuration = `${this.folder}/${name}.conf`;
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((what) =>
      `${what}_temp_path ${this.folder}/${what};`
    );
    await Deno.writeTextFile(
      configuration,
      `daemon off; master_process off; pid ${this.folder}/${name}.pid; error_log ${this.folder}/${name}.errors;
events {}
http {
  ${temporary.join(" ")}
  log_format one '$proxy_protocol_addr:$proxy_protocol_port to '
    '$proxy_protocol_server_addr:$proxy_protocol_server_port $request_uri';
  access_log ${log} one;
  server {
    listen 127.0.0.1:${port} proxy_protocol;
    location / { return 200 "${name} $proxy_protocol_addr"; }
  }
}
`,
    );
    const peer = this.#stack.use(
      new Peer("nginx", ["-p", this.folder, "-e", `${this.folder}/${name}.errors`, "-c", configuration]),
    );
    return { address: await listening(port), log, peer };
  }

  /** HAProxy with one listener, whose lines are given. */
  async haproxy(name: string, lines: readonly string[], bindOptions = ""): Promise<Address> {
    const [port] = await quietPorts(1, random);
    const configuration = `${this.folder}/${name}.cfg`;
    const defaults = "defaults\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n";
    await Deno.writeTextFile(
      configuration,
      `${defaults}listen one\n  bind 127.0.0.1:${port} ${bindOptions}\n  ${lines.join("\n  ")}\n`,
    );
    this.#stack.use(new Peer("haproxy", ["-db", "-f", configuration]));
    return await listening(port);
  }

  async balancer(engine: EngineKind, flags: Record<string, string>, servers: readonly Address[]): Promise<OneService> {
    const saved = servers.map((server) => ({ server: formatAddress(server), weight: 1, connectionsMax: null }));
    return this.#stack.use(await startBalancer({ engine, flags, servers: saved }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** The address, once somebody listens there. */
async function listening(port: number): Promise<Address> {
  const address = { host: "127.0.0.1", port };
  const isThere = () => connect(address).then((socket) => (socket.close(), true), () => false);
  for (let tries = 0; !await isThere(); tries++) {
    assert(tries < 2000, "no program listens");
    await turn(5);
  }
  return address;
}

/** The answer to a request on a connection that stays open: all of it, as its length says. */
async function get(client: Deno.TcpConn, path: string): Promise<string> {
  await writeText(client, `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(4096);
  let text = "";
  for (;;) {
    const count = await soon(client.read(buffer), "an answer");
    assert(count !== null, `the connection ended after ${JSON.stringify(text)}`);
    text += decoder.decode(buffer.subarray(0, count));
    const [, length] = text.match(/content-length: ([0-9]+)/i) ?? [];
    const start = text.indexOf("\r\n\r\n") + 4;
    if (length !== undefined && start >= 4 && text.length >= start + Number(length)) return text.slice(start);
  }
}

/** Whether the server's one connection is between two exchanges. */
function isIdle(balancer: OneService, server: Address): boolean {
  const { connections } = balancer.plan({ kind: "remove", server: formatAddress(server) });
  return connections.some(({ state, count }) => state === "idle" && count === 1);
}

function portOf(client: Deno.TcpConn): number {
  return (client.localAddr as Deno.NetAddr).port;
}

type Case = readonly [needs: readonly ("haproxy" | "nginx")[], run: (kind: EngineKind, stage: Stage) => Promise<void>];

const CASES: Record<string, Case> = {
  ...Object.fromEntries((["v1", "v2"] as const).flatMap((theirs) =>
    (["v1", "v2"] as const).map((ours): [string, Case] => [
      `HAProxy tells us the client (${theirs}), and we tell nginx (${ours})`,
      [["haproxy", "nginx"], async (kind, stage) => {
        const { address, log } = await stage.nginx("behind");
        const balancer = await stage.balancer(kind, { "accept-proxy": "127.0.0.1", proxy: ours }, [address]);
        const send = theirs === "v1" ? "send-proxy" : "send-proxy-v2 proxy-v2-options crc32c,unique-id";
        const front = await stage.haproxy("front", [
          "mode tcp",
          "unique-id-format %[uuid()]",
          `server balancer ${formatAddress(balancer.address)} ${send}`,
        ]);
        using client = await connect(front);
        assertEquals(await get(client, "/hello"), "behind 127.0.0.1");
        const line = `127.0.0.1:${portOf(client)} to 127.0.0.1:${front.port} /hello\n`;
        await until(() => Deno.readTextFileSync(log) === line, "nginx's log to name the client of HAProxy");
      }],
    ])
  )),

  ...Object.fromEntries((["v1", "v2"] as const).map((version): [string, Case] => [
    `HAProxy behind us takes our header (${version}), checksum and id included`,
    [["haproxy"], async (kind, stage) => {
      const answer = "http-request return status 200 content-type text/plain lf-string";
      const behind = await stage.haproxy(
        "behind",
        ["mode http", `${answer} "%[src]:%[src_port] to %[dst]:%[dst_port] %[fc_pp_unique_id]"`],
        "accept-proxy",
      );
      const balancer = await stage.balancer(kind, { proxy: version }, [behind]);
      using client = await connect(balancer.address);
      const said = await get(client, "/");
      const addresses = `127.0.0.1:${portOf(client)} to 127.0.0.1:${balancer.address.port} `;
      assertEquals(said.slice(0, addresses.length), addresses);
      assertMatch(said.slice(addresses.length), version === "v1" ? /^-?$/ : /^[0-9a-f]{16}-[0-9a-f]+$/);
    }],
  ])),

  "after its server is killed, an idle client's second server logs the client's own address": [["nginx"], async (kind, stage) => {
    const servers = [await stage.nginx("one"), await stage.nginx("other")];
    const flags = { proxy: "v2", redistribute: "idle", quiet: "30ms" };
    const balancer = await stage.balancer(kind, flags, servers.map(({ address }) => address));
    using client = await connect(balancer.address);
    const [first] = (await get(client, "/first")).split(" ");
    const [lost, left] = first === "one" ? servers : servers.toReversed();
    await until(() => isIdle(balancer, lost.address), "the exchange to be over");
    await lost.peer.kill();
    assertEquals(await get(client, "/second"), `${first === "one" ? "other" : "one"} 127.0.0.1`);
    const line = `127.0.0.1:${portOf(client)} to 127.0.0.1:${balancer.address.port}`;
    await until(() => Deno.readTextFileSync(left.log) === `${line} /second\n`, "the second server's log");
    assertEquals(await Deno.readTextFile(lost.log), `${line} /first\n`);
  }],
};

for (const [engine, kind] of Object.entries(ENGINES)) {
  if (kind.unsupported() !== undefined) continue;
  for (const [name, [needs, run]] of Object.entries(CASES)) {
    Deno.test({
      ...await needing(`[${engine}] ${name}`, "Linux", ...needs),
      async fn() {
        await using stage = await Stage.open();
        await run(kind, stage);
      },
    });
  }
}
