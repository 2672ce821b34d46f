// A balancer that is its file: `balancer run --config`, SIGHUP, `apply` and its relatives as programs, and a kill in the middle.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { ControlClient } from "../../lib/control/client.ts";
import { type Address, formatAddress } from "../../lib/values/address.ts";
import { parseDeclared } from "../../lib/values/declared_file.ts";
import type { DeclaredState } from "../../lib/values/declared_state.ts";
import { ask, poll, sayName, soon, startServer, unusedAddress } from "../helpers.ts";
import { makePlace, outcomeOf, type Place } from "../programs.ts";
import { needing } from "../tools.ts";

const isWindows = Deno.build.os === "windows";

/** A daemon in the foreground. Disposing of it kills it. */
class Daemon implements AsyncDisposable {
  /** What it has logged so far. */
  log = "";
  /** What it has said so far on standard output. */
  said = "";
  readonly #reading: Promise<unknown>;

  private constructor(readonly process: Deno.ChildProcess) {
    const collect = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>, take: (text: string) => void) => {
      for await (const text of stream.pipeThrough(new TextDecoderStream())) take(text);
    };
    this.#reading = Promise.all([
      collect(process.stdout, (text) => this.said += text),
      collect(process.stderr, (text) => this.log += text),
    ]);
  }

  /** Resolves when clients can connect to the addresses. */
  static async run(place: Place, ...args: string[]): Promise<Daemon> {
    const pipes = { stdin: "null", stdout: "piped", stderr: "piped" } as const;
    const command = new Deno.Command(place.program("balancer"), {
      args: ["run", ...args],
      env: place.env,
      cwd: place.folder,
      ...pipes,
    });
    const daemon = new Daemon(command.spawn());
    const ended = daemon.process.status.then(({ code }) =>
      Promise.reject(new Error(`the daemon ended with ${code}: ${daemon.log}`))
    );
    ended.catch(() => {}); // when it is stopped
    await Promise.race([ended, poll(() => Promise.resolve(daemon.said), (said) => said.endsWith("\n"), "the addresses")]);
    return daemon;
  }

  /** Sends SIGHUP; resolves with the first line that is logged because of it and has this text. */
  async reload(text: string): Promise<string> {
    const { length } = this.log;
    const lines = () => this.log.slice(length).split("\n").filter((line) => line.includes(text));
    this.process.kill("SIGHUP");
    return (await poll(() => Promise.resolve(lines()), (lines) => lines.length > 0, text))[0].replaceAll('\\"', '"');
  }

  async kill(signal: Deno.Signal = "SIGKILL"): Promise<void> {
    this.process.kill(signal);
    await soon(this.process.status, "the end of the daemon");
    await this.#reading;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.process.kill("SIGKILL");
    } catch { /* it has ended */ }
    await this.process.status;
    await this.#reading;
  }
}

/** A file with two services, whose servers are never asked unless they are real. */
function fileOf(web: Address, mail: Address, servers: readonly string[], more = ""): string {
  return `services:
  web:
    listen: ${formatAddress(web)}
    check: off
    servers: [${servers.join(", ")}]
${more}  mail:
    listen: ${formatAddress(mail)}
    check: off
    servers: [192.0.2.7:25]
`;
}

Deno.test({
  name: "balancer run --config is its file, again at SIGHUP, and status says what has changed since",
  ignore: isWindows,
  async fn() {
    await using place = await makePlace();
    await using one = startServer(sayName);
    await using two = startServer(sayName);
    const [web, mail] = [unusedAddress(), unusedAddress()];
    const path = await Deno.realPath(place.folder) + "/balancer.yaml";
    await Deno.writeTextFile(path, fileOf(web, mail, [one.name]));
    await using daemon = await Daemon.run(place, "--config", path);
    assertEquals(daemon.said.trim().split("\n"), [mail, web].map(formatAddress), "in the order of the services' names");
    assertEquals(await ask(web), one.name);
    const declaredIn = async () => (await place.do("status")).match(/Declared in +(.*)\n/);
    assertEquals((await declaredIn())?.[1], path);
    assertEquals((await place.ctl("diff", path)).code, 0);

    await place.do("add", two.address.host, String(two.address.port), "--service", "web");
    const status = await place.do("status");
    assertStringIncludes(status, `${path}; changed since:`);
    assertMatch(status, new RegExp(`~ service web\\n +\\+ server ${two.name}\\n`));
    const diff = await place.ctl("diff", path);
    assertEquals(diff.code, 1);
    assertStringIncludes(diff.stdout, `- server ${two.name}`);

    const { generation } = JSON.parse(await place.do("status", "--json"));
    await Deno.writeTextFile(path, fileOf(web, mail, [one.name], "    redistribute: idel\n"));
    const broken = await daemon.reload("nothing was changed");
    assertStringIncludes(broken, `${path}:6:19: "redistribute" must be one of new, unanswered, idle; did you mean "idle"?`);
    await Deno.writeTextFile(path, fileOf(web, mail, [formatAddress(mail)]));
    assertStringIncludes(await daemon.reload("nothing was changed"), `${formatAddress(mail)} is where service`);
    await Deno.remove(path);
    assertStringIncludes(await daemon.reload("nothing was changed"), `Cannot read "${path}"`);
    assertEquals(JSON.parse(await place.do("status", "--json")).generation, generation);
    assert([one.name, two.name].includes(await ask(web)));

    await Deno.writeTextFile(path, fileOf(web, mail, [two.name], "    redistribute: idle\n"));
    assertStringIncludes(await daemon.reload("SIGHUP: applied"), `"generation":${generation + 1}`);
    assertEquals(await ask(web), two.name);
    assertEquals([(await declaredIn())?.[1], (await place.ctl("diff", path)).code], [path, 0]);
    await daemon.reload("SIGHUP: the balancer is as");
    const history = await place.do("history");
    assertStringIncludes(history, `apply ${path}`);
    assertStringIncludes(history, `start with ${path}`);

    await daemon.kill("SIGTERM");
    await using again = await Daemon.run(place, "--config", path);
    assertEquals(JSON.parse(await place.do("status", "--json")).generation, generation + 1, "nothing differs, nothing is changed");
    assertEquals([again.said, await ask(web)], [daemon.said, two.name]);
  },
});

Deno.test("apply is one generation or nothing, and refuses what it cannot ask; export gives the file again", async () => {
  await using place = await makePlace();
  const web = await place.start("--check", "off");
  const generation = async () => JSON.parse(await place.do("status", "--json")).generation;
  const before = await generation();
  const file = (name: string, text: string) => Deno.writeTextFile(`${place.folder}/${name}`, text);
  const mail = unusedAddress();
  await file("good.yaml", fileOf(unusedAddress(), mail, ["192.0.2.1:80", "192.0.2.2:80"]));
  await file("port.yaml", fileOf(web, mail, ["192.0.2.1:80"]).replace("web:", "other:")); // the service default listens there
  await Deno.writeFile(`${place.folder}/binary.yaml`, Uint8Array.from({ length: 4096 }, (_, i) => i * 7));
  await file("empty.yaml", "");
  await file("large.yaml", "");
  await Deno.truncate(`${place.folder}/large.yaml`, 50 * 2 ** 20);
  const refused = async (says: string, ...args: string[]) => {
    const { code, stdout, stderr } = await place.ctl("apply", ...args);
    assertEquals([code, stdout], [says.startsWith("Cannot ask") ? 2 : 1, ""], stderr);
    assertStringIncludes(stderr, says);
  };
  await refused("Cannot ask whether to change this: standard input is no terminal", "good.yaml");
  await refused("are both for clients whose name no other service has", "port.yaml", "--yes");
  await refused("binary.yaml", "binary.yaml", "--yes");
  await refused("The file says nothing", "empty.yaml", "--yes");
  await refused("large.yaml", "large.yaml", "--yes");
  await refused(`it is at generation ${before}, not ${before - 1}`, "good.yaml", "--yes", "--if-generation", String(before - 1));
  assertEquals(await generation(), before);

  const plan = await place.do("apply", "good.yaml", "--plan");
  assertStringIncludes(plan, "Services: 2 added; servers: 3 added");
  assertEquals([await generation(), (await place.ctl("diff", "good.yaml")).code], [before, 1]);
  const answer = JSON.parse(await place.do("apply", "good.yaml", "--yes", "--json", "--if-generation", String(before)));
  assertEquals([answer.applied, await generation()], [true, before + 1]);
  assertEquals(await place.do("apply", "good.yaml", "--yes"), await place.do("apply", "good.yaml", "--plan"), "nothing differs");
  assertEquals(await generation(), before + 1);
  assertEquals((await place.ctl("diff", "good.yaml")).code, 1, "service default is not in the file");
  await file("export.yaml", await place.do("export"));
  assertEquals((await place.ctl("diff", "export.yaml")).code, 0);
  await place.do("undo", "--yes");
  await untilServices(place, 1);
  assertEquals((await place.ctl("diff", "export.yaml")).code, 1);
});

Deno.test({
  ...await needing("apply and undo show the plan at a terminal and ask", "Linux", "script"),
  async fn() {
    await using place = await makePlace();
    await place.start("--check", "off");
    await Deno.writeTextFile(`${place.folder}/new.yaml`, fileOf(unusedAddress(), unusedAddress(), ["192.0.2.1:80"]));
    const answering = async (answer: string, command: string) => {
      const line = `printf '${answer}\\n' | script -qec "'${place.program("balancerctl")}' ${command}" /dev/null`;
      return await outcomeOf(new Deno.Command("sh", { args: ["-c", line], env: place.env, cwd: place.folder, stdin: "null" }));
    };
    const no = await answering("n", "apply new.yaml");
    assertStringIncludes(no.stdout, "Services: 2 added");
    assertStringIncludes(no.stdout, "Make this change?");
    assertStringIncludes(no.stdout, "Nothing was changed");
    assertEquals([no.code, await countServices(place)], [1, 1]);
    const yes = await answering("y", "apply new.yaml");
    assertStringIncludes(yes.stdout, "Applied new.yaml: generation ");
    assertEquals([yes.code, await countServices(place)], [0, 3]);
    const undone = await answering("y", "undo");
    assertStringIncludes(undone.stdout, "Services: 2 removed");
    assertEquals(undone.code, 0);
    await untilServices(place, 1);
  },
});

async function countServices(place: Place): Promise<number> {
  return JSON.parse(await place.do("service", "list", "--json")).services.length;
}

/** Services that are being removed are listed until they are gone. */
async function untilServices(place: Place, count: number): Promise<void> {
  await poll(() => countServices(place), (now) => now === count, `${count} services`);
}

/** Times that the daemon is killed, and how long after the first change at most. */
const KILLS = 3;
const KILL_AFTER_MAX_MS = 300;

Deno.test({
  name: "after a kill -9 in the middle of applies everything is as the one file says or as the other",
  ignore: isWindows,
  async fn() {
    await using place = await makePlace();
    const ports = Array.from({ length: 6 }, () => unusedAddress());
    const stateOf = async (names: readonly string[], servers: number): Promise<DeclaredState> => {
      const services = names.map((name, i) => {
        const list = Array.from({ length: servers }, (_, n) => `192.0.2.${i}:${n + 1}`);
        return `  ${name}:\n    listen: ${formatAddress(ports[i])}\n    check: off\n    servers: [${list}]\n`;
      });
      const result = await parseDeclared(new TextEncoder().encode(`services:\n${services.join("")}`));
      assert("state" in result);
      return result.state;
    };
    // The same addresses for other services, which have other servers.
    const states = [await stateOf(["a", "b", "c", "d", "e"], 20), await stateOf(["f", "e", "d", "c", "b", "a"], 30)];
    let daemon = await Daemon.run(place, "127.0.0.1", "0", "--check", "off");
    for (let kill = 0; kill < KILLS; kill++) {
      using client = new ControlClient("default", place.socket());
      let applied = 0;
      const applying = (async () => {
        for (;; applied++) await client.apply({ declared: states[applied % 2], prune: true, plan: false });
      })();
      const lost = applying.then(() => {}, () => {});
      await poll(() => Promise.resolve(applied), (applied) => applied > 0, "the first change");
      await new Promise((resolve) => setTimeout(resolve, Math.random() * KILL_AFTER_MAX_MS));
      await daemon.kill();
      await lost;
      daemon = await Daemon.run(place);
      using restarted = new ControlClient("default", place.socket());
      const plans = [];
      for (const declared of states) plans.push((await restarted.apply({ declared, prune: true, plan: true })).plan);
      assertEquals(
        plans.filter(({ services }) => services.length === 0).length,
        1,
        JSON.stringify(plans.map(({ totals }) => totals)),
      );
      const { services } = await restarted.state();
      assertEquals(daemon.said.trim().split("\n").length, services.length, "every service listens");
    }
    await daemon[Symbol.asyncDispose]();
  },
});

for (const version of ["version_1_first", "version_1_last"]) {
  Deno.test(`a start with a state file of ${version} has its servers, keeps a copy of it, and exports it`, async () => {
    await using place = await makePlace();
    await Deno.mkdir(`${place.folder}/state/balancer`, { mode: 0o700 });
    const old = await Deno.readTextFile(`${import.meta.dirname}/../balancer/states/${version}`);
    await Deno.writeTextFile(place.state(), old, { mode: 0o600 });
    const address = await place.start("--check", "off");
    const { servers } = JSON.parse(await place.do("list", "--json"));
    const names: string[] = JSON.parse(old).servers.map(({ server }: { server: string }) => server);
    assertEquals(servers.map(({ server }: { server: string }) => server), names);
    const [copy] = (await Array.fromAsync(Deno.readDir(`${place.folder}/state/balancer`))).filter(({ name }) =>
      name.endsWith(".json.v1")
    );
    assert(copy !== undefined, "a copy is kept");
    assertEquals(await Deno.readTextFile(`${place.folder}/state/balancer/${copy.name}`), old);
    assertEquals(JSON.parse(await Deno.readTextFile(place.state())).version, 2);
    const text = await place.do("export");
    assertStringIncludes(text, `listen: ${formatAddress(address)}`);
    for (const name of names) assertStringIncludes(text, name);
    await place.do("stop");
    await place.do("start", address.host, String(address.port));
    assertEquals(await place.do("export"), text);
  });
}

Deno.test("a service whose name is bad or taken is refused, and so is the end of the last one", async () => {
  await using place = await makePlace();
  await place.start("--check", "off");
  const before = await place.do("service", "list");
  for (const name of ["", "../x", "x".repeat(300), "default"]) {
    const { code, stderr } = await place.ctl("service", "add", name, "127.0.0.1", String(unusedAddress().port));
    assertEquals(code, name === "default" ? 1 : 2, stderr);
    assertMatch(stderr, /^balancerctl: [^\n]+\n$/);
  }
  const last = await place.ctl("service", "remove", "default");
  assertEquals([last.code, await place.do("service", "list")], [1, before]);
  assertStringIncludes(last.stderr, "it is the last one");
});
