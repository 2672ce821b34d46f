// The demo: its figures, its text, and that nothing is left of it.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { isListening } from "../../lib/control/socket.ts";
import { textStage } from "../../lib/demo/stage.ts";
import { COLOURED, PLAIN } from "../../lib/values/terminal.ts";
import { soon } from "../helpers.ts";
import { makePlace, type Place } from "../programs.ts";

const ignore = Deno.build.os !== "linux"; // only there is all of 127/8 loopback without setting it up

/** Starts the demo with temporary files of its own, so that what it leaves can be seen. */
async function demo(place: Place, ...options: string[]) {
  const tmp = `${place.folder}/tmp`;
  await Deno.mkdir(tmp, { recursive: true });
  const command = new Deno.Command(place.program("balancerctl"), {
    args: ["demo", ...options],
    env: { ...place.env, TMPDIR: tmp },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
  return { process: command.spawn(), left: async () => await Array.fromAsync(Deno.readDir(tmp)) };
}

Deno.test({
  name: "demo --json: only the clients that must move do, and nothing is left",
  ignore,
  async fn() {
    await using place = await makePlace();
    await place.start();
    const { process, left } = await demo(place, "--json");
    const { code, stdout } = await soon(process.output(), "the end of the demo");
    assertEquals(code, 0);
    const { clients, spread, returned, removed, added, killed, fates } = JSON.parse(new TextDecoder().decode(stdout));
    assertEquals(Object.values(spread as Record<string, number>).reduce((a, b) => a + b), clients);
    assertEquals(returned, clients);
    assertEquals([removed.moved, removed.movedNeedlessly], [removed.clients, 0]);
    assertEquals([added.moved, added.movedNeedlessly], [removed.clients, 0]);
    const { itsConnections, itsBusy, kept, moved, reset, servedAgain } = killed;
    assertEquals([itsConnections, kept + moved + reset], [spread.e, clients]);
    assertEquals([kept, moved, reset, servedAgain], [clients - spread.e, spread.e - itsBusy, itsBusy, itsBusy]);
    assertEquals(fates.server_lost ?? 0, itsBusy);
    assertEquals(await left(), []);
    assertStringIncludes(await place.do("list"), "No servers", "the balancer that was running is as it was");
  },
});

Deno.test({
  name: "demo in text: a bar per server, no control characters where there is no terminal",
  ignore,
  async fn() {
    await using place = await makePlace();
    const { process } = await demo(place);
    const { code, stdout } = await soon(process.output(), "the end of the demo");
    const text = new TextDecoder().decode(stdout);
    assertEquals(code, 0);
    assert(!text.includes("\x1b"));
    assertMatch(text, /^ {2}a {2}#+ [0-9]+$/m);
    assertStringIncludes(text, "balancerctl add 127.0.0.1 8001");
  },
});

Deno.test({
  name: "an interrupted demo cleans up, and says that it was",
  ignore,
  async fn() {
    await using place = await makePlace();
    const { process, left } = await demo(place);
    const out = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
    await soon(out.read(), "the first scene");
    process.kill("SIGINT");
    const [{ code }, stderr] = await soon(
      Promise.all([process.status, new Response(process.stderr).text()]),
      "the end of the demo",
    );
    await out.cancel();
    assertEquals([code, stderr], [1, "balancerctl: The demo ended early: it was interrupted\n"]);
    assertEquals(await left(), []);
  },
});

Deno.test({
  name: "a demo that is interrupted while its balancer starts leaves nothing",
  ignore,
  async fn() {
    await using place = await makePlace();
    for (const [signal, afterMs] of [["SIGTERM", 40], ["SIGTERM", 80], ["SIGINT", 100], ["SIGHUP", 120]] as const) {
      const { process, left } = await demo(place);
      await new Promise((resolve) => setTimeout(resolve, afterMs)); // at no event in particular
      process.kill(signal);
      await soon(Promise.all([process.status, process.stdout.cancel(), process.stderr.cancel()]), "the end of the demo");
      assertEquals(await left(), [], `${signal} after ${afterMs} ms`);
    }
  },
});

Deno.test({
  name: "a demo that is killed takes its balancer with it",
  ignore,
  async fn() {
    await using place = await makePlace();
    const { process, left } = await demo(place);
    const out = process.stdout.getReader();
    await soon(out.read(), "the first scene");
    const [{ name }] = await left();
    const socket = `${place.folder}/tmp/${name}/balancer/demo.sock`;
    assert(await isListening(socket));
    process.kill("SIGKILL");
    await soon(Promise.all([process.status, out.cancel(), process.stderr.cancel()]), "the end of the demo");
    await soon(
      (async () => {
        while (await isListening(socket)) await new Promise((resolve) => setTimeout(resolve, 10));
      })(),
      "the end of the demo's balancer",
    );
  },
});

Deno.test({
  name: "demo --dashboard: its page shows a pool with clients, and an interrupt leaves nothing",
  ignore,
  async fn() {
    await using place = await makePlace();
    const { process, left } = await demo(place, "--dashboard");
    const complaints = new Response(process.stderr).text();
    let text = "";
    const reading = process.stdout.pipeThrough(new TextDecoderStream()).pipeTo(
      new WritableStream({ write: (more) => void (text += more) }),
    );
    const link = await soon(found(() => text.match(/http:\/\/127\.0\.0\.1:[0-9]+\/\?token=\S+/)?.[0]), "the link");
    const entered = await fetch(link, { redirect: "manual" });
    await entered.body?.cancel();
    const cookie = entered.headers.get("set-cookie")!.split(";")[0];
    const ask = async () => await (await fetch(new URL("/v1/status", link), { headers: { cookie } })).json();
    assertEquals((await ask()).name, "demo");
    await soon(found(async () => (await ask()).connections.open > 20 || undefined), "clients");
    process.kill("SIGINT");
    const { code } = await soon(process.status, "the end of the demo");
    await reading;
    assertEquals(code, 0, await complaints);
    assertMatch(await complaints, /^balancerctl: Serving the dashboard of balancer "demo"[^\n]*\n$/);
    assertMatch(text, /All servers are up/);
    assertEquals(await left(), []);
  },
});

/** What it finds, asked again and again. */
async function found<T>(find: () => T | undefined | Promise<T | undefined>): Promise<T> {
  for (;;) {
    const value = await find();
    if (value !== undefined) return value;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

Deno.test("what --dashboard goes with, and what it does not", async () => {
  await using place = await makePlace();
  for (
    const [options, says] of [
      [["--port", "8090"], "Cannot use --port without --dashboard: only the page has a port"],
      [["--open"], "Cannot use --open without --dashboard: there is no page to open"],
      [["--dashboard", "--json"], "Cannot use --json with --dashboard"],
      [["--dashboard", "--port", "99999"], "99999"],
    ] as const
  ) {
    const { process, left } = await demo(place, ...options);
    const { code, stderr } = await soon(process.output(), "the refusal");
    assertEquals(code, 2);
    assertStringIncludes(new TextDecoder().decode(stderr), says);
    assertEquals(await left(), []);
  }
});

Deno.test("in a narrow terminal the bars are shorter", () => {
  let text = "";
  const stage = textStage((more) => text += more, { isTerminal: false, style: PLAIN, columns: 26 });
  stage.bars(new Map([["a", 20], ["b", 10]]), { isFirst: true, isLast: true }, () => "");
  assertEquals(text, `  a  ${"#".repeat(10)} 20\n  b  ${"#".repeat(5)} 10\n`);
});

Deno.test("on a terminal the bars are drawn over the last ones", () => {
  let text = "";
  const stage = textStage((more) => text += more, { isTerminal: true, style: PLAIN, columns: 80 });
  stage.bars(new Map([["a", 1], ["b", 2]]), { isFirst: true, isLast: false }, () => "");
  stage.bars(new Map([["a", 2], ["b", 2]]), { isFirst: false, isLast: true }, (letter) => letter === "a" ? "(+1)" : "");
  assertEquals(text, "\x1b[2K  a  █ 1\n\x1b[2K  b  ██ 2\n\x1b[2A\x1b[2K  a  ██ 2 (+1)\n\x1b[2K  b  ██ 2\n");
});

Deno.test("in colours each server has its own, without a terminal too", () => {
  let text = "";
  const stage = textStage((more) => text += more, { isTerminal: false, style: COLOURED, columns: 80 });
  stage.scene("Scene");
  stage.bars(new Map([["a", 1], ["b", 2]]), { isFirst: true, isLast: true }, () => "");
  assertEquals(text, "\n\x1b[1mScene\x1b[0m\n  a  \x1b[36m#\x1b[0m 1\n  b  \x1b[33m##\x1b[0m 2\n");
});
