// What the daemon finds at the paths of its files when it starts: what cannot be used is a sentence, at once.

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { saveState } from "../lib/state_file.ts";
import { canRun } from "./helpers.ts";
import { makePlace, outcomeOf, type Place } from "./programs.ts";

const isLinux = Deno.build.os === "linux";
const canMakeFifos = await canRun("mkfifo", "--version");

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
];

const ODD: readonly [what: string, can: boolean, make: (path: string) => Promise<void>, kind: string][] = [
  ["a FIFO", canMakeFifos, makeFifo, "a FIFO"],
  ["a link to /dev/zero", isLinux, (path) => Deno.symlink("/dev/zero", path), "a character device"],
  ["a folder", true, (path) => Deno.mkdir(path), "a folder"],
];

for (const [file, pathOf, argsOf] of FILES) {
  for (const [odd, can, make, kind] of ODD) {
    Deno.test({
      name: `a ${file} file that is ${odd} is told and left alone`,
      ignore: !can,
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
  await saveState(place.state(), servers);
  const { code, stdout, stderr } = await place.ctl("start", "127.0.0.1", "0", "--check", "off");
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, /cannot be used: [^\n]*it has 33000 servers[^\n]*; it is kept as "[^"]+" and the pool is empty\n/);
  await place.do("stop");
  assertMatch(await place.do("start", "127.0.0.1", "0"), /^Balancer "default" listens on/);
});
