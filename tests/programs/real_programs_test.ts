// Real servers and clients on both sides of the balancer: what becomes of a session of Redis, memcached, TLS, SSH or PostgreSQL
// when its server is killed. A case whose programs are not installed is ignored, and its name says which one is missing.

import { assert, assertEquals, assertGreater, assertMatch, assertStringIncludes } from "@std/assert";
import { type Address, formatAddress } from "../../lib/values/address.ts";
import { FATE_NAMES } from "../../lib/values/fates.ts";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { processTree } from "../../tools/bench/measure.ts";
import { assertFatesAddUp, connect, readChunks, soon, writeText } from "../helpers.ts";
import { Random } from "../../tools/random.ts";
import { quietPorts } from "../../tools/lost/server_process.ts";
import { until } from "../raw_socket.ts";
import { type OneService, startBalancer } from "../one_service.ts";

/** After so long an exchange is over. */
const QUIET = "30ms";
/** Requests of each kind that redis-benchmark makes. */
const BENCHMARK_REQUESTS = 10_000;

/** What the cases run, whether it is there or not. */
const PROGRAMS = [
  "initdb",
  "ipcrm",
  "memcached",
  "openssl",
  "postgres",
  "psql",
  "redis-benchmark",
  "redis-cli",
  "redis-server",
  "ssh-keygen",
  "ssh-keyscan",
  "sshd",
] as const;
type ProgramName = typeof PROGRAMS[number];

/** PostgreSQL will not run as root, and nobody else here needs to: root starts programs as nobody. */
const NOBODY = Deno.build.os === "linux" && Deno.uid() === 0 ? { uid: 65534, gid: 65534 } : {};

/** Debian's place for each version's programs. */
const POSTGRES_FOLDER = "/usr/lib/postgresql";

interface Case {
  readonly needs: readonly ProgramName[];
  /** Those of ENGINES; all of them if none is named. */
  readonly engines?: readonly string[];
  run(stage: Stage): Promise<void>;
}

const REDIS = ["redis-server", "redis-cli"] as const;
const SSH = ["sshd", "ssh-keygen", "ssh-keyscan"] as const;
const POSTGRES = ["postgres", "initdb", "psql", "ipcrm"] as const;

const CASES: Record<string, Case> = {
  "a benchmark runs whole, on both servers": {
    needs: [...REDIS, "redis-benchmark"],
    async run(stage) {
      await using pair = await startPair(stage, startRedis, { key: "ip:port" });
      const { host, port } = pair.balancer.address;
      const count = String(BENCHMARK_REQUESTS);
      const args = ["-h", host, "-p", `${port}`, "-n", count, "-c", "50", "-t", "set,get", "-d", "2000", "-q"];
      const said = await stage.run("redis-benchmark", args);
      assert(!/error|closed|reset/i.test(said), said);
      for (const command of ["set", "get"]) {
        const calls = await Promise.all([pair.first, pair.other].map((server) => redisCalls(stage, server, command)));
        assertEquals(calls[0] + calls[1], BENCHMARK_REQUESTS, `${command}: ${calls}`);
        assertGreater(Math.min(...calls), 0, `${command}: ${calls}`);
      }
      await allEnded(pair);
      assertEquals(pair.balancer.counters.get("done"), pair.balancer.counters.get("accepted"));
    },
  },

  "a session whose server is killed between two commands goes on with the other, at level idle": {
    needs: REDIS,
    async run(stage) {
      await using pair = await startPair(stage, startRedis, { redistribute: "idle" });
      const { balancer, first, other } = pair;
      const cli = stage.start("redis-cli", ["-h", balancer.address.host, "-p", `${balancer.address.port}`]);
      await cli.type("ping\n");
      await cli.says(/PONG\n/);
      await cli.type("config get port\n");
      await cli.says(new RegExp(`^${first.address.port}\n`, "m"));
      await isIdle(pair);
      await first.program.kill();
      await until(() => balancer.counters.get("movedIdle") === 1, "the move");
      await cli.type("config get port\n");
      await cli.says(new RegExp(`^${other.address.port}\n`, "m"));
      assertEquals(balancer.counters.get("accepted"), 1, "redis-cli did not connect again");
      assertEquals(moved(pair), { movedUnsent: 0, movedUnanswered: 0, movedIdle: 1, movedAway: 1 });
      await cli.closeInput();
      assertEquals(await cli.ended(), 0);
      await allEnded(pair);
      assertEquals(fates(pair), { done: 1 });
    },
  },

  "a session whose server is killed between two commands ends, at level new": {
    needs: REDIS,
    async run(stage) {
      await using pair = await startPair(stage, startRedis, { redistribute: "new" });
      using client = await connect(pair.balancer.address);
      assertEquals(await talk(client, "PING\r\n", "\r\n"), "+PONG\r\n");
      await isIdle(pair);
      await pair.first.program.kill();
      await assertOver(client);
      client.close();
      await allEnded(pair);
      assertEndWasPassedOn(pair);
      assertNeverMoved(pair);
      using again = await connect(pair.balancer.address);
      assertStringIncludes(await talk(again, "CONFIG GET port\r\n", `${pair.other.address.port}\r\n`), "port");
    },
  },

  "a session whose server is killed before the next command goes on with the other, at level idle": {
    needs: ["memcached"],
    async run(stage) {
      await using pair = await startPair(stage, startMemcached, { redistribute: "idle" });
      const { balancer, first, other } = pair;
      using client = await connect(balancer.address);
      const pidOf = async () => Number((await talk(client, "stats\r\n", "END\r\n")).match(/^STAT pid (\d+)/m)?.[1]);
      assertEquals(await talk(client, "set key 0 0 5\r\nvalue\r\n", "\r\n"), "STORED\r\n");
      assertEquals(await talk(client, "get key\r\n", "END\r\n"), "VALUE key 0 5\r\nvalue\r\nEND\r\n");
      assertEquals(await pidOf(), first.program.pid);
      await isIdle(pair);
      await first.program.kill();
      assertEquals(await talk(client, "get key\r\n", "END\r\n"), "END\r\n"); // a miss: the other is a cache of its own
      assertEquals(await pidOf(), other.program.pid);
      // The balancer may hear of the next command before it does of the server's end.
      assertEquals(balancer.counters.get("movedIdle") + balancer.counters.get("movedUnanswered"), 1);
      assertEquals([balancer.get(first.name).movedAway, balancer.counters.get("accepted")], [1, 1]);
      client.close();
      await allEnded(pair);
      assertEquals(fates(pair), { done: 1 });
    },
  },

  "a TLS session whose server is killed while it is quiet ends, and never moves": {
    needs: ["openssl"],
    async run(stage) {
      await using pair = await startPair(stage, startTls, { redistribute: "idle" });
      const client = startTlsClient(stage, pair);
      await client.says(certificateOf(pair.first));
      await client.type("hello\n");
      await client.says(/olleh/);
      await isIdle(pair);
      await pair.first.program.kill();
      await client.ended();
      await allEnded(pair);
      assertEndWasPassedOn(pair); // the end of a killed server looks like any other, and nobody is asked about it
      assertNeverMoved(pair);
      await startTlsClient(stage, pair).says(certificateOf(pair.other));
    },
  },

  "a TLS session whose server is killed with a request unread is reset, and never moves": {
    needs: ["openssl"],
    async run(stage) {
      await using pair = await startPair(stage, startTls, { redistribute: "idle" });
      const client = startTlsClient(stage, pair);
      await client.says(certificateOf(pair.first));
      await client.type("hello\n");
      await client.says(/olleh/);
      await isIdle(pair);
      const { sentBytes } = pair.balancer.get(pair.first.name);
      pair.first.program.pause();
      await client.type("more\n");
      await until(() => pair.balancer.get(pair.first.name).sentBytes > sentBytes, "the request");
      await pair.first.program.kill();
      await client.ended();
      await allEnded(pair);
      assertEquals(fates(pair), { server_lost: 1 });
      assertNeverMoved(pair);
    },
  },

  "a ClientHello that its server never answered is sent again, and the handshake succeeds": {
    needs: ["openssl"],
    async run(stage) {
      await using pair = await startPair(stage, startTls, { redistribute: "unanswered" });
      pair.first.program.pause();
      const client = startTlsClient(stage, pair);
      await until(() => pair.balancer.get(pair.first.name).sentBytes > 0, "the ClientHello");
      await pair.first.program.kill();
      await client.says(certificateOf(pair.other));
      await client.type("hello\n");
      await client.says(/olleh/);
      assertEquals(moved(pair), { movedUnsent: 0, movedUnanswered: 1, movedIdle: 0, movedAway: 1 });
      assertEquals(pair.balancer.counters.get("accepted"), 1);
    },
  },

  "a session whose server spoke first ends with it, and never moves": {
    needs: SSH,
    async run(stage) {
      await using pair = await startPair(stage, startSsh, { redistribute: "idle" });
      const { balancer, first, other } = pair;
      assertEquals(await scanHostKey(stage, balancer.address), await hostKeyOf(stage, first));
      await allEnded(pair);
      const { done = 0 } = fates(pair);
      using client = await connect(balancer.address);
      assertMatch(await talk(client, "", "\n"), bannerOf(first));
      await isIdle(pair);
      await first.program.kill();
      await assertOver(client);
      client.close();
      await allEnded(pair);
      assertEquals(fates(pair).done, done + 1);
      assertNeverMoved(pair);
      using again = await connect(balancer.address);
      assertMatch(await talk(again, "", "\n"), bannerOf(other));
    },
  },

  "a session whose server is killed in the middle of a query is told at once, and the next one is with the other": {
    needs: POSTGRES,
    engines: ["epoll"],
    async run(stage) {
      await using pair = await startPair(stage, startPostgres, { redistribute: "unanswered" });
      const { balancer, first, other } = pair;
      const psql = await startPsql(stage, balancer.address, first);
      await psql.type("do $$ begin raise notice 'at work'; perform pg_sleep(600); end $$;\n");
      await psql.says(/NOTICE: {2}at work/);
      await first.program.kill();
      await psql.says(/server closed the connection unexpectedly/);
      assertEquals(await psql.ended(), 2); // its own word for a connection that went bad
      await allEnded(pair);
      assertEndWasPassedOn(pair);
      assertNeverMoved(pair);
      const again = await startPsql(stage, balancer.address, other);
      await again.closeInput();
      assertEquals(await again.ended(), 0);
      assertEquals(balancer.counters.get("accepted"), 2);
    },
  },
};

/** One program that runs, and what it has said. */
class Program implements AsyncDisposable {
  readonly #name: string;
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #drained: Promise<unknown>;
  #text = "";
  /** So much of the text was waited for. */
  #heard = 0;
  #isOver = false;
  #changed = Promise.withResolvers<void>();

  constructor(name: ProgramName, args: readonly string[], folder: string) {
    this.#name = name;
    const env = { PATH: Deno.env.get("PATH") ?? "", HOME: folder, LC_ALL: "C" };
    const options = { args: [...args], cwd: folder, clearEnv: true, env, ...NOBODY };
    this.#process = new Deno.Command(paths.get(name)!, { ...options, stdin: "piped", stdout: "piped", stderr: "piped" }).spawn();
    this.#input = this.#process.stdin.getWriter();
    const streams = [this.#process.stdout, this.#process.stderr].map((stream) => this.#drain(stream));
    this.#drained = Promise.all([this.#process.status, ...streams]).then(() => this.#change(() => this.#isOver = true));
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** When it has said this, on either output, after what was waited for before. */
  async says(pattern: RegExp): Promise<void> {
    while (true) {
      const match = this.#text.slice(this.#heard).match(pattern);
      if (match !== null) return void (this.#heard += match.index! + match[0].length);
      const said = `${pattern} of ${this.#name}, which said: ${this.#text}`;
      assert(!this.#isOver, `It ended without ${said}`);
      await soon(this.#changed.promise, said);
    }
  }

  /** Says this to its standard input. */
  async type(text: string): Promise<void> {
    await soon(this.#input.write(new TextEncoder().encode(text)), `${this.#name} to read`);
  }

  async closeInput(): Promise<void> {
    await this.#input.close().catch(() => {}); // it may have gone by itself
  }

  /** SIGSTOP: it does nothing any more, though the system goes on accepting for it. */
  pause(): void {
    Deno.kill(this.pid, "SIGSTOP");
  }

  /** SIGKILL for it and its children; resolves when they are gone. */
  async kill(): Promise<void> {
    // The parent comes first: it must not notice the others' end and start new ones.
    for (const pid of this.#isOver ? [] : await processTree(this.pid)) signalIfThere(pid, "SIGKILL");
    await soon(this.#drained, `the end of ${this.#name}`);
  }

  /** Resolves with its exit code when it has ended by itself. */
  async ended(): Promise<number> {
    await soon(this.#drained, `the end of ${this.#name}, which said: ${this.#text}`);
    return (await this.#process.status).code;
  }

  /** All that it said until its end, which must be a good one. */
  async output(): Promise<string> {
    await this.closeInput();
    assertEquals(await this.ended(), 0, `${this.#name} failed: ${this.#text}`);
    return this.#text;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.closeInput();
  }

  async #drain(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) this.#change(() => this.#text += text);
  }

  #change(step: () => void): void {
    step();
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** Where a case plays: an engine, and a folder whose programs are ended when it is. */
class Stage implements AsyncDisposable {
  readonly #owned = new AsyncDisposableStack();

  private constructor(readonly kind: EngineKind, readonly folder: string) {
    this.#owned.defer(() => Deno.remove(folder, { recursive: true }));
  }

  static async open(kind: EngineKind): Promise<Stage> {
    const stage = new Stage(kind, await Deno.makeTempDir({ prefix: "balancer_real_" }));
    if (NOBODY.uid !== undefined) await Deno.chown(stage.folder, NOBODY.uid, NOBODY.gid);
    return stage;
  }

  start(name: ProgramName, args: readonly string[]): Program {
    assert(!this.#owned.disposed, `the test was over before ${name} was started`);
    return this.#owned.use(new Program(name, args, this.folder));
  }

  /** Runs a program to its end and gives what it said. */
  run(name: ProgramName, args: readonly string[]): Promise<string> {
    return this.start(name, args).output();
  }

  /** Does this at the end, before what was started until now is ended. */
  defer(act: () => Promise<void>): void {
    this.#owned.defer(act);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#owned.disposeAsync();
  }
}

/** A server that listens. */
interface Server {
  /** `a` or `b`. */
  readonly label: string;
  /** `address:port`. */
  readonly name: string;
  readonly address: Address;
  readonly program: Program;
}

type StartServer = (stage: Stage, label: string, port: number) => Promise<Program>;

/** Two servers with a balancer in front of them. */
interface Pair extends AsyncDisposable {
  readonly balancer: OneService;
  /** Whose the clients of loopback are. */
  readonly first: Server;
  readonly other: Server;
}

async function startPair(stage: Stage, start: StartServer, flags: Record<string, string>): Promise<Pair> {
  const ports = await quietPorts(2, new Random(Date.now()));
  const servers = await Promise.all(["a", "b"].map(async (label, i): Promise<Server> => {
    const address = { host: "127.0.0.1", port: ports[i] };
    return { label, name: formatAddress(address), address, program: await start(stage, label, address.port) };
  }));
  const balancer = await startBalancer({
    engine: stage.kind,
    flags: { quiet: QUIET, ...flags },
    servers: servers.map(({ name }) => ({ server: name, weight: 1, connectionsMax: null })),
  });
  const taker = balancer.explain("127.0.0.1:1", 0).server;
  const [first, other] = servers[0].name === taker ? servers : servers.toReversed();
  return {
    balancer,
    first,
    other,
    async [Symbol.asyncDispose]() {
      await balancer[Symbol.asyncDispose]();
      assertFatesAddUp(balancer.counters);
    },
  };
}

async function startRedis(stage: Stage, _label: string, port: number): Promise<Program> {
  const inMemory = ["--save", "", "--appendonly", "no", "--dir", stage.folder];
  const redis = stage.start("redis-server", ["--bind", "127.0.0.1", "--port", `${port}`, ...inMemory]);
  await redis.says(/Ready to accept connections/);
  return redis;
}

/** How often the server was given the command. */
async function redisCalls(stage: Stage, { address }: Server, command: string): Promise<number> {
  const said = await stage.run("redis-cli", ["-h", address.host, "-p", `${address.port}`, "info", "commandstats"]);
  return Number(said.match(new RegExp(`^cmdstat_${command}:calls=(\\d+)`, "m"))?.[1] ?? 0);
}

async function startMemcached(stage: Stage, _label: string, port: number): Promise<Program> {
  const memcached = stage.start("memcached", ["-l", "127.0.0.1", "-p", `${port}`, "-U", "0", "-m", "8", "-t", "1", "-vv"]);
  await memcached.says(/server listening/);
  return memcached;
}

/** Answers every line with the line reversed, one client at a time; its certificate has its label. */
async function startTls(stage: Stage, label: string, port: number): Promise<Program> {
  const [key, certificate] = [`${stage.folder}/${label}.key`, `${stage.folder}/${label}.crt`];
  const made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", certificate];
  await stage.run("openssl", ["req", "-x509", "-days", "1", "-subj", `/CN=${label}`, ...made]);
  const server = stage.start("openssl", ["s_server", "-accept", `127.0.0.1:${port}`, "-key", key, "-cert", certificate, "-rev"]);
  await server.says(/ACCEPT/);
  return server;
}

function startTlsClient(stage: Stage, { balancer }: Pair): Program {
  return stage.start("openssl", ["s_client", "-connect", formatAddress(balancer.address), "-brief"]);
}

function certificateOf({ label }: Server): RegExp {
  return new RegExp(`Peer certificate: CN ?= ?${label}\\b`);
}

async function startSsh(stage: Stage, label: string, port: number): Promise<Program> {
  const key = `${stage.folder}/${label}`;
  await stage.run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);
  const settings = ["ListenAddress=127.0.0.1", `Port=${port}`, "UsePAM=no", "PidFile=none", `VersionAddendum=${label}`];
  const sshd = stage.start("sshd", ["-D", "-e", "-f", "/dev/null", "-h", key, ...settings.flatMap((setting) => ["-o", setting])]);
  await sshd.says(/Server listening/);
  return sshd;
}

function bannerOf({ label }: Server): RegExp {
  return new RegExp(`^SSH-2\\.0-.* ${label}\r\n$`);
}

async function hostKeyOf(stage: Stage, { label }: Server): Promise<string> {
  return keyIn(await Deno.readTextFile(`${stage.folder}/${label}.pub`));
}

/** The host key with which a handshake is signed. */
async function scanHostKey(stage: Stage, { host, port }: Address): Promise<string> {
  return keyIn(await stage.run("ssh-keyscan", ["-t", "ed25519", "-p", `${port}`, host]));
}

function keyIn(text: string): string {
  return text.match(/ssh-ed25519 (\S+)/)?.[1] ?? `no key: ${text}`;
}

async function startPostgres(stage: Stage, label: string, port: number): Promise<Program> {
  const folder = `${stage.folder}/${label}`;
  await stage.run("initdb", ["-D", folder, "-U", "tester", "-A", "trust", "-N", "--no-locale", "-E", "SQL_ASCII"]);
  const settings = [
    "listen_addresses=127.0.0.1",
    `port=${port}`,
    `cluster_name=${label}`,
    "unix_socket_directories=",
    "dynamic_shared_memory_type=mmap", // in its folder, which is removed
    "shared_buffers=1MB",
    "max_connections=10",
    "fsync=off",
  ];
  const postgres = stage.start("postgres", ["-D", folder, ...settings.flatMap((setting) => ["-c", setting])]);
  await postgres.says(/ready to accept connections/);
  // One segment of System V's shared memory, which says that the folder is in use, outlives a server that was killed.
  const [, segment] = (await Deno.readTextFile(`${folder}/postmaster.pid`)).match(/^ *\d+ +(\d+) *$/m) ?? [];
  assert(segment !== undefined, "postmaster.pid names no shared memory");
  stage.defer(async () => {
    await postgres.kill();
    await new Program("ipcrm", ["-m", segment], stage.folder).output();
  });
  return postgres;
}

/** A session with this server, which says that it is the one. */
async function startPsql(stage: Stage, { host, port }: Address, { label }: Server): Promise<Program> {
  const psql = stage.start("psql", ["-X", "-A", "-t", "-h", host, "-p", `${port}`, "-U", "tester", "postgres"]);
  await psql.type("show cluster_name;\n");
  await psql.says(new RegExp(`^${label}\n`, "m"));
  return psql;
}

/** Says this, if anything, and gives what comes back until it ends so. */
async function talk(client: Deno.TcpConn, text: string, ending: string): Promise<string> {
  await writeText(client, text);
  const decoder = new TextDecoder();
  let answer = "";
  const reading = (async () => {
    for await (const chunk of readChunks(client)) {
      answer += decoder.decode(chunk, { stream: true });
      if (answer.endsWith(ending)) return answer;
    }
    throw new Error(`The connection ended after ${JSON.stringify(answer)}`);
  })();
  return await soon(reading, `the answer to ${JSON.stringify(text)}`);
}

/** The client is told of the end, whether by an end or by a reset, and of nothing else. */
async function assertOver(client: Deno.TcpConn): Promise<void> {
  const isOver = client.read(new Uint8Array(1)).then((count) => count === null, (error) => isReset(error));
  assert(await soon(isOver, "the end"), "the client was told something");
}

function isReset(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset;
}

/** When the balancer, too, knows that the one connection is between two exchanges. */
async function isIdle({ balancer, first }: Pair): Promise<void> {
  const planned = () => balancer.plan({ kind: "remove", server: first.name }).connections;
  await until(() => planned().some(({ state, count }) => state === "idle" && count > 0), "the quiet");
}

/** When the balancer has no client any more. */
async function allEnded({ balancer }: Pair): Promise<void> {
  await until(() => balancer.counters.get("open") === 0, "the end of all connections");
}

/** How often connections have left a server, by what they were doing, and that the first server counts the same. */
function moved({ balancer, first }: Pair): Record<string, number> {
  const names = ["movedUnsent", "movedUnanswered", "movedIdle"] as const;
  const counted = Object.fromEntries(names.map((name) => [name, balancer.counters.get(name)]));
  return { ...counted, movedAway: balancer.get(first.name).movedAway };
}

function assertNeverMoved(pair: Pair): void {
  assertEquals(moved(pair), { movedUnsent: 0, movedUnanswered: 0, movedIdle: 0, movedAway: 0 });
  assertEquals(pair.balancer.get(pair.other.name).connects, 0, "the other server was not asked");
}

/** Fates that there were. */
/** The one connection ended as if its server had meant it; what its client said last may have found nobody. */
function assertEndWasPassedOn(pair: Pair): void {
  const { done = 0, server_closed = 0, ...others } = fates(pair);
  assertEquals([done + server_closed, others], [1, {}]);
}

function fates({ balancer: { counters } }: Pair): Record<string, number> {
  return Object.fromEntries(FATE_NAMES.map((fate) => [fate, counters.get(fate)] as const).filter(([, count]) => count > 0));
}

function signalIfThere(pid: number, signal: Deno.Signal): void {
  try {
    Deno.kill(pid, signal);
  } catch { /* it has ended by itself */ }
}

/** Where the programs are, as far as they are here. Daemons are in sbin, which is not on everybody's PATH. */
async function findPrograms(): Promise<ReadonlyMap<ProgramName, string>> {
  const onPath = (Deno.env.get("PATH") ?? "").split(":").filter((folder) => folder !== "");
  const versions = await Array.fromAsync(Deno.readDir(POSTGRES_FOLDER)).catch(() => []);
  const folders = [...onPath, "/usr/sbin", "/usr/local/sbin", ...versions.map(({ name }) => `${POSTGRES_FOLDER}/${name}/bin`)];
  const found = new Map<ProgramName, string>();
  for (const name of PROGRAMS) {
    for (const path of folders.map((folder) => `${folder}/${name}`)) {
      if (!found.has(name) && await Deno.stat(path).then(({ isFile }) => isFile, () => false)) found.set(name, path);
    }
  }
  return found;
}

/** Why no program can be started in a folder of its own, in a clause; undefined if it can be done. */
async function whyNotAsNobody(): Promise<string | undefined> {
  if (NOBODY.uid === undefined) return;
  try {
    await using stack = new AsyncDisposableStack();
    const folder = await Deno.makeTempDir({ prefix: "balancer_real_" });
    stack.defer(() => Deno.remove(folder));
    await Deno.chown(folder, NOBODY.uid, NOBODY.gid);
    await new Deno.Command("true", { cwd: folder, ...NOBODY }).output();
  } catch {
    return "root cannot start programs as nobody";
  }
}

/** Why a case cannot be played, in a clause; undefined if it can. */
function whyNot({ needs, engines = Object.keys(ENGINES) }: Case, engine: string): string | undefined {
  if (Deno.build.os !== "linux") return "not on this system";
  const missing = needs.filter((name) => !paths.has(name));
  if (missing.length > 0) return `${missing.join(", ")} not found`;
  if (!engines.includes(engine)) return "one engine is enough";
  return ENGINES[engine as keyof typeof ENGINES].unsupported() ?? notAsNobody;
}

const paths = await findPrograms();
const notAsNobody = await whyNotAsNobody();

for (const [engine, kind] of Object.entries(ENGINES)) {
  for (const [title, played] of Object.entries(CASES)) {
    const why = whyNot(played, engine);
    Deno.test({
      name: `[${engine}] ${played.needs.join(", ")}: ${title}${why === undefined ? "" : ` (ignored: ${why})`}`,
      ignore: why !== undefined,
      async fn() {
        await using stage = await Stage.open(kind);
        await played.run(stage);
      },
    });
  }
}
