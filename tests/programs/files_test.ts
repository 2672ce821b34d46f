// What the daemon finds at the paths of its files when it starts: what cannot be used is a sentence, at once.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { ProgramName } from "../../lib/values/packaging.ts";
import { saveState } from "../../lib/balancer/state_file.ts";
import { DEFAULT_SERVICE } from "../../lib/values/saved_state.ts";
import { DIST, makePlace, type Outcome, outcomeOf, type Place } from "../programs.ts";
import { type Need, needing, OTHER_USER } from "../tools.ts";

/** Runs the daemon, which must end by itself. */
function run(place: Place, ...args: string[]) {
  const words = ["run", "127.0.0.1", "0", ...args];
  return outcomeOf(new Deno.Command(place.program("balancer"), { args: words, env: place.env, stdin: "null" }));
}

async function makeFifo(path: string): Promise<void> {
  await new Deno.Command("mkfifo", { args: [path] }).output();
}

const FILES: readonly [what: string, path: (place: Place) => string, args: (place: Place) => string[]][] = [
  ["state", (place) => place.state(), () => []],
  ["lock", (place) => place.state().replace(/json$/, "lock"), () => []],
  ["log", (place) => `${place.folder}/a.log`, (place) => ["--log-file", `${place.folder}/a.log`]],
  ["access log", (place) => `${place.folder}/a.log`, (place) => ["--access-log", `${place.folder}/a.log`]],
];

const ODD: readonly [what: string, needs: readonly Need[], make: (path: string) => Promise<void>, kind: string][] = [
  ["a FIFO", ["mkfifo"], makeFifo, "a FIFO"],
  ["a link to /dev/zero", ["Linux"], (path) => Deno.symlink("/dev/zero", path), "a character device"],
  ["a folder", [], (path) => Deno.mkdir(path), "a folder"],
];

for (const [file, pathOf, argsOf] of FILES) {
  for (const [odd, needs, make, kind] of ODD) {
    Deno.test({
      ...await needing(`${file} file that is ${odd} is told and left alone`, ...needs),
      async fn() {
        await using place = await makePlace();
        await Deno.mkdir(`${place.folder}/state/balancer`, { mode: 0o700 });
        const path = pathOf(place);
        await make(path);
        const { code, stdout, stderr } = await run(place, ...argsOf(place));
        assertEquals([code, stdout], [1, ""], stderr);
        assertMatch(stderr, /^balancer: [^\n]+\n$/);
        assertStringIncludes(stderr, `${JSON.stringify(path)}: it is ${kind} and must be a plain file; move it away`);
        await Deno.lstat(path);
      },
    });
  }
}

Deno.test("a state file with more servers than a pool may have is kept aside, and the next start is as any other", async () => {
  await using place = await makePlace();
  await Deno.mkdir(`${place.folder}/state/balancer`, { mode: 0o700 });
  const servers = Array.from(
    { length: 33_000 },
    (_, i) => ({ server: `10.0.${i >> 8}.${i & 255}:80`, weight: 1, connectionsMax: null }),
  );
  const services = [{ name: DEFAULT_SERVICE, listeners: [], settings: {}, servers }];
  await saveState(place.state(), { generation: 1, services });
  const { code, stdout, stderr } = await place.ctl("start", "127.0.0.1", "0", "--check", "off");
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, /cannot be used: [^\n]*it has 33000 servers[^\n]*; it was renamed to "[^"]+", and the pool is empty\n/);
  await place.do("stop");
  assertMatch(await place.do("start", "127.0.0.1", "0"), /^Balancer "default" listens on/);
});

Deno.test("a state file of a later version is told and left alone, in the foreground and in the background", async () => {
  await using place = await makePlace();
  await Deno.mkdir(`${place.folder}/state/balancer`, { mode: 0o700 });
  const text = '{"format":"balancer-state","version":3,"realms":[]}';
  await Deno.writeTextFile(place.state(), text);
  const why = "it has version 3, and this program reads versions up to 2; start the version that wrote it, or move the file away";
  for (const outcome of [await run(place), await place.ctl("start", "127.0.0.1", "0")]) {
    assertSentence(outcome, `Cannot use the state file ${JSON.stringify(place.state())}: ${why}`);
  }
  assertEquals(await Deno.readTextFile(place.state()), text);
});

Deno.test("a pool that version 1 saved is there after the start, and a copy of its file stays", async () => {
  await using place = await makePlace();
  await Deno.mkdir(`${place.folder}/state/balancer`, { mode: 0o700 });
  const old = await Deno.readFile(new URL("../balancer/states/version_1_first", import.meta.url));
  await Deno.writeFile(place.state(), old);
  const servers = async () =>
    JSON.parse(await place.do("list", "--json")).servers.map(({ server }: { server: string }) => server).sort();
  await place.start("--check", "off");
  const before = ["10.0.0.1:80", "[2001:db8::1]:443", "db.example:5432"];
  assertEquals(await servers(), before);
  assertEquals(JSON.parse(await Deno.readTextFile(place.state())).version, 2, "the start has saved its address");
  await place.do("add", "10.0.0.2", "80");
  await place.do("stop");
  await place.start("--check", "off");
  assertEquals(await servers(), ["10.0.0.1:80", "10.0.0.2:80", ...before.slice(1)]);
  assertEquals(await Deno.readFile(`${place.state()}.v1`), old);
});

/** Where the programs unpack themselves for the user whom permissions bind. */
const CACHE = `${DIST}.parts/cache${Deno.uid() === 0 ? "-of-another" : ""}`;

const BOUND = "a user whom permissions bind, and who can run the programs";

/** Runs a program as that user, by a shell line that has it as "$@". */
function asOther(place: Place, program: ProgramName, args: string[], env: Record<string, string> = {}, line = 'exec "$@"') {
  const words = ["-c", line, "sh", place.program(program), ...args];
  const all = { ...place.env, XDG_CACHE_HOME: CACHE, ...env };
  return outcomeOf(new Deno.Command("sh", { args: words, cwd: "/", env: all, stdin: "null", ...OTHER_USER }));
}

/** Makes everything in the place that user's. */
async function giveAway(place: Place): Promise<void> {
  if (Deno.uid() !== 0) return;
  await Deno.mkdir(CACHE, { recursive: true, mode: 0o700 });
  await new Deno.Command("chown", { args: ["-R", `${OTHER_USER.uid}:${OTHER_USER.gid}`, place.folder, CACHE] }).output();
}

function assertSentence({ code, stdout, stderr }: Outcome, says: string, exit = 1): void {
  assertEquals([code, stdout], [exit, ""], stderr);
  assertMatch(stderr, /^balancer(ctl)?: [^\n]+\n$/);
  assertStringIncludes(stderr, says);
  assert(!/allow-all|os error|Internal error/.test(stderr), stderr);
}

Deno.test({
  ...await needing("a start where the state cannot be written is refused, and --no-state is the way out", BOUND),
  async fn() {
    await using place = await makePlace();
    const folder = `${place.folder}/state/balancer`;
    await Deno.mkdir(folder, { mode: 0o700 });
    for (const name of ["default.lock", "default.log"]) await Deno.writeTextFile(`${folder}/${name}`, "");
    await giveAway(place);
    await Deno.chmod(folder, 0o500);
    const start = (...args: string[]) => asOther(place, "balancerctl", ["start", "127.0.0.1", "0", ...args]);
    assertSentence(
      await start(),
      `Cannot keep the state in ${JSON.stringify(place.state())}: Permission denied; free some space there`,
    );
    assertSentence(await start(), "or start with --no-state\n");
    const { code, stdout, stderr } = await start("--no-state");
    assertEquals([code, stderr], [0, ""]);
    assertStringIncludes(stdout, "Its pool is not kept (--no-state): after a restart it is empty\n");
    assertEquals((await asOther(place, "balancerctl", ["add", "192.0.2.1", "80"])).code, 0);
    const { stdout: status } = await asOther(place, "balancerctl", ["status"]);
    assertMatch(status, /^ {2}State +not kept \(--no-state\)$/m);
    assertEquals((await asOther(place, "balancerctl", ["stop"])).code, 0);
    await Deno.chmod(folder, 0o700);
    assertMatch((await start("--no-state")).stdout, /with 0 servers\n/);
    assertEquals(await Deno.stat(place.state()).catch(() => "none"), "none");
    assertEquals((await asOther(place, "balancerctl", ["stop"])).code, 0);
  },
});

Deno.test({
  ...await needing("a folder of one's own that one cannot use is not called another user's", BOUND),
  async fn() {
    await using place = await makePlace();
    const folder = `${place.folder}/run/balancer`;
    await Deno.mkdir(folder, { mode: 0o700 });
    await giveAway(place);
    await Deno.chmod(folder, 0o000);
    for (const words of [["list"], ["start", "127.0.0.1", "0"]]) {
      assertSentence(
        await asOther(place, "balancerctl", words),
        "has mode 000: not even its owner can enter it; run chmod 700 on it\n",
      );
    }
    assertSentence(await asOther(place, "balancer", ["run", "127.0.0.1", "0"]), "has mode 000: not even its owner can enter it");
    await Deno.chmod(folder, 0o700);
  },
});

const LONG = `/tmp/${"x".repeat(5000)}`;
const ROOMS: readonly [what: string, env: Record<string, string>, says: string, exit: number][] = [
  ["XDG_RUNTIME_DIR=/proc", { XDG_RUNTIME_DIR: "/proc" }, '"/proc/balancer', 1],
  ["a very long XDG_RUNTIME_DIR", { XDG_RUNTIME_DIR: LONG }, "choose a shorter --name or XDG_RUNTIME_DIR", 2],
  ["HOME and XDG_STATE_HOME unset", { HOME: "", XDG_STATE_HOME: "" }, "set HOME, XDG_STATE_HOME or STATE_DIRECTORY", 1],
];

for (const [what, env, says, exit] of ROOMS) {
  Deno.test({
    ...await needing(`a start with ${what} is refused with a sentence`, "Linux", BOUND),
    async fn() {
      await using place = await makePlace();
      await giveAway(place);
      assertSentence(await asOther(place, "balancerctl", ["start", "127.0.0.1", "0"], env), says, exit);
      assertSentence(await asOther(place, "balancer", ["run", "127.0.0.1", "0"], env), says, exit);
    },
  });
}

Deno.test({
  ...await needing("programs unpack themselves where systemd says, also if that is a link", "programs that unpack themselves"),
  async fn() {
    await using place = await makePlace();
    const real = `${place.folder}/private`;
    await Deno.mkdir(real, { mode: 0o700 });
    await Deno.symlink(real, `${place.folder}/link`);
    const env = { CACHE_DIRECTORY: `${place.folder}/link:/elsewhere`, TMPDIR: "/nowhere", PATH: "/usr/bin:/bin" };
    const asked = await outcomeOf(new Deno.Command(place.program("balancer"), { args: ["--version"], env, clearEnv: true }));
    assertMatch(asked.stdout, /^balancer [0-9.]+ \(self-extracting/, asked.stderr);
    assert((await Array.fromAsync(Deno.readDir(real))).some(({ name }) => /^balancer-[0-9a-f]{16}$/.test(name)));
  },
});

Deno.test({
  ...await needing(
    "a limit on open files that is too low is a sentence that says it, in programs that unpack themselves",
    "programs that unpack themselves",
    BOUND,
  ),
  async fn() {
    await using place = await makePlace();
    await giveAway(place);
    const says = "Cannot run under a limit of 20 open files: raise it (ulimit -n) to 256 or more\n";
    const line = 'ulimit -n 20; exec "$@"';
    assertSentence(await asOther(place, "balancerctl", ["start", "127.0.0.1", "0"], {}, line), says);
    assertSentence(await asOther(place, "balancer", ["run", "127.0.0.1", "0"], {}, line), says);
    for (const limit of [32, 48]) {
      const outcome = await asOther(place, "balancerctl", ["start", "127.0.0.1", "0"], {}, `ulimit -n ${limit}; exec "$@"`);
      assertSentence(outcome, "raise it (ulimit -n) to ");
    }
  },
});
