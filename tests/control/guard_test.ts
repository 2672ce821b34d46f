// A daemon stays alone under its name and within reach, whatever is removed under it.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { isLocked, Lock } from "../../lib/control/lock.ts";
import { poll } from "../helpers.ts";
import { makePlace, type Place } from "../programs.ts";

const isWindows = Deno.build.os === "windows";

const lockOf = (place: Place) => place.state().replace(/json$/, "lock");
const logOf = (place: Place) => Deno.readTextFile(place.state().replace(/json$/, "log"));

const REMOVALS: readonly [what: string, paths: (place: Place) => string[]][] = [
  ["its socket", (place) => [place.socket()]],
  ["its lock", (place) => [lockOf(place)]],
  ["its lock and then its socket", (place) => [lockOf(place), place.socket()]],
  ["its socket and then its lock", (place) => [place.socket(), lockOf(place)]],
  ["its lock and the whole runtime folder", (place) => [lockOf(place), `${place.folder}/run/balancer`]],
];

for (const [what, pathsOf] of REMOVALS) {
  Deno.test({
    name: `a daemon under which ${what} was removed makes it anew, and no second one starts`,
    ignore: isWindows,
    async fn() {
      await using place = await makePlace();
      await place.start();
      const pid = await place.pid();
      for (const path of pathsOf(place)) await Deno.remove(path, { recursive: true });
      const second = await place.ctl("start", "127.0.0.1", "0");
      assertEquals(second.code, 1, second.stdout);
      assertStringIncludes(second.stderr, "running");
      await poll(() => place.ctl("status"), ({ code }) => code === 0, "the socket to be there again");
      assertEquals(await place.pid(), pid);
      await poll(() => isLocked(lockOf(place)), (isLocked) => isLocked, "the lock to be held again");
      await poll(() => logOf(place), (log) => /is restored/.test(log), "a line of the log");
      await place.do("stop");
      assertEquals((await place.ctl("status")).code, 3);
    },
  });
}

Deno.test({
  name: "a daemon that runs without a socket is told from one that does not run",
  ignore: isWindows,
  async fn() {
    await using place = await makePlace();
    await Deno.mkdir(`${place.folder}/state/balancer`, { mode: 0o700 });
    const { code, stderr } = await place.ctl("status");
    assertEquals([code, /^balancerctl: No balancer "default" is running/.test(stderr)], [3, true]);
    using file = await Deno.open(lockOf(place), { write: true, create: true });
    await file.lock(true); // as a daemon has it
    for (const command of ["status", "list", "stop"]) {
      const { code, stderr } = await place.ctl(command);
      const says = 'Balancer "default" is running, but its control socket is missing; ' +
        "the daemon restores it within a second: try again, then see its log";
      assertEquals([code, stderr], [1, `balancerctl: ${says}\n`]);
    }
  },
});

Deno.test({
  name: "a daemon whose lock another process has taken says so, once, and takes it when it is free",
  ignore: isWindows,
  async fn() {
    await using place = await makePlace();
    await place.start();
    const before = await Deno.stat(lockOf(place));
    {
      using file = await Deno.open(`${lockOf(place)}.new`, { write: true, create: true });
      await file.lock(true);
      await Deno.rename(`${lockOf(place)}.new`, lockOf(place));
      await poll(() => logOf(place), (log) => log.includes("another process has locked a new lock file"), "the complaint");
      await place.do("status");
    }
    await poll(() => logOf(place), (log) => /Lock file .* is restored/.test(log), "the lock to be taken");
    assert((await Deno.stat(lockOf(place))).ino !== before.ino);
    assertEquals((await logOf(place)).match(/"message":"[^\n"]*[^\n]*another process/g)?.length, 1);
    assertMatch(await logOf(place), /"level":"ERROR"[^\n]*another process has locked a new lock file/);
  },
});

Deno.test({
  name: "Lock.take() gives no lock that another has, and none of a file that is not at the path",
  ignore: isWindows,
  async fn() {
    const folder = await Deno.makeTempDir({ prefix: "balancer_lock_" });
    try {
      const path = `${folder}/a.lock`;
      assertEquals(await isLocked(path), false);
      const lock = await Lock.take(path);
      assertEquals([await lock?.check(), await isLocked(path), await Lock.take(path)], ["ours", true, undefined]);
      await Deno.remove(path);
      assertEquals([await lock?.check(), await lock?.check(), await isLocked(path)], ["renewed", "ours", true]);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
