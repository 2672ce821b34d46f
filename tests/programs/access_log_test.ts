// The access log of the daemon: where it goes, how it survives logrotate and a full disk, and what is refused.

import { assert, assertEquals, assertGreater, assertStringIncludes } from "@std/assert";
import { createConnection } from "node:net";
import { type Address, parseAddress } from "../../lib/values/address.ts";
import { ask, echo, poll, soon, startServer } from "../helpers.ts";
import { makePlace, outcomeOf, type Place } from "../programs.ts";
import { needing } from "../tools.ts";

/** A line, as far as these tests look at it. */
interface Line {
  readonly event: string;
  readonly id: string;
  readonly client: string;
  readonly sentBytes: number;
  readonly fate: string;
}

/** Every line of a file, each of which must be whole. */
async function readLines(path: string): Promise<Line[]> {
  const text = await Deno.readTextFile(path).catch(() => "");
  assert(text === "" || text.endsWith("\n"), "half a line at the end");
  return text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
}

function waitForLines(path: string, count: number): Promise<Line[]> {
  return poll(() => readLines(path), (lines) => lines.length >= count, `${count} lines in ${path}`);
}

/** The value of a metric that has no labels. */
function metricOf(place: Place, name: string): Promise<number> {
  return soon(
    new Promise((resolve, reject) => {
      let text = "";
      const socket = createConnection({ path: place.socket() }).setEncoding("utf8");
      socket.on("data", (chunk) => text += chunk).on("error", reject);
      socket.on("end", () => resolve(Number(text.match(new RegExp(`^${name} ([0-9]+)$`, "m"))?.[1])));
      socket.end("GET /metrics HTTP/1.1\r\nHost: balancer\r\nConnection: close\r\n\r\n");
    }),
    "the metrics",
  );
}

async function addServer(place: Place, { host, port }: Address): Promise<void> {
  await place.do("add", host, String(port));
}

Deno.test("the access log is the file of that name in the current folder, and status says where it is", async () => {
  await using server = startServer(echo);
  await using place = await makePlace();
  const address = await place.start("--access-log", "access.jsonl", "--access-log-start", "--check", "off");
  await addServer(place, server.address);
  const path = `${await Deno.realPath(place.folder)}/access.jsonl`;
  assertEquals(JSON.parse(await place.do("status", "--json")).accessLog, path);
  assertStringIncludes(await place.do("status"), `Access log     ${path}\n`);
  assertEquals(await ask(address, "hello"), "hello");
  const [start, end] = await waitForLines(path, 2);
  assertEquals([start.event, end.event, end.sentBytes, end.fate], ["start", "end", 5, "done"]);
  assertEquals(start.id, end.id);
  const { ends } = JSON.parse(await place.do("recent", "--json"));
  assertEquals(ends.map(({ id }: Line) => id), [end.id]);
  assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
});

Deno.test({
  name: "SIGHUP opens the access log anew, no line is lost, and the end of the daemon writes what is left",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using server = startServer(echo);
    await using place = await makePlace();
    const path = `${place.folder}/access.jsonl`;
    const address = await place.start("--access-log", path, "--check", "off");
    await addServer(place, server.address);
    const pid = await place.pid();
    await ask(address, "before");
    await waitForLines(path, 1);
    await Deno.rename(path, `${path}.moved`);
    Deno.kill(pid, "SIGHUP");
    await poll(() => Deno.stat(path).then(() => true, () => false), (isThere) => isThere, "the new file");
    const AFTER = 30;
    await Promise.all(Array.from({ length: AFTER }, () => ask(address, "after it")));
    await place.do("stop");
    const sizes = async (path: string) => (await readLines(path)).map(({ sentBytes }) => sentBytes);
    assertEquals(await sizes(`${path}.moved`), [6]);
    assertEquals(await sizes(path), Array(AFTER).fill(8));
    assertStringIncludes(
      await Deno.readTextFile(`${place.folder}/state/balancer/default.log`),
      "SIGHUP: opened the access log again",
    );
  },
});

Deno.test("a daemon that is killed leaves whole lines of all that had been written", async () => {
  await using server = startServer(echo);
  await using place = await makePlace();
  const path = `${place.folder}/access.jsonl`;
  const address = await place.start("--access-log", path, "--check", "off");
  await addServer(place, server.address);
  const pid = await place.pid();
  for (let i = 0; i < 20; i++) await ask(address, "hello");
  const before = await waitForLines(path, 20);
  const late = Array.from({ length: 20 }, () => ask(address, "hello").catch(() => ""));
  Deno.kill(pid, "SIGKILL");
  await Promise.all(late);
  const after = await readLines(path);
  assertEquals(after.slice(0, 20), before);
});

Deno.test("an access log on standard output follows the address", async () => {
  await using server = startServer(echo);
  await using place = await makePlace();
  const args = ["run", "127.0.0.1", "0", "--access-log", "-", "--check", "off"];
  const daemon = new Deno.Command(place.program("balancer"), {
    args,
    env: place.env,
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const lines: string[] = [];
  let text = "";
  const reading = (async () => {
    for await (const chunk of daemon.stdout.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      const parts = text.split("\n");
      text = parts.pop()!;
      lines.push(...parts);
    }
  })();
  const [first] = await poll(() => Promise.resolve(lines), (lines) => lines.length > 0, "the address");
  await addServer(place, server.address);
  await ask(parseAddress(first), "hello");
  await poll(() => Promise.resolve(lines), (lines) => lines.length > 1, "the line");
  assertEquals(JSON.parse(lines[1]).sentBytes, 5);
  assertStringIncludes(await place.do("status"), "Access log     standard output\n");
  await place.do("stop");
  await soon(reading, "the end of the output");
  assertEquals((await daemon.status).code, 0);
});

Deno.test({
  ...await needing("a full disk drops lines, which are counted and said, and holds nobody up", "Linux", "file systems in memory"),
  async fn() {
    await using server = startServer(echo);
    await using place = await makePlace();
    const disk = `${place.folder}/disk`;
    await Deno.mkdir(disk);
    const mounted = await outcomeOf(new Deno.Command("mount", { args: ["-t", "tmpfs", "-o", "size=64k", "none", disk] }));
    assertEquals(mounted.code, 0, mounted.stderr);
    try {
      const path = `${disk}/access.jsonl`;
      const address = await place.start("--access-log", path, "--check", "off");
      await addServer(place, server.address);
      const COUNT = 400; // of which about 150 have room
      for (let done = 0; done < COUNT; done += 20) {
        assertEquals(await Promise.all(Array.from({ length: 20 }, () => ask(address, "hello"))), Array(20).fill("hello"));
      }
      const dropped = () => metricOf(place, "balancer_access_log_dropped_total");
      const lost = await poll(
        // What is written in part is there for a moment.
        async () => COUNT - await dropped() - (await readLines(path).catch(() => [])).length,
        (unknown) => unknown === 0,
        "each line to be written or counted",
      );
      assertEquals(lost, 0);
      assertGreater(await dropped(), 100);
      const log = await Deno.readTextFile(`${place.folder}/state/balancer/default.log`);
      assert(/lines of the access log were dropped: [^\n]*No space left on device/.test(log), log);
      await Deno.remove(path);
      Deno.kill(await place.pid(), "SIGHUP"); // there is room again
      await poll(() => Deno.stat(path).then(() => true, () => false), (isThere) => isThere, "the new file");
      await ask(address, "hello");
      await waitForLines(path, 1);
      await place.do("stop");
    } finally {
      await outcomeOf(new Deno.Command("umount", { args: ["-l", disk] }));
    }
  },
});

const REFUSED: readonly [what: string, program: "balancer" | "balancerctl", args: readonly string[], sentence: string][] = [
  [
    "a share that is none",
    "balancer",
    ["--access-log", "a", "--access-log-sample", "1"],
    'Share of the access log "1" is not a percentage such as 1% or 0.5%, from 0% to 100%',
  ],
  [
    "beginnings without an access log",
    "balancer",
    ["--access-log-start"],
    "--access-log-start needs an access log; add --access-log PATH",
  ],
  ["the log file as access log", "balancer", ["--log-file", "a", "--access-log", "./a"], '/a" is the log file'],
  [
    "standard output of a daemon in the background",
    "balancerctl",
    ["--access-log", "-"],
    "Access log - is standard output, which a",
  ],
];

for (const [what, program, args, sentence] of REFUSED) {
  Deno.test(`${program} refuses ${what}`, async () => {
    await using place = await makePlace();
    const words = [program === "balancer" ? "run" : "start", "127.0.0.1", "0", ...args];
    const command = new Deno.Command(place.program(program), { args: words, env: place.env, cwd: place.folder, stdin: "null" });
    const { code, stdout, stderr } = await outcomeOf(command);
    assertEquals([code, stdout], [2, ""], stderr);
    assertStringIncludes(stderr, sentence);
    assertEquals(stderr.trimEnd().split("\n").length, 1, stderr);
  });
}

Deno.test({
  ...await needing("/dev/full is refused as an access log", "Linux"),
  async fn() {
    await using place = await makePlace();
    const { code, stderr } = await place.ctl("start", "127.0.0.1", "0", "--access-log", "/dev/full");
    assertEquals(code, 1);
    assertStringIncludes(stderr, 'balancerctl: Cannot log to "/dev/full": '); // the sandbox of the programs does not let them look
  },
});
