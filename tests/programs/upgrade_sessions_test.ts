// Sessions of real programs over upgrades: the server is the same process before and after, and so is the client. A case whose
// programs are not installed is ignored, and its name says which one is missing.

import { assertEquals, assertGreater } from "@std/assert";
import type { Address } from "../../lib/values/address.ts";
import { epoll } from "../../lib/engine/epoll/engine.ts";
import { Random } from "../../tools/random.ts";
import { quietPorts } from "../../tools/lost/server_process.ts";
import { connect, poll, soon } from "../helpers.ts";
import { makePlace, outcomeOf, type Place } from "../programs.ts";
import { needing, WIDER_PATH } from "../tools.ts";

/** PostgreSQL will not run as root, and sshd lets others but root log in as themselves only. */
const NOBODY = Deno.build.os === "linux" && Deno.uid() === 0 ? { uid: 65534, gid: 65534 } : {};
const MAX_MS = 60_000;

/** How to run a program, wherever it is installed. */
function asNobody(name: string, ...args: readonly string[]): Deno.CommandOptions {
  return { args: ["-c", `${WIDER_PATH} exec $(command -v "$0") "$@"`, name, ...args], ...NOBODY };
}

/** A program that talks, and what it has said. Disposing of it ends it. */
class Talker implements AsyncDisposable {
  readonly process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reading: Promise<unknown>;
  #said = "";

  constructor(name: string, args: readonly string[], folder: string) {
    const streams = { stdin: "piped", stdout: "piped", stderr: "piped" } as const;
    this.process = new Deno.Command("sh", { ...asNobody(name, ...args), cwd: folder, env: { HOME: folder }, ...streams }).spawn();
    this.#input = this.process.stdin.getWriter();
    const read = (stream: ReadableStream<Uint8Array>) =>
      stream.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)
        .pipeTo(new WritableStream({ write: (text) => void (this.#said += text) }));
    this.#reading = Promise.all([read(this.process.stdout), read(this.process.stderr)]);
  }

  async type(text: string): Promise<void> {
    await this.#input.write(new TextEncoder().encode(text));
  }

  /** Waits until it has said this, after what it had said before. */
  async says(what: RegExp): Promise<string> {
    const text = await poll(
      () => Promise.resolve(this.#said),
      (said) => what.test(said),
      `${what} in ${JSON.stringify(this.#said)}`,
    );
    this.#said = "";
    return text.match(what)![0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.process.kill("SIGKILL");
    } catch { /* it has ended */ }
    await this.process.status;
    await this.#input.abort().catch(() => {});
    await this.#reading;
  }
}

/** A folder of the user as whom the programs run. */
async function makeFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await Deno.makeTempDir({ prefix: "balancer_session_" });
  if (NOBODY.uid !== undefined) await Deno.chown(path, NOBODY.uid, NOBODY.gid);
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** A balancer before this server, once that listens. */
async function before(place: Place, port: number): Promise<Address> {
  const address = await place.start("--check", "off");
  await poll(
    async () => {
      try {
        (await connect({ host: "127.0.0.1", port })).close();
        return true;
      } catch {
        return false;
      }
    },
    (isThere) => isThere,
    "the server",
  );
  await place.do("add", "127.0.0.1", String(port));
  return address;
}

/** Upgrades; what it says of the connections. */
async function upgrade(place: Place): Promise<string> {
  const command = new Deno.Command(place.program("balancerctl"), { args: ["upgrade"], env: place.env, stdin: "null" });
  const { code, stdout, stderr } = await outcomeOf(command, MAX_MS);
  assertEquals(code, 0, stderr);
  return stdout.match(/\n(.*) in /)?.[1] ?? stdout;
}

async function connectionsOf(place: Place): Promise<{ readonly accepted: number; readonly open: number }> {
  return JSON.parse(await place.do("status", "--json")).connections;
}

/** Upgrades twice; the session is the balancer's only connection all the time. */
async function upgradeTwice(place: Place, talk: () => Promise<void>): Promise<void> {
  for (let round = 0; round < 2; round++) {
    await talk();
    assertEquals(await upgrade(place), "1 open connection came along");
  }
  await talk();
  assertEquals((await connectionsOf(place)).accepted, 1);
}

const supported = epoll.unsupported() === undefined ? [] : ["Linux" as const];

Deno.test({
  ...await needing("a session of Redis goes on over upgrades", ...supported, "Redis"),
  async fn() {
    await using folder = await makeFolder();
    await using place = await makePlace();
    const [port] = await quietPorts(1, new Random(Date.now()));
    const args = ["--bind", "127.0.0.1", "--port", String(port), "--save", "", "--appendonly", "no", "--dir", folder.path];
    await using _ = new Talker("redis-server", args, folder.path);
    const { host, port: own } = await before(place, port);
    await using cli = new Talker("redis-cli", ["-h", host, "-p", String(own)], folder.path);
    await cli.type("multi\n"); // what a new connection would not know
    await cli.says(/OK/);
    let count = 0;
    await upgradeTwice(place, async () => {
      await cli.type(`incrby n ${++count}\n`);
      await cli.says(/QUEUED/);
    });
    await cli.type("exec\n");
    await cli.says(/6/);
  },
});

Deno.test({
  ...await needing("a measurement of iperf3 goes on over an upgrade", ...supported, "iperf3"),
  async fn() {
    await using folder = await makeFolder();
    await using place = await makePlace();
    const [port] = await quietPorts(1, new Random(Date.now()));
    await using _ = new Talker("iperf3", ["-s", "-B", "127.0.0.1", "-p", String(port)], folder.path);
    const { host, port: own } = await before(place, port);
    // One stream: with several iperf3 wants them accepted in the order in which it connects, which no proxy promises.
    const args = ["-c", host, "-p", String(own), "-t", "10", "-b", "50M", "--json"];
    const measuring = outcomeOf(new Deno.Command("sh", asNobody("iperf3", ...args)), MAX_MS);
    await poll(() => connectionsOf(place), ({ open }) => open === 2, "its connections");
    assertEquals(await upgrade(place), "2 open connections came along");
    const { code, stdout, stderr } = await measuring;
    assertEquals(code, 0, stderr || stdout);
    const { sum_sent: sent, sum_received: received } = JSON.parse(stdout).end;
    assertGreater(received.bytes, 0.9 * sent.bytes); // what is under way at the end does not count
    assertGreater(sent.bytes, 50e6); // of 62.5
  },
});

Deno.test({
  ...await needing("a transaction of PostgreSQL goes on over upgrades", ...supported, "PostgreSQL"),
  async fn() {
    await using folder = await makeFolder();
    await using place = await makePlace();
    const [port] = await quietPorts(1, new Random(Date.now()));
    const data = `${folder.path}/data`;
    const making = asNobody("initdb", "-D", data, "-U", "tester", "-A", "trust", "-N", "--no-locale");
    const { code, stderr } = await outcomeOf(new Deno.Command("sh", making), MAX_MS);
    assertEquals(code, 0, stderr);
    const settings = [
      "listen_addresses=127.0.0.1",
      `port=${port}`,
      "unix_socket_directories=",
      "dynamic_shared_memory_type=mmap",
      "shared_buffers=1MB",
      "max_connections=10",
      "fsync=off",
    ];
    await using server = new Talker("postgres", ["-D", data, ...settings.flatMap((setting) => ["-c", setting])], folder.path);
    const { host, port: own } = await before(place, port);
    await using psql = new Talker(
      "psql",
      ["-X", "-A", "-t", "-h", host, "-p", String(own), "-U", "tester", "postgres"],
      folder.path,
    );
    await psql.type("begin; create temporary table t (n int);\n");
    await psql.says(/CREATE TABLE/);
    let count = 0;
    await upgradeTwice(place, async () => {
      await psql.type(`insert into t values (${++count}); select 'sum ' || sum(n) from t;\n`);
      await psql.says(new RegExp(`sum ${count * (count + 1) / 2}\\n`));
    });
    await psql.type("commit;\n");
    await psql.says(/COMMIT/);
    server.process.kill("SIGQUIT"); // it removes its shared memory
    await soon(server.process.status, "its end");
  },
});

Deno.test({
  ...await needing(
    "a session of ssh goes on over upgrades",
    ...supported,
    "sshd and sftp",
    "a user other than root",
    "a login shell",
  ),
  async fn() {
    await using folder = await makeFolder();
    await using place = await makePlace();
    const [port] = await quietPorts(1, new Random(Date.now()));
    for (const key of ["host", "user"]) {
      const making = asNobody("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", `${folder.path}/${key}`);
      assertEquals((await outcomeOf(new Deno.Command("sh", making))).code, 0);
    }
    const user = (await outcomeOf(new Deno.Command("sh", asNobody("id", "-un")))).stdout.trim();
    const options = (all: readonly string[]) => all.flatMap((option) => ["-o", option]);
    const sshd = [
      "ListenAddress=127.0.0.1",
      `Port=${port}`,
      "UsePAM=no",
      "PidFile=none",
      "StrictModes=no",
      `AuthorizedKeysFile=${folder.path}/user.pub`,
      "Subsystem=sftp internal-sftp",
    ];
    await using _ = new Talker("sshd", ["-D", "-e", "-f", "/dev/null", "-h", `${folder.path}/host`, ...options(sshd)], folder.path);
    const { host, port: own } = await before(place, port);
    const client = [
      "BatchMode=yes",
      "StrictHostKeyChecking=no",
      "UserKnownHostsFile=/dev/null",
      `IdentityFile=${folder.path}/user`,
      "IdentitiesOnly=yes",
    ];
    await using sftp = new Talker("sftp", ["-q", "-P", String(own), ...options(client), `${user}@${host}`], folder.path);
    let count = 0;
    await upgradeTwice(place, async () => {
      const made = `${folder.path}/made${++count}`;
      await sftp.type(`mkdir ${made}\n`);
      await poll(() => Deno.stat(made).then(() => true, () => false), (isThere) => isThere, "the folder that the session makes");
    });
  },
});
