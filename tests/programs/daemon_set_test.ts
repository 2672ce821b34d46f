// Settings of the daemon change while it runs: by `daemon set`, by a declared file and by `undo`, whole or not at all, and over a
// restart; connections stay.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { formatAddress } from "../../lib/values/address.ts";
import { ask, connect, echo, poll, readBytes, soon, startServer, unusedAddress, writeText } from "../helpers.ts";
import { makePlace, outcomeOf, type Place, runForeground } from "../programs.ts";

/** The status of /live at an address; undefined: nobody serves there. */
async function live(address: string): Promise<number | undefined> {
  try {
    const response = await fetch(`http://${address}/live`);
    await response.body?.cancel();
    return response.status;
  } catch {
    return undefined;
  }
}

async function linesOf(path: string): Promise<{ event: string; sentBytes: number }[]> {
  const text = await Deno.readTextFile(path).catch(() => "");
  return text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
}

async function settingsOf(place: Place): Promise<Record<string, string>> {
  return JSON.parse(await place.do("status", "--json")).settings;
}

/** One sentence, this exit code, and nothing has changed. */
async function refused(place: Place, code: number, says: string, ...args: string[]): Promise<void> {
  const before = await settingsOf(place);
  const outcome = await place.ctl(...args);
  assertEquals([outcome.code, outcome.stdout], [code, ""], outcome.stderr);
  assertStringIncludes(outcome.stderr, says);
  assertEquals(outcome.stderr.trimEnd().split("\n").length, 1, outcome.stderr);
  assertEquals(await settingsOf(place), before);
}

async function exchange(client: Deno.TcpConn): Promise<void> {
  await writeText(client, "x");
  await soon(readBytes(client, 1), "the answer");
}

Deno.test("each setting of the daemon changes while it runs, says so, and survives a restart", async () => {
  await using server = startServer(echo);
  await using place = await makePlace();
  const address = await place.start("--check", "off", "--workers", "1");
  await place.do("add", server.address.host, String(server.address.port));
  const client = await connect(address);
  await exchange(client);

  const [one, two] = [unusedAddress(), unusedAddress()].map(formatAddress);
  assertStringIncludes(await place.do("daemon", "set", "--http", one), `HTTP on http://${one}/metrics`);
  assertEquals([await live(one), await live(two)], [200, undefined]);
  await place.do("daemon", "set", "--http", two);
  assertEquals([await live(one), await live(two)], [undefined, 200]);
  await place.do("daemon", "set", "--http", two.replace("127.0.0.1", "0.0.0.0")); // which is in its own way
  assertEquals(await live(two), 200);

  const text = await place.do("daemon", "set", "--max-connections", "1");
  assertStringIncludes(text, "--max-connections holds for new connections at once; open ones stay");
  assertEquals(await ask(address, "hello").catch(() => ""), "");
  await place.do("daemon", "set", "--max-connections", "3", "--busy-poll", "50", "--batch", "auto");
  assertEquals(await ask(address, "hello"), "hello");

  const path = `${await Deno.realPath(place.folder)}/a.jsonl`;
  await place.do("daemon", "set", "--access-log", "a.jsonl", "--access-log-start", "on", "--log-level", "debug");
  await ask(address, "first");
  await poll(() => linesOf(path), (lines) => lines.length >= 2, "two lines");
  await place.do("daemon", "set", "--access-log", "b.jsonl", "--access-log-start", "default");
  await exchange(client);
  client.close();
  await poll(
    () => linesOf(path.replace("a.jsonl", "b.jsonl")),
    ([line]) => line?.sentBytes === 2,
    "the line of the open connection",
  );
  assertEquals((await linesOf(path)).map(({ event }) => event), ["start", "end"]);
  const log = () => Deno.readTextFile(`${place.folder}/state/balancer/default.log`);
  await poll(log, (text) => text.includes('"level":"DEBUG"'), "a line of level debug");
  await place.do("daemon", "set", "--log-level", "error");

  const before = await settingsOf(place);
  assertEquals([before["max-connections"], before["batch"], before["log-level"]], ["3", "auto", "error"]);
  await place.do("stop");
  await place.do("start");
  assertEquals(await settingsOf(place), before);
  assertEquals(await live(two), 200);
  await place.do("stop");
  await place.do("start", "--log-level", "warning"); // the last command wins
  assertEquals(await settingsOf(place), { ...before, "log-level": "warning" });
  await place.do("daemon", "set", "--http", "off", "--access-log", "default");
  assertEquals(await live(two), undefined);
});

Deno.test("daemon set refuses with a sentence what it cannot do, and changes nothing", async () => {
  await using place = await makePlace();
  const address = formatAddress(await place.start("--check", "off", "--workers", "1"));
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const restart = "that takes a restart: balancerctl stop, then balancerctl start --";
  await refused(
    place,
    1,
    `Cannot change --workers from 1 to 7 while the balancer runs; ${restart}workers 7`,
    ..."daemon set --workers 7".split(" "),
  );
  await refused(place, 1, `${restart}engine `, ..."daemon set --log-level debug --workers default --engine streams".split(" "));
  await refused(place, 2, "Nothing to change", "daemon", "set");
  await refused(place, 2, 'Unknown log level "loud"', "daemon", "set", "--log-level", "loud");
  await refused(place, 2, "clients connect there", "daemon", "set", "--http", address);
  const own = `127.0.0.1:${taken.addr.port}`;
  await refused(place, 1, `Cannot serve --http on ${own}`, "daemon", "set", "--log-level", "debug", "--http", own);
  await refused(place, 2, "--access-log-start needs an access log", "daemon", "set", "--access-log-start", "on");
  await refused(place, 2, "Access log - is standard output", "daemon", "set", "--access-log", "-");
  await refused(place, 1, "Cannot log to", "daemon", "set", "--http", formatAddress(unusedAddress()), "--access-log", "no/folder");
  await refused(place, 2, "Unknown option", "daemon", "set", "--redistribute", "idle");

  const http = formatAddress(unusedAddress());
  await place.do("daemon", "set", "--http", http);
  const everywhere = http.replace("127.0.0.1", "0.0.0.0"); // the earlier one is closed for it
  await refused(place, 1, "Cannot log to", "daemon", "set", "--http", everywhere, "--access-log", "no/folder");
  assertEquals([await live(http), JSON.parse(await place.do("status", "--json")).http], [200, http]);
});

Deno.test("a declared file and undo change the daemon with the services, as one generation or not at all", async () => {
  await using place = await makePlace();
  await place.start("--check", "off", "--workers", "1");
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [web, http] = [unusedAddress(), unusedAddress()].map(formatAddress);
  const fileOf = (daemon: string) => `services:\n  web:\n    listen: ${web}\n    check: off\ndaemon:\n${daemon}`;
  const write = (daemon: string) => Deno.writeTextFile(`${place.folder}/f.yaml`, fileOf(daemon));
  const state = async () => JSON.parse(await place.do("status", "--json"));
  const before = await state();

  await write(`  log-level: debug\n  http: 127.0.0.1:${taken.addr.port}\n`);
  await refused(place, 1, "Cannot serve --http", "apply", "f.yaml", "--yes");
  await write("  log-level: debug\n  workers: 7\n");
  await refused(place, 1, "Cannot change --workers from 1 to 7", "apply", "f.yaml", "--yes");
  assertEquals((await state()).generation, before.generation);
  Deno.listen({ hostname: "127.0.0.1", port: Number(web.split(":")[1]) }).close(); // nobody has it

  await write(`  log-level: debug\n  http: ${http}\n  workers: 1\n`);
  assertStringIncludes(await place.do("apply", "f.yaml", "--plan"), "~ daemon\n    http off → ");
  assertEquals(await live(http), undefined);
  await place.do("apply", "f.yaml", "--yes");
  const after = await state();
  assertEquals([after.generation, after.http, after.settings["log-level"]], [before.generation + 1, http, "debug"]);
  assertEquals(await live(http), 200);
  assertStringIncludes(await place.do("export"), `daemon:\n  workers: 1\n  http: ${http}\n  log-level: debug`);
  await place.do("undo", "--yes");
  assertEquals(await settingsOf(place), before.settings);
  assertEquals(await live(http), undefined);
  assertStringIncludes(await place.do("history"), "undo: return to generation");
});

Deno.test({
  name: "SIGHUP applies the daemon section of --config again; what the command line says holds in its place",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using place = await makePlace();
    const [web, http] = [unusedAddress(), unusedAddress()].map(formatAddress);
    const path = `${place.folder}/f.yaml`;
    const write = (daemon: string) =>
      Deno.writeTextFile(path, `services:\n  web:\n    listen: ${web}\n    check: off\ndaemon:\n  log-level: error\n${daemon}`);
    await write("");
    const args = ["run", "--config", path, "--log-level", "info"];
    const child = new Deno.Command(place.program("balancer"), {
      args,
      env: place.env,
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    })
      .spawn();
    try {
      const reader = child.stdout.getReader();
      await soon(reader.read(), "the address");
      assertEquals((await settingsOf(place))["log-level"], "info");
      await write(`  http: ${http}\n`);
      child.kill("SIGHUP");
      await poll(() => live(http), (status) => status === 200, "the address of --http");
      assertEquals((await settingsOf(place))["log-level"], "info");
      await reader.cancel();
    } finally {
      child.kill("SIGKILL");
      await child.status;
    }
  },
});

Deno.test("a balancer in the foreground can log to standard output from then on", async () => {
  await using server = startServer(echo);
  await using place = await makePlace();
  const output = `${place.folder}/output`;
  const daemon = await runForeground(place, ["--check", "off"], `"$@" | tee ${output}`);
  await place.do("add", server.address.host, String(server.address.port));
  await place.do("daemon", "set", "--access-log", "-");
  assertEquals(await ask(daemon.address, "hello"), "hello");
  const text = await poll(() => Deno.readTextFile(output), (text) => text.split("\n").length > 2, "a line behind the address");
  assert(text.startsWith(`${formatAddress(daemon.address)}\n{"event":"end"`), text);
  await place.do("stop");
  await daemon.ended();
  const again = await place.ctl("start");
  assertEquals(again.code, 2, "a daemon in the background has none");
  assertStringIncludes(again.stderr, "Access log - is standard output");
  await outcomeOf(new Deno.Command(place.program("balancerctl"), { args: ["start", "--access-log", "off"], env: place.env }));
  assertEquals((await settingsOf(place))["access-log"], "off");
});
