// The image of contrib/container, run as a container without an engine: the same files, user, environment and commands, in a
// private root that is read-only.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { parseAddress } from "../../lib/values/address.ts";
import { ask, echo, soon, startServer } from "../helpers.ts";
import { type Outcome, outcomeOf } from "../programs.ts";
import { needing } from "../tools.ts";

const CONTAINER = `${import.meta.dirname}/../../contrib/container`;

/** What the Containerfile says of its image. */
async function readImage() {
  const text = await Deno.readTextFile(`${CONTAINER}/Containerfile`);
  const listOf = (instruction: string): string[] => JSON.parse(text.match(new RegExp(`^${instruction}.*?(\\[.*\\])$`, "m"))![1]);
  return {
    env: Object.fromEntries([...text.matchAll(/^ENV (\w+)=(.*)$/gm)].map(([, name, value]) => [name, value])),
    user: text.match(/^USER (\d+):\1$/m)![1],
    entrypoint: listOf("ENTRYPOINT"),
    health: listOf("HEALTHCHECK"),
    stopSignal: text.match(/^STOPSIGNAL (SIG\w+)$/m)![1] as Deno.Signal,
  };
}

/** A container that runs. */
interface Container extends AsyncDisposable {
  readonly address: string;
  /** Runs something in it, as its user. */
  exec(...words: string[]): Promise<Outcome>;
  /** Runs something in it as root. */
  execAsRoot(...words: string[]): Promise<Outcome>;
  /** Sends it the signal by which engines stop it, if it still runs, and gives its exit code. */
  stop(): Promise<number>;
}

/** Runs `balancer run` in a container; the image's environment, but for these variables. */
async function runContainer(args: readonly string[], variables: Readonly<Record<string, string>> = {}): Promise<Container> {
  const { env: given, user, entrypoint, stopSignal } = await readImage();
  const env = { ...given, ...variables };
  const folder = await Deno.makeTempDir({ prefix: "balancer_test_" });
  const [root, tree] = [`${folder}/root`, `${folder}/tree`];
  for (const path of [root, tree]) await Deno.mkdir(path);
  const made = await outcomeOf(new Deno.Command(`${CONTAINER}/tree.sh`, { args: [tree], env: { NO_COLOR: "1" } }));
  assertEquals(made.code, 0, made.stderr);
  const process = new Deno.Command("unshare", {
    args: [
      "--mount",
      "--pid",
      "--fork",
      "--kill-child",
      `${import.meta.dirname}/private_root.sh`,
      root,
      tree,
      user,
      ...entrypoint,
      ...args,
    ],
    env,
    clearEnv: true,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const log = new Response(process.stderr).text();
  const lines = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const { value } = await soon(lines.read(), "the address");
  if (value === undefined) throw new Error(await log);
  const { pid } = process;
  const init = (await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`)).trim();
  const execAs = (id: string, words: readonly string[]) => {
    const into = [`--target=${init}`, "--mount", "--pid", "--root", "--wd", `--setuid=${id}`, `--setgid=${id}`, "--", ...words];
    return outcomeOf(new Deno.Command("nsenter", { args: into, env, clearEnv: true, stdin: "null" }));
  };
  const stop = async () => {
    try {
      Deno.kill(Number(init), stopSignal);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error; // it has ended by itself
    }
    const { code } = await soon(process.status, "the end of the container");
    return code;
  };
  let ended: Promise<number> | undefined;
  return {
    address: value.trim(),
    exec: (...words) => execAs(user, words),
    execAsRoot: (...words) => execAs("0", words),
    stop: () => ended ??= stop(),
    async [Symbol.asyncDispose]() {
      await (ended ??= stop());
      await lines.cancel();
      await log;
      await Deno.remove(folder, { recursive: true });
    },
  };
}

Deno.test({
  ...await needing(
    "the container runs without root and writes nothing; its health and its end are as engines expect",
    "private roots",
  ),
  async fn() {
    const { health, user } = await readImage();
    await using server = startServer(echo);
    await using container = await runContainer(["127.0.0.1", "0"]);
    const healthy = await container.exec(...health);
    assertEquals(healthy.code, 0, healthy.stderr);
    assertEquals((await container.exec("id", "-u")).stdout.trim(), user);
    assertMatch((await container.exec("grep", "CapEff", "/proc/1/status")).stdout, /^CapEff:\t0+\n$/);
    for (const path of ["/opt/balancer/bin/balancer", "/opt/balancer/lib/file", "/file"]) {
      const written = await container.exec("sh", "-c", `: >>${path}`);
      assert(written.code !== 0, `${path} can be written`);
    }
    const added = await container.exec("balancerctl", "add", "127.0.0.1", String(server.address.port));
    assertEquals(added.code, 0, added.stderr);
    assertEquals(await ask(parseAddress(container.address), "hello"), "hello");
    assertStringIncludes((await container.exec("ls", "/var/lib/balancer")).stdout, "default.json\n");
    const { code, stderr } = await container.execAsRoot("balancerctl", "list");
    assertEquals(code, 1, "anybody can have made a folder in /tmp");
    assertStringIncludes(stderr, `its folder belongs to user ${user}, and this is user 0; run as that user`);
    assertEquals(await container.stop(), 0);
  },
});

Deno.test({
  ...await needing("root asks a daemon whose folder root has given to its user, but puts no process in its place", "private roots"),
  async fn() {
    const { user } = await readImage();
    await using container = await runContainer(["127.0.0.1", "0"], { RUNTIME_DIRECTORY: "/run/balancer" });
    const pidOf = async () => {
      const { code, stdout, stderr } = await container.execAsRoot("balancerctl", "status", "--json");
      assertEquals(code, 0, stderr);
      return JSON.parse(stdout).pid;
    };
    const pid = await pidOf();
    for (const command of ["upgrade", "restart"]) {
      const { code, stdout, stderr } = await container.execAsRoot("balancerctl", command);
      const why = `it runs as user ${user}, and what user 0 starts would not`;
      const instead = "use systemctl, as in systemctl reload balancer@default";
      assertEquals([code, stdout, stderr], [1, "", `balancerctl: Cannot ${command} balancer "default": ${why}; ${instead}\n`]);
    }
    assertEquals(await pidOf(), pid);
    await container.execAsRoot("balancerctl", "stop"); // the container's end is its end, too
    assertEquals(await container.stop(), 0);
  },
});

Deno.test("the image is of the version of Deno that the checkout is for", async () => {
  const tools = await Deno.readTextFile(`${import.meta.dirname}/../../.tool-versions`);
  const [, version] = (await Deno.readTextFile(`${CONTAINER}/Containerfile`)).match(/^ARG DENO_VERSION=(.*)$/m)!;
  assertEquals(version, tools.match(/^deno (.*)$/m)![1]);
});
