// install.sh as a newcomer and as an operator meet it.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { FILES, INSTALLED } from "../../tools/contrib/contrib.ts";
import { DIST, type Outcome, outcomeOf, whenNotBusy } from "../programs.ts";
import { type Need, needing } from "../tools.ts";

const ROOT = `${import.meta.dirname}/../../`;

/** A build with all that it must fetch first, on a busy machine. */
const BUILD_MAX_MS = 150_000;

/** What the files of this checkout are found by. */
const GIT = "git in a checkout of one's own";

/** What is installed beside the programs, by its path in share. */
const SHARED = Object.keys(FILES).filter((path) => path.startsWith(`${INSTALLED}/`)).map((path) =>
  path.slice(INSTALLED.length + 1)
);

/** A build from nothing takes a minute of CPU. `.ci/run` asks for it. */
const IS_LONG = Deno.env.get("BALANCER_TEST_LONG") !== undefined;
/** The units of systemd. */
const UNITS = ["balancer@.service", "balancer@.socket"];

/** Shells to try the script under. */
const SHELLS: readonly (readonly [Need, ...words: string[]])[] = [["sh"], ["dash"], ["busybox", "sh"]];

/** Programs that install.sh may use, without Deno and without npm. */
const PLAIN_PATH = "/usr/bin:/bin";

interface Machine extends AsyncDisposable {
  readonly home: string;
  /** Where the programs are installed. */
  readonly bin: string;
  /** Runs something in an environment that has nothing of ours. */
  run(path: string, args: readonly string[], env?: Record<string, string>): Promise<Outcome>;
  /** Runs install.sh of this checkout with a prefix of the machine's own. */
  install(...args: string[]): Promise<Outcome>;
  /** Runs an installed program. */
  program(name: string, ...args: string[]): Promise<Outcome>;
}

/** An empty home. */
async function makeMachine(): Promise<Machine> {
  const home = await Deno.makeTempDir({ prefix: "balancer_test_" });
  const bin = `${home}/opt/bin`;
  const tmp = `${home}/tmp`;
  await Deno.mkdir(tmp);
  const own = { HOME: home, TMPDIR: tmp, XDG_RUNTIME_DIR: `${home}/run`, XDG_STATE_HOME: `${home}/state`, NO_COLOR: "1" };
  const run: Machine["run"] = (path, args, more = {}) => {
    const env = { ...certificates(), PATH: PLAIN_PATH, ...own, ...more };
    return outcomeOf(new Deno.Command(path, { args: [...args], env, clearEnv: true, cwd: home, stdin: "null" }), BUILD_MAX_MS);
  };
  return {
    home,
    bin,
    run,
    install: (...args) => run(`${ROOT}install.sh`, ["--prefix", `${home}/opt`, ...args]),
    program: (name, ...args) => run(`${bin}/${name}`, args, { PATH: `${bin}:${PLAIN_PATH}` }),
    [Symbol.asyncDispose]: () => Deno.remove(home, { recursive: true }),
  };
}

/** Settings without which npm and Deno cannot reach the registry on some machines. */
function certificates(): Record<string, string> {
  return Object.fromEntries(Object.entries(Deno.env.toObject()).filter(([name]) => /CERT|^npm_config|_proxy$/i.test(name)));
}

/** A release made of two little scripts: what install.sh does with programs does not depend on what they are. */
async function makeRelease(folder: string, target = Deno.build.target): Promise<string> {
  const programs = `${folder}/programs`;
  await Deno.mkdir(programs, { recursive: true });
  for (const name of ["balancer", "balancerctl"]) {
    const script = `#!/bin/sh\n[ "$1" != status ] || exit \${STATUS:-3}\necho "${name} 9.9.9 (a test)"\n`;
    await Deno.writeTextFile(`${programs}/${name}`, script, { mode: 0o755 });
  }
  for (const path of SHARED) {
    const to = `${programs}/share/${path}`;
    await Deno.mkdir(to.replace(/[^/]*$/, ""), { recursive: true });
    await Deno.copyFile(`${ROOT}${INSTALLED}/${path}`, to);
  }
  await Deno.mkdir(`${programs}/systemd`);
  for (const unit of UNITS) await Deno.copyFile(`${ROOT}contrib/systemd/${unit}`, `${programs}/systemd/${unit}`);
  const release = `${folder}/release`;
  await Deno.mkdir(release, { recursive: true });
  await packPrograms(folder, target);
  return release;
}

/** Makes the tarball of the programs in a folder, and SHA256SUMS. */
async function packPrograms(folder: string, target: string): Promise<void> {
  const tarball = `balancer-9.9.9-${target}.tar.gz`;
  const args = ["-czf", `${folder}/release/${tarball}`, "-C", `${folder}/programs`, "."];
  assert((await new Deno.Command("tar", { args }).output()).success);
  const sum = await crypto.subtle.digest("SHA-256", await Deno.readFile(`${folder}/release/${tarball}`));
  await Deno.writeTextFile(`${folder}/release/SHA256SUMS`, `${new Uint8Array(sum).toHex()}  ${tarball}\n`);
}

async function filesIn(folder: string): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(folder)).catch(() => []);
  const nested = entries.map(({ name, isDirectory }) =>
    isDirectory ? filesIn(`${folder}/${name}`) : Promise.resolve([`${folder}/${name}`])
  );
  return (await Promise.all(nested)).flat();
}

const FRESH_CLONE = "a fresh clone, an empty home, no Deno on PATH: install, demo, the five commands, uninstall, nothing left";

Deno.test({
  ...IS_LONG
    ? await needing(FRESH_CLONE, "Linux", "npm", GIT)
    : { name: `${FRESH_CLONE} (ignored: it needs BALANCER_TEST_LONG=1)`, ignore: true },
  async fn() {
    await using machine = await makeMachine();
    const clone = `${machine.home}/clone`;
    await copyCheckout(clone);
    const npm = (await outcomeOf(new Deno.Command("sh", { args: ["-c", "command -v npm"] }))).stdout.trim();
    const PATH = `${machine.home}/.local/bin:${npm.slice(0, npm.lastIndexOf("/"))}:${PLAIN_PATH}`;
    const prefix = ["--prefix", `${machine.home}/.local`];
    const run = (path: string, ...args: string[]) => machine.run(path, args, { PATH });
    assert(!(await run("sh", "-c", "command -v deno")).stdout.includes(machine.home));
    const installed = await run(`${clone}/install.sh`, ...prefix);
    assertEquals(installed.code, 0, installed.stderr);
    assertEquals(installed.stdout, "Try it: balancerctl demo\n");
    const shell = (line: string) => run("sh", "-c", line);
    assertEquals((await shell("balancerctl demo")).code, 0);
    assertEquals((await shell("balancerctl start 127.0.0.1 0")).code, 0);
    assertEquals((await shell("balancerctl add 192.0.2.1 80")).code, 0);
    assertStringIncludes((await shell("balancerctl list")).stdout, "192.0.2.1:80");
    assertEquals((await shell("balancerctl remove 192.0.2.1 80")).code, 0);
    const running = await run(`${clone}/install.sh`, "--uninstall", ...prefix);
    assertEquals(running.code, 1);
    assertStringIncludes(running.stderr, "stop it first with balancerctl stop");
    assertEquals((await shell("balancerctl stop")).code, 0);
    const removed = await run(`${clone}/install.sh`, "--uninstall", "--purge", ...prefix);
    assertEquals(removed.code, 0, removed.stderr);
    await Deno.remove(clone, { recursive: true });
    assertEquals(await filesIn(machine.home), []);
  },
});

/** The files of this checkout that git knows or would know, as they are now, and no others. */
async function copyCheckout(to: string): Promise<void> {
  const { stdout } = await outcomeOf(new Deno.Command("git", { args: ["ls-files", "-co", "--exclude-standard"], cwd: ROOT }));
  for (const file of stdout.trim().split("\n")) {
    if (!await Deno.stat(ROOT + file).then(({ isFile }) => isFile, () => false)) continue;
    await Deno.mkdir(`${to}/${file}`.replace(/\/[^/]*$/, ""), { recursive: true });
    await Deno.copyFile(ROOT + file, `${to}/${file}`);
  }
}

for (const shell of SHELLS) {
  Deno.test({
    ...await needing(`[${shell.join(" ")}] --release installs, replaces and uninstalls`, shell[0], "tar with gzip"),
    async fn() {
      await using machine = await makeMachine();
      const release = await makeRelease(machine.home);
      const install = (...args: string[]) =>
        machine.run(shell[0], [...shell.slice(1), `${ROOT}install.sh`, "--prefix", `${machine.home}/opt`, ...args]);
      for (const round of [1, 2]) {
        const { code, stdout, stderr } = await install("--release", release);
        assertEquals(code, 0, `round ${round}: ${stderr}`);
        assertEquals(stdout, `Try it: ${machine.bin}/balancerctl demo\n`);
        assertStringIncludes(stderr, `${machine.bin} is not on PATH`);
      }
      assertEquals((await machine.program("balancerctl", "--version")).stdout, "balancerctl 9.9.9 (a test)\n");
      assertEquals((await filesIn(machine.bin)).length, 2);
      const share = `${machine.home}/opt/share`;
      assertEquals((await filesIn(share)).toSorted(), SHARED.map((path) => `${share}/${path}`).toSorted());
      const { code } = await install("--uninstall");
      assertEquals([code, await filesIn(`${machine.home}/opt`)], [0, []]);
      assertEquals(await filesIn(`${machine.home}/tmp`), []);
      assertEquals((await install("--uninstall")).code, 1);
    },
  });
}

const WEB_SERVER = "--release from a web server: good, wrong sum, cut short, missing target, missing server";

Deno.test(await needing(WEB_SERVER, "curl or wget", "tar with gzip"), async () => {
  await using machine = await makeMachine();
  const release = await makeRelease(machine.home);
  const other = await makeRelease(`${machine.home}/other`, "sparc64-unknown-linux-gnu" as typeof Deno.build.target);
  const tarball = `balancer-9.9.9-${Deno.build.target}.tar.gz`;
  let spoil = (bytes: Uint8Array<ArrayBuffer>) => bytes;
  await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async ({ url }) => {
    const path = new URL(url).pathname;
    const folder = path.startsWith("/other/") ? other : release;
    const bytes = await Deno.readFile(folder + path.replace("/other", "")).catch(() => undefined);
    if (bytes === undefined) return new Response("no such file", { status: 404 });
    return new Response(path.endsWith(tarball) ? spoil(bytes) : bytes);
  });
  const url = `http://127.0.0.1:${server.addr.port}`;
  assertEquals((await machine.install("--release", url)).code, 0);
  await Deno.writeTextFile(`${machine.bin}/balancer`, "old");
  const cases: readonly [spoiled: typeof spoil, from: string, says: string][] = [
    [(bytes) => bytes.map((byte, i) => i === 99 ? byte ^ 1 : byte), url, "The SHA-256 of"],
    [(bytes) => bytes.subarray(0, bytes.length - 10), url, "The SHA-256 of"],
    [(bytes) => bytes, `${url}/other`, `has no programs for ${Deno.build.target}`],
    [(bytes) => bytes, `${url}/nowhere`, 'Cannot get "SHA256SUMS"'],
    [(bytes) => bytes, "http://127.0.0.1:1", 'Cannot get "SHA256SUMS"'],
  ];
  for (const [spoiled, from, says] of cases) {
    spoil = spoiled;
    const { code, stderr } = await machine.install("--release", from);
    assertEquals(code, 1, stderr);
    assertStringIncludes(stderr, says);
    assertEquals(await Deno.readTextFile(`${machine.bin}/balancer`), "old", "the old program stays");
    assertEquals((await filesIn(machine.bin)).length, 2);
  }
  assertEquals(await filesIn(`${machine.home}/tmp`), []);
});

Deno.test(await needing("the programs are replaced while one of them runs", "tar with gzip"), async () => {
  await using machine = await makeMachine();
  const release = await makeRelease(machine.home);
  await Deno.mkdir(machine.bin, { recursive: true });
  await Deno.copyFile(`${DIST}balancer`, `${machine.bin}/balancer`);
  const env = {
    PATH: PLAIN_PATH,
    HOME: machine.home,
    XDG_RUNTIME_DIR: machine.home,
    XDG_STATE_HOME: machine.home,
    XDG_CACHE_HOME: `${DIST}.parts/cache`,
  };
  const command = new Deno.Command(`${machine.bin}/balancer`, {
    args: ["run", "127.0.0.1", "0"],
    env,
    clearEnv: true,
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  });
  const daemon = await whenNotBusy(() => command.spawn());
  const lines = daemon.stdout.getReader();
  await lines.read();
  assertEquals((await machine.install("--release", release)).code, 0);
  assertEquals((await machine.program("balancer", "--version")).stdout, "balancer 9.9.9 (a test)\n");
  daemon.kill("SIGTERM");
  assertEquals((await daemon.status).code, 0);
  await lines.cancel();
});

Deno.test(await needing("uninstalling keeps the pools unless it is told otherwise", "tar with gzip"), async () => {
  await using machine = await makeMachine();
  const release = await makeRelease(machine.home);
  const env = { XDG_STATE_HOME: `${machine.home}/state` };
  const run = (...args: string[]) => machine.run(`${ROOT}install.sh`, ["--prefix", `${machine.home}/opt`, ...args], env);
  const pool = `${machine.home}/state/balancer/default.json`;
  await Deno.mkdir(`${machine.home}/state/balancer`, { recursive: true });
  await Deno.writeTextFile(pool, "{}");
  await run("--release", release);
  const kept = await run("--uninstall");
  assertEquals(kept.code, 0);
  assertMatch(kept.stderr, /Kept the saved pools in [^\n]*state\/balancer; remove them with --uninstall --purge/);
  assertEquals(await Deno.readTextFile(pool), "{}");
  await run("--release", release);
  assertStringIncludes((await run("--uninstall", "--purge")).stderr, "Removed the saved pools");
  assertEquals(await filesIn(`${machine.home}/state`), []);
});

Deno.test(
  await needing("uninstalling removes nothing that is not balancer's, and nothing while one runs or may", "tar with gzip"),
  async () => {
    await using machine = await makeMachine();
    const release = await makeRelease(machine.home);
    const state = `${machine.home}/state/balancer`;
    const cache = `${machine.home}/.cache/balancer`;
    const run = (env: Record<string, string>, ...args: string[]) =>
      machine.run(`${ROOT}install.sh`, ["--prefix", `${machine.home}/opt`, ...args], {
        XDG_STATE_HOME: `${machine.home}/state`,
        ...env,
      });
    await Deno.mkdir(state, { recursive: true });
    await Deno.writeTextFile(`${state}/other.lock`, "");
    await Deno.mkdir(cache, { recursive: true });
    await Deno.writeTextFile(`${cache}/precious`, "");
    await run({}, "--release", release);
    for (const STATUS of ["0", "1"]) {
      const { code, stderr } = await run({ STATUS }, "--uninstall", "--purge");
      assertEquals(code, 1);
      assertStringIncludes(stderr, 'balancer "other" is running, or does not answer');
    }
    const relative = await run({ XDG_STATE_HOME: "state" }, "--uninstall", "--purge", "--dry-run");
    assert(!relative.stdout.includes("in state"), relative.stdout);
    assertEquals((await run({}, "--uninstall", "--purge")).code, 0);
    assertEquals([await filesIn(machine.bin), await filesIn(state)], [[], []]);
    assertEquals(await filesIn(cache), [`${cache}/precious`]);
    await Deno.writeTextFile(`${machine.bin}/balancer`, "#!/bin/sh\necho another program\n", { mode: 0o755 });
    const foreign = await run({}, "--uninstall");
    assertEquals([foreign.code, (await filesIn(machine.bin)).length], [1, 1]);
    assertStringIncludes(foreign.stderr, "is another program");
  },
);

Deno.test(
  await needing(
    "an older release has no manual pages, and where they cannot be written the programs are installed",
    "tar with gzip",
  ),
  async () => {
    await using machine = await makeMachine();
    const release = await makeRelease(machine.home);
    await Deno.mkdir(`${machine.home}/opt`);
    await Deno.writeTextFile(`${machine.home}/opt/share`, "in the way");
    const hindered = await machine.install("--release", release);
    assertEquals([hindered.code, (await filesIn(machine.bin)).length], [0, 2]);
    assertMatch(hindered.stderr, /Warning: cannot write to "[^"]*share\/man\/man1": no manual pages, no completion/);
    await Deno.remove(`${machine.home}/opt/share`);
    await Deno.remove(`${machine.home}/programs/share`, { recursive: true });
    await packPrograms(machine.home, Deno.build.target);
    const old = await machine.install("--release", release);
    assertEquals([old.code, await filesIn(`${machine.home}/opt/share`)], [0, []]);
    assert(!old.stderr.includes("cannot write"), old.stderr);
  },
);

Deno.test({
  ...await needing("what is installed is found: the manual by man, completion by bash and fish", "tar with gzip", "man", "fish"),
  async fn() {
    await using machine = await makeMachine();
    const release = await makeRelease(machine.home);
    const run = (path: string, ...args: string[]) =>
      machine.run(path, args, { PATH: `${machine.home}/.local/bin:${PLAIN_PATH}`, XDG_DATA_HOME: `${machine.home}/.local/share` });
    assertEquals((await run(`${ROOT}install.sh`, "--prefix", `${machine.home}/.local`, "--release", release)).code, 0);
    assertEquals((await run("man", "-w", "balancerctl")).stdout.trim(), `${machine.home}/.local/share/man/man1/balancerctl.1`);
    const found = "complete -C 'balancer ' >/dev/null; functions -q __balancerctl_offer && echo found";
    assertEquals((await run("fish", "-c", found)).stdout.trim(), "found");
  },
});

Deno.test(await needing("a release whose programs do not run installs nothing", "tar with gzip"), async () => {
  await using machine = await makeMachine();
  const release = await makeRelease(machine.home);
  const tarball = `${release}/balancer-9.9.9-${Deno.build.target}.tar.gz`;
  await Deno.writeTextFile(`${machine.home}/programs/balancer`, "#!/bin/sh\nexit 1\n", { mode: 0o755 });
  await new Deno.Command("tar", { args: ["-czf", tarball, "-C", `${machine.home}/programs`, "balancer", "balancerctl"] }).output();
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", await Deno.readFile(tarball))).toHex();
  await Deno.writeTextFile(`${release}/SHA256SUMS`, `${sum}  ${tarball.split("/").at(-1)}\r\n`);
  const { code, stderr } = await machine.install("--release", release);
  assertEquals([code, await filesIn(machine.bin)], [1, []]);
  assertStringIncludes(stderr, 'The program "balancer" does not run on this machine; nothing was installed');
});

Deno.test(await needing("--systemd installs the units with the paths of the programs", "tar with gzip"), async () => {
  await using machine = await makeMachine();
  const release = await makeRelease(machine.home);
  const units = `${machine.home}/units`;
  const installed = await machine.install("--release", release, `--systemd=${units}`);
  assertEquals([installed.code, (await filesIn(units)).toSorted()], [0, UNITS.map((unit) => `${units}/${unit}`)], installed.stderr);
  const service = await Deno.readTextFile(`${units}/balancer@.service`);
  assertStringIncludes(service, `\nExecStart=${machine.bin}/balancer run --name %i `);
  assertEquals(service.includes("/usr/bin/balancer"), false);
  const again = await machine.install("--release", release, `--systemd=${units}`);
  assertEquals([again.code, (await filesIn(units)).length], [0, 2], again.stderr);
  const planned = await machine.install("--dry-run", "--systemd");
  assertStringIncludes(planned.stdout, "Would install balancer@.service and balancer@.socket to /etc/systemd/system\n");
  const home = await machine.run(`${ROOT}install.sh`, ["--prefix", "/home/somebody", "--dry-run", "--systemd"]);
  assertEquals(home.code, 1);
  assertStringIncludes(home.stderr, 'Cannot install the units: services have no access to "/home/somebody/bin"');
});

Deno.test("--help and --dry-run do nothing; a wrong option is told", async () => {
  await using machine = await makeMachine();
  assertStringIncludes((await machine.install("--help")).stdout, "--release URL|FOLDER");
  assertMatch((await machine.install("--dry-run")).stdout, /^Would build balancer and balancerctl in /);
  assertStringIncludes((await machine.install("--dry-run", "--release", "x")).stdout, `for ${Deno.build.target} from x`);
  assertStringIncludes((await machine.install("--dry-run", "--uninstall")).stdout, "Would remove");
  for (const words of [["--nope"], ["--release"], ["--purge"], ["--release", "x", "--uninstall"]]) {
    const { code, stderr } = await machine.install(...words);
    assertEquals(code, 2, words.join(" "));
    assertMatch(stderr, /^install\.sh: [^\n]+\n$/);
  }
  assertEquals(await filesIn(machine.home), []);
});

Deno.test(await needing("without Deno and npm the build says what to install", GIT), async () => {
  await using machine = await makeMachine();
  const clone = `${machine.home}/clone`;
  await copyCheckout(clone);
  const tools = `${machine.home}/tools`;
  await Deno.mkdir(tools);
  for (const tool of ["sh", "sed", "grep", "id", "dirname", "mktemp", "mkdir", "rm", "uname", "cat", "pwd"]) {
    const at = (await outcomeOf(new Deno.Command("sh", { args: ["-c", `command -v ${tool}`] }))).stdout.trim();
    if (at.startsWith("/")) await Deno.symlink(at, `${tools}/${tool}`);
  }
  const { code, stderr } = await machine.run(`${clone}/install.sh`, ["--prefix", `${machine.home}/opt`], { PATH: tools });
  assertEquals(code, 1);
  assertMatch(stderr, /^install\.sh: Cannot build: neither Deno [0-9.]+ nor npm was found; install Node\.js with npm[^\n]*\n$/);
});

Deno.test(await needing("the build trusts the system's certificate authorities unless it is told whom to trust", GIT), async () => {
  await using machine = await makeMachine();
  const clone = `${machine.home}/clone`;
  await copyCheckout(clone);
  const version = (await Deno.readTextFile(`${ROOT}.tool-versions`)).match(/^deno (\S+)$/m)?.[1];
  const fake =
    `#!/bin/sh\n[ "$1" != --version ] || { echo "deno ${version} (a test)"; exit; }\necho "$DENO_TLS_CA_STORE" >&2\nexit 1\n`;
  await Deno.mkdir(`${machine.home}/fake`);
  await Deno.writeTextFile(`${machine.home}/fake/deno`, fake, { mode: 0o755 });
  const env = { PATH: `${machine.home}/fake:${PLAIN_PATH}` };
  for (const [told, trusted] of [[{}, "system,mozilla"], [{ DENO_TLS_CA_STORE: "mozilla" }, "mozilla"]] as const) {
    const { code, stderr } = await machine.run(`${clone}/install.sh`, ["--prefix", `${machine.home}/opt`], { ...env, ...told });
    assertEquals([code, stderr], [1, `Building\n${trusted}\ninstall.sh: The build failed; nothing was installed\n`]);
  }
});

Deno.test(await needing("every shell script is clean under shellcheck", "shellcheck"), async () => {
  const args = ["install.sh", "tools/self_extracting.sh", "tools/bare.sh", ".ci/run"].map((script) => ROOT + script);
  const { code, stdout } = await outcomeOf(new Deno.Command("shellcheck", { args }));
  assertEquals(code, 0, stdout);
});
