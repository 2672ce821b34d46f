// The programs as files: unpacking, moving, hostile surroundings. What is tested is what `deno task compile` makes here.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { freePort } from "../../tools/bench/processes.ts";
import { permissionFlags } from "../../tools/compile.ts";
import { soon } from "../helpers.ts";
import { DIST, type Outcome, outcomeOf } from "../programs.ts";

const VERSION = /^balancerctl \S+ \((compiled|self-extracting), Deno /;

/** A folder that is removed afterwards. */
async function makeFolder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "balancer_test_" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** The paths of the files below a folder, sorted; not those of the runtime's own. */
async function filesUnder(folder: string): Promise<string[]> {
  const entries = (await Array.fromAsync(Deno.readDir(folder))).filter(({ name }) => name !== "deno");
  const paths = entries.map(({ name, isDirectory }) => isDirectory ? filesUnder(`${folder}/${name}`) : [`${folder}/${name}`]);
  return (await Promise.all(paths)).flat().toSorted();
}

/** Runs a program in an environment that has nothing but what is given. */
function runBare(program: string, args: readonly string[], env: Record<string, string>, cwd = "/"): Promise<Outcome> {
  return outcomeOf(
    new Deno.Command(program, { args: [...args], env: { PATH: "/usr/bin:/bin", ...env }, clearEnv: true, cwd, stdin: "null" }),
  );
}

const stamp = await Deno.readTextFile(`${DIST}.parts/stamp`).catch(() => ""); // without programs each test says what is missing
const isSelfExtracting = stamp.endsWith("self-extracting");

Deno.test("four first starts at once all run, and unpack one runtime", async () => {
  await using home = await makeFolder();
  const starts = [1, 2, 3, 4].map(() => runBare(`${DIST}balancerctl`, ["--version"], { HOME: home.path }));
  for (const { code, stdout, stderr } of await Promise.all(starts)) {
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, VERSION);
  }
  if (!isSelfExtracting) return;
  const names = (await Array.fromAsync(Deno.readDir(`${home.path}/.cache/balancer`))).map(({ name }) => name).toSorted();
  assertEquals(names.map((name) => name.replace(/-[0-9a-f]{16}/, "")), ["balancerctl", "deno", "deno"]);
});

Deno.test("a program runs from another folder, through a link, and where it may not write", async () => {
  await using folder = await makeFolder();
  await Deno.mkdir(`${folder.path}/with space/bin`, { recursive: true });
  await Deno.mkdir(`${folder.path}/locked`, { mode: 0o500 });
  const moved = `${folder.path}/with space/bin/balancerctl`;
  await Deno.copyFile(`${DIST}balancerctl`, moved);
  await Deno.symlink(moved, `${folder.path}/link`);
  for (const program of [moved, `${folder.path}/link`]) {
    const { code, stdout } = await runBare(program, ["--version"], { HOME: folder.path }, `${folder.path}/locked`);
    assertEquals(code, 0);
    assertMatch(stdout, VERSION);
  }
});

Deno.test("a link in another folder still finds the other program", async () => {
  await using folder = await makeFolder();
  await Deno.symlink(`${DIST}balancerctl`, `${folder.path}/ctl`);
  const env = { XDG_RUNTIME_DIR: folder.path, XDG_STATE_HOME: folder.path, XDG_CACHE_HOME: `${DIST}.parts/cache` };
  const { code, stderr } = await runBare(`${folder.path}/ctl`, ["start", "192.0.2.1", "0"], env);
  assertEquals(code, 1);
  assertStringIncludes(stderr, "Cannot listen on 192.0.2.1:0", "the daemon itself says so");
});

Deno.test({
  name: "what a crash of the machine left empty is unpacked again, and old parts are swept",
  ignore: !isSelfExtracting,
  async fn() {
    await using home = await makeFolder();
    const start = () => runBare(`${DIST}balancerctl`, ["--version"], { HOME: home.path });
    await start();
    const cache = `${home.path}/.cache/balancer`;
    const before = await filesUnder(cache);
    const [runtime, scripts] = [before.filter((file) => file.includes("/deno-")), before.filter((file) => file.endsWith(".js"))];
    assertEquals([runtime.length, scripts.length], [1, before.length - 1]);
    await Deno.writeTextFile(`${cache}/.deno-x.1.part`, "");
    await Deno.utime(`${cache}/.deno-x.1.part`, 1, 1);
    for (const files of [runtime, scripts.slice(1)]) {
      await Promise.all(files.map((file) => Deno.truncate(file)));
      const { code, stdout } = await start();
      assertEquals(code, 0);
      assertMatch(stdout, VERSION);
    }
    assertEquals(await filesUnder(cache), before);
    for (const file of before) assert((await Deno.stat(file)).size > 0, file);
  },
});

Deno.test({
  name: "every script of a self-extracting balancerctl loads, also those that few commands read",
  ignore: !isSelfExtracting,
  async fn() {
    await using home = await makeFolder();
    await runBare(`${DIST}balancerctl`, ["--version"], { HOME: home.path });
    const scripts = (await filesUnder(`${home.path}/.cache/balancer`)).filter((file) => file.endsWith(".js"));
    assert(scripts.length > 10, "commands share what they do not need at once");
    for (const script of scripts) await import(`file://${script}`);
  },
});

Deno.test({
  name: "a daemon needs none of its other scripts: somebody may remove them while it runs",
  ignore: !isSelfExtracting,
  async fn() {
    await using home = await makeFolder();
    await runBare(`${DIST}balancer`, ["--version"], { HOME: home.path });
    const files = await filesUnder(`${home.path}/.cache/balancer`);
    const [runtime, main] = ["/deno-", "/main.js"].map((part) => files.find((file) => file.includes(part))!);
    const others = files.filter((file) => file.endsWith(".js") && file !== main);
    assertEquals(others.map((file) => file.slice(file.lastIndexOf("/"))), ["/worker.js", "/yaml.js"]);
    await Promise.all(others.map((file) => Deno.remove(file)));
    await Deno.writeTextFile(`${home.path}/web.yaml`, `services:\n  web:\n    listen: 127.0.0.1:${freePort()}\n`);
    const env = { HOME: home.path, XDG_RUNTIME_DIR: home.path, XDG_STATE_HOME: home.path };
    const args = ["run", "--config", `${home.path}/web.yaml`, "--stop-at-eof"];
    const { code, stdout, stderr } = await runBare(runtime, [
      "run",
      "-q",
      "--no-config",
      ...permissionFlags("balancer"),
      main,
      ...args,
    ], env);
    assertEquals(code, 0, stderr);
    assertMatch(stdout, /^127\.0\.0\.1:[0-9]+\n/);
  },
});

Deno.test("without HOME a program runs, or says in a sentence what it needs", async () => {
  await using folder = await makeFolder();
  const { code, stdout, stderr } = await runBare(`${DIST}balancerctl`, ["--version"], { TMPDIR: folder.path });
  assertEquals(code, 0, stderr);
  assertMatch(stdout, VERSION);
});

Deno.test("arguments, exit codes and standard streams pass through", async () => {
  await using home = await makeFolder();
  const odd = await runBare(`${DIST}balancerctl`, ["a b", "*", "$HOME", "'"], { HOME: home.path });
  assertEquals([odd.code, odd.stdout], [2, ""]);
  assertStringIncludes(odd.stderr, 'Unknown command "a b"');
});

Deno.test({
  name: "a self-extracting program that was cut short says so, and leaves nothing",
  ignore: !isSelfExtracting,
  async fn() {
    await using folder = await makeFolder();
    const whole = await Deno.readFile(`${DIST}balancerctl`);
    const cut = `${folder.path}/balancerctl`;
    await Deno.writeFile(cut, whole.subarray(0, whole.length - 1_000_000), { mode: 0o755 });
    const { code, stderr } = await runBare(cut, ["--version"], { HOME: folder.path, TMPDIR: folder.path });
    assertEquals(code, 1);
    assertMatch(stderr, /^balancerctl: Cannot unpack: [^\n]*cut short[^\n]*\n$/);
    const left = (await Array.fromAsync(Deno.readDir(`${folder.path}/.cache/balancer`))).map(({ name }) => name);
    assertEquals(left.filter((name) => name.includes("deno-")), []);
  },
});

Deno.test({
  name: "a self-extracting program does not run what others may have written",
  ignore: !isSelfExtracting,
  async fn() {
    await using folder = await makeFolder();
    const cache = `${folder.path}/cache/balancer`;
    await Deno.mkdir(cache, { recursive: true });
    await Deno.chmod(cache, 0o777);
    const { code, stdout } = await runBare(`${DIST}balancerctl`, ["--version"], {
      XDG_CACHE_HOME: `${folder.path}/cache`,
      HOME: folder.path,
    });
    assertEquals(code, 0);
    assertMatch(stdout, VERSION);
    assertEquals(await Array.fromAsync(Deno.readDir(cache)), [], "the open folder was passed over");
  },
});

Deno.test("signals reach the program", async () => {
  await using home = await makeFolder();
  const env = { HOME: home.path, XDG_RUNTIME_DIR: home.path, XDG_STATE_HOME: home.path, PATH: "/usr/bin:/bin" };
  const args = ["run", "127.0.0.1", "0"];
  const daemon = new Deno.Command(`${DIST}balancer`, { args, env, clearEnv: true, stdin: "null", stdout: "piped", stderr: "null" })
    .spawn();
  const lines = daemon.stdout.getReader();
  await soon(lines.read(), "the address");
  daemon.kill("SIGTERM");
  assertEquals((await soon(daemon.status, "the end of the daemon")).code, 0);
  await lines.cancel();
});

Deno.test("each program gets the permissions of its set and no others", () => {
  const flags = permissionFlags("balancer");
  assert(flags.includes("--allow-run=sh") && flags.includes("--allow-net"));
  assert(![...flags, ...permissionFlags("balancerctl")].some((flag) => /all$|ffi$/.test(flag)));
  for (const name of ["balancer", "balancerctl"] as const) {
    assert(permissionFlags(name).some((flag) => /^--allow-ffi=([^,]*libc\.[^,]*,?)+$/.test(flag)), name);
  }
});
