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
  /** Sends it the signal by which engines stop it, and gives its exit code. */
  stop(): Promise<number>;
}

async function runContainer(...args: string[]): Promise<Container> {
  const { env, user, entrypoint, stopSignal } = await readImage();
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
  const stop = async () => {
    Deno.kill(Number(init), stopSignal);
    const { code } = await soon(process.status, "the end of the container");
    return code;
  };
  let ended: Promise<number> | undefined;
  return {
    address: value.trim(),
    exec: (...words) => {
      const into = [
        `--target=${init}`,
        "--mount",
        "--pid",
        "--root",
        "--wd",
        `--setuid=${user}`,
        `--setgid=${user}`,
        "--",
        ...words,
      ];
      return outcomeOf(new Deno.Command("nsenter", { args: into, env, clearEnv: true, stdin: "null" }));
    },
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
    await using container = await runContainer("127.0.0.1", "0");
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
    assertEquals(await container.stop(), 0);
  },
});

Deno.test("the image is of the version of Deno that the checkout is for", async () => {
  const tools = await Deno.readTextFile(`${import.meta.dirname}/../../.tool-versions`);
  const [, version] = (await Deno.readTextFile(`${CONTAINER}/Containerfile`)).match(/^ARG DENO_VERSION=(.*)$/m)!;
  assertEquals(version, tools.match(/^deno (.*)$/m)![1]);
});
