// Signals that are no order to stop leave the daemon running.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { poll } from "../helpers.ts";
import { makePlace, outcomeOf, runForeground } from "../programs.ts";

const isWindows = Deno.build.os === "windows";

Deno.test({
  name: "SIGHUP opens the log file anew, and no line is lost",
  ignore: isWindows,
  async fn() {
    await using place = await makePlace();
    await place.start("--check", "off");
    const [log, moved] = [`${place.folder}/state/balancer/default.log`, `${place.folder}/state/balancer/default.log.moved`];
    const pid = await place.pid();
    const add = (port: number) => place.do("add", "192.0.2.1", String(port));
    await add(1);
    await Deno.rename(log, moved);
    await add(2);
    Deno.kill(pid, "SIGHUP");
    await poll(() => Deno.readTextFile(log).catch(() => ""), (text) => text.includes("opened the log file again"), "the new file");
    await add(3);
    await place.do("stop");
    const [before, after] = await Promise.all([moved, log].map((path) => Deno.readTextFile(path)));
    const added = (text: string) => [...text.matchAll(/Added server \\"(192\.0\.2\.1:[0-9])\\"/g)].map(([, server]) => server);
    assertEquals([added(before), added(after)], [["192.0.2.1:1", "192.0.2.1:2"], ["192.0.2.1:3"]]);
    assertStringIncludes(after, '"message":"Stopped"');
  },
});

Deno.test({
  name: "SIGHUP, SIGUSR1 and SIGUSR2 end nothing, and the log says what they did",
  ignore: isWindows,
  async fn() {
    await using place = await makePlace();
    const { process, ended } = await runForeground(place);
    const lines = process.stderr.pipeThrough(new TextDecoderStream());
    let text = "";
    const reading = (async () => {
      for await (const chunk of lines) text += chunk;
    })();
    const said = { SIGHUP: "nothing to reopen", SIGUSR1: 'Signal "SIGUSR1"', SIGUSR2: 'Signal "SIGUSR2"' };
    for (const [signal, says] of Object.entries(said)) {
      process.kill(signal as Deno.Signal);
      await poll(() => Promise.resolve(text.replaceAll("\\", "")), (text) => text.includes(says), says);
    }
    assertEquals((await place.ctl("status")).code, 0);
    process.kill("SIGTERM");
    assertEquals(await ended(), 0);
    await reading;
    assertMatch(text, /"level":"WARN"[^\n]*SIGUSR1/);
  },
});

Deno.test({
  name: "SIGHUP that finds no plain file goes on with the old one",
  ignore: isWindows,
  async fn() {
    await using place = await makePlace();
    await place.start();
    const log = `${place.folder}/state/balancer/default.log`;
    await Deno.rename(log, `${log}.moved`);
    await Deno.mkdir(log);
    Deno.kill(await place.pid(), "SIGHUP");
    const text = await poll(() => Deno.readTextFile(`${log}.moved`), (text) => text.includes("SIGHUP"), "the complaint");
    assertStringIncludes(text, "it is a folder and must be a plain file");
    assert((await outcomeOf(new Deno.Command(place.program("balancerctl"), { args: ["status"], env: place.env }))).code === 0);
  },
});
