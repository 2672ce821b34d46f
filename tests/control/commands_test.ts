// `balancerctl` as people use it: what each command prints, and what each mistake is answered with.

import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import deno from "../../deno.json" with { type: "json" };
import type { Address } from "../../lib/values/address.ts";
import type { CommandInput } from "../../lib/values/command_line.ts";
import { Shutdown } from "../../lib/balancer/shutdown.ts";
import { ControlClient } from "../../lib/control/client.ts";
import { type Command, type CommandContext, COMMANDS } from "../../lib/control/commands.ts";
import { everyCommand } from "../../lib/program/commands.ts";
import { serveControl } from "../../lib/control/server.ts";
import { claimSocket } from "../../lib/control/socket.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import type { ProgramName } from "../../lib/values/packaging.ts";
import { ask, connect, echo, readBytes, sayName, soon, startServer, unusedAddress, writeText } from "../helpers.ts";
import { type OneService, startBalancer } from "../one_service.ts";
import { makePlace, outcomeOf } from "../programs.ts";
import { until } from "../raw_socket.ts";
import { needing } from "../tools.ts";

/** Programs that run at a time. */
const LANES = 4;

/** Bad input with no balancer running: words, exit code, what the sentence says. */
const MISTAKES: readonly [words: readonly string[], code: number, says: readonly string[]][] = [
  [[], 2, ["Missing command: see balancerctl --help"]],
  [["lsit"], 2, ['Unknown command "lsit": did you mean "list"?']],
  [["frobnicate"], 2, ['Unknown command "frobnicate": see balancerctl --help']],
  [["start", "127.0.0.1", "0", "--check-timout", "1s"], 2, ['Unknown option "--check-timout": did you mean "--check-timeout"']],
  [["list", "--color", "blue"], 2, ['Unknown color choice "blue": use auto, always or never']],
  [["constructor"], 2, ['Unknown command "constructor"']],
  [["--nope"], 2, ['Unknown option "--nope"']],
  [["list", "--nope"], 2, ['Unknown option "--nope"', "balancerctl list --help"]],
  [["add", "127.0.0.1", "80", "-w", "2"], 2, ['Unknown option "-w"']],
  [["add", "127.0.0.1", "80", "--json"], 2, ['Unknown option "--json"']],
  [["add"], 2, ["Missing <inet_address>", "balancerctl add <inet_address> <inet_port>"]],
  [["add", "127.0.0.1"], 2, ["Missing <inet_port>"]],
  [["add", "127.0.0.1", "80", "90"], 2, ['Unexpected argument "90"']],
  [["stop", "now"], 2, ['Unexpected argument "now"']],
  [["add", "127.0.0.1", "-1"], 2, ['Port "-1"', "1 to 65535"]],
  [["add", "127.0.0.1", "65536"], 2, ['Port "65536"']],
  [["add", "127.0.0.1", "http"], 2, ['Port "http"']],
  [["add", "127.0.0.1", "0"], 2, ['Port "0"']],
  [["start", "127.0.0.1", "-1"], 2, ['Port "-1"', "0 to 65535"]],
  [["add", "300.1.1.1", "80"], 2, ['Address "300.1.1.1"']],
  [["add", "", "80"], 2, ['Address ""']],
  [["remove", "no such host", "80"], 2, ['Address "no such host"']],
  [["add", "127.0.0.1", "80", "--weight", "0"], 2, ['Weight "0"', "1 to 256"]],
  [["add", "127.0.0.1", "80", "--weight", "1e9"], 2, ['Weight "1e9"']],
  [["add", "127.0.0.1", "80", "--weight", "-1"], 2, ['Weight "-1"']],
  [["add", "127.0.0.1", "80", "--weight"], 2, ["Option --weight needs a value"]],
  [["add", "127.0.0.1", "80", "--max-connections", "0"], 2, ['Number of connections "0"']],
  [["remove", "127.0.0.1", "80", "--drain", "soon"], 2, ['Drain time "soon"']],
  [["stop", "--grace", "10"], 2, ['Grace time "10"', "30s"]],
  [["list", "--name", "a/b"], 2, ['Name "a/b"']],
  [["start", "127.0.0.1", "0", "--key", "port"], 2, ['Key "port"']],
  [["start", "127.0.0.1", "0", "--load-bound", "0.5"], 2, ['Load bound "0.5"']],
  [["start", "127.0.0.1", "0", "--max-connections", "0"], 2, ['Number of connections "0"']],
  [["start", "127.0.0.1", "0", "--connections", "0"], 2, ['Number of connections "0"']],
  [["add", "127.0.0.1", "0", "--connections", "0"], 2, ['Unknown option "--connections": did you mean "--max-connections"?']],
  [["start", "127.0.0.1", "0", "--engine", "nope"], 2, ['Unknown engine "nope": use auto, epoll or streams']],
  [["start", "127.0.0.1", "0", "--engine", "epol"], 2, ['Unknown engine "epol": did you mean "epoll"?']],
  [["start", "127.0.0.1", "0", "--log-level", "loud"], 2, ['Unknown log level "loud": see balancerctl start --help']],
  [["start", "127.0.0.1", "0", "--check", "nope"], 2, ['Check "nope" is not off, tcp, http:/path']],
  [["start", "127.0.0.1", "0", "--rise", "0"], 2, ['Rise "0"', "1 to 1000"]],
  [["start", "127.0.0.1", "0", "--fall", "0"], 2, ['Fall "0"', "1 to 1000"]],
  [["start", "127.0.0.1", "0", "--redistribute", "all"], 2, ['level "all"', "new, unanswered or idle"]],
  [["start", "127.0.0.1", "0", "--replay-buffer", "5TB"], 2, ['Replay buffer "5TB"', "64KiB"]],
  [["start", "127.0.0.1", "0", "--replay-buffer", "1GiB"], 2, ['Replay buffer "1GiB"', "at most 16MiB"]],
  [["start", "127.0.0.1", "0", "--replays", "0"], 2, ['Number of replays "0"']],
  [["start", "127.0.0.1", "0", "--quiet", "0"], 2, ['Quiet time "0"', "from 1ms"]],
  [["start", "127.0.0.1", "0", "--rest", "2m"], 2, ['Rest time "2m"', "to 1m"]],
  [["remove", "127.0.0.1", "80", "--now", "--drain", "5s"], 2, ["Cannot use --now and --drain together"]],
  [["remove", "127.0.0.1", "80", "--now=yes"], 2, ["--now"]],
  [["drain", "127.0.0.1"], 2, ["Missing <inet_port>"]],
  [["drain", "127.0.0.1", "80", "--drain", "5s"], 2, ['Unknown option "--drain"']],
  [["undrain", "127.0.0.1", "0"], 2, ['Port "0"']],
  [["set", "127.0.0.1", "80"], 2, ["Nothing to change: give --weight, --tier, --max-connections, --proxy, "]],
  [["set", "127.0.0.1", "80", "--weight", "0"], 2, ['Weight "0"']],
  [["set", "127.0.0.1", "80", "--max-connections", "none"], 2, ['Number of connections "none"']],
  [["rebalance", "--rate", "0"], 2, ['Rate "0"']],
  [["rebalance", "--rate", "fast"], 2, ['Rate "fast"']],
  [["start", "127.0.0.1", "0", "--hold", "0"], 2, ['Hold time "0" is not a time', "from 10ms"]],
  [["start", "127.0.0.1", "0", "--queue", "many"], 2, ['Length of the queue "many"']],
  [["start", "127.0.0.1", "0", "--queue-timeout", "off"], 2, ['Queue timeout "off"']],
  [["pause", "--for", "2h"], 2, ['Pause "2h" is not a time', "from 100ms to 1h"]],
  [["pause", "--for", "0"], 2, ['Pause "0"']],
  [["pause", "--idle=yes"], 2, ["--idle"]],
  [["pause", "web"], 2, ['Unexpected argument "web"']],
  [["resume", "--now"], 2, ['Unknown option "--now"']],
  [["pause"], 3, ["No balancer"]],
  [["resume"], 3, ["No balancer"]],
  [["add", "127.0.0.1", "80", "--proxy", "v3"], 2, ['Unknown PROXY protocol version "v3"', '"v1"']],
  [["set", "127.0.0.1", "80", "--proxy", "2"], 2, ['Unknown PROXY protocol version "2"']],
  [["plan", "swap", "127.0.0.1", "80"], 2, ['Unknown change "swap": use add, remove or weight']],
  [["plan", "weight", "127.0.0.1", "80"], 2, ["Missing --weight"]],
  [["plan", "add", "127.0.0.1", "80", "--weight", "-1"], 2, ['Weight "-1"']],
  [["plan", "remove"], 2, ["Missing <inet_address>"]],
  [["explain"], 2, ["Missing <client>"]],
  [["explain", "192.0.2.7", "--successors", "0"], 2, ['Number of successors "0"']],
  [["recent", "--fate", "lost"], 2, ['Unknown fate "lost": did you mean "server_lost", "worker_lost" or "upgrade_lost"?']],
  [["recent", "--fate", "nope"], 2, ['Unknown fate "nope": see balancerctl recent --help']],
  [["recent", "--limit", "0"], 2, ['Limit "0"']],
  [["recent", "--server", "10.0.0.1"], 2, ['"10.0.0.1"']],
  [["connections", "--sort", "agee"], 2, ['Unknown order "agee": did you mean "age"?']],
  [["connections", "--sort", "name"], 2, ['Unknown order "name": use age, bytes or idle']],
  [["connections", "--state", "idel"], 2, ['Unknown state "idel": did you mean "idle"?']],
  [["connections", "--client", "10.0.0.1/8"], 2, ['Prefix "10.0.0.1/8" has bits set beyond its length']],
  [["connections", "--client", "example.org"], 2, ['"example.org"']],
  [["connections", "--server", "10.0.0.1"], 2, ['"10.0.0.1"']],
  [["connections", "--limit", "1001"], 2, ['Limit "1001"', "1 to 1000"]],
  [["connections", "--follow=1"], 2, ["Option --follow takes no value"]],
  [["connections"], 3, ["No balancer"]],
  [["connections", "--follow"], 3, ["No balancer"]],
  [["close"], 2, ["Missing <id>: the form is balancerctl close <id>"]],
  [["close", "1f"], 2, ['Cannot read connection id "1f"', "balancerctl connections shows the ids"]],
  [["close", "0123456789abcdef-1f"], 3, ["No balancer"]],
  [["move"], 2, ["Missing <id>: the form is balancerctl move <id> [<inet_address> <inet_port>]"]],
  [["move", "0123456789abcdef-1f", "127.0.0.1"], 2, ["Missing <inet_port>"]],
  [["move", "0123456789abcdef-1f", "127.0.0.1", "80", "90"], 2, ['Unexpected argument "90"']],
  [["move", "0123456789abcdef-1f", "127.0.0.1", "http"], 2, ['Port "http"']],
  [["move", "0123456789abcdef", "127.0.0.1", "80"], 2, ['Cannot read connection id "0123456789abcdef"']],
  [["move", "0123456789abcdef-1f", "--force"], 3, ["No balancer"]],
  [["drain", "127.0.0.1", "80"], 3, ["No balancer"]],
  [["rebalance"], 3, ["No balancer"]],
  [["recent", "--json"], 3, ["No balancer"]],
  [["last", "--json"], 3, ["No balancer"]],
  [["stop"], 3, ['No balancer "default" is running', "balancerctl start"]],
  [["add", "127.0.0.1", "80"], 3, ["No balancer"]],
  [["remove", "127.0.0.1", "80"], 3, ["No balancer"]],
  [["list"], 3, ["No balancer"]],
  [["status", "--json", "--name", "other"], 3, ['No balancer "other"']],
];

/** Those that only the daemon finds. While it tries to start, other commands are told that it runs. */
const ATTEMPTS: typeof MISTAKES = [
  [["start", "127.0.0.1", "0", "--check-timeout", "5s", "--check-interval", "1s"], 2, ["Check timeout 5s is longer"]],
  [["start", "192.0.2.1", "0"], 1, ["Cannot listen on 192.0.2.1:0", "not one of this machine's"]],
];

Deno.test("every mistake gets one sentence, the right exit code, and changes nothing", async () => {
  await using place = await makePlace();
  const mistakes = MISTAKES.values();
  const tryOne = async ([words, code, says]: typeof MISTAKES[number]) => {
    const outcome = await place.ctl(...words);
    const what = `balancerctl ${words.join(" ")}: ${outcome.stderr}`;
    assertEquals(outcome.code, code, what);
    assertEquals(outcome.stdout, "", what);
    assertMatch(outcome.stderr, /^balancerctl: [^\n]+\n$/, what);
    for (const part of says) assertStringIncludes(outcome.stderr, part, what);
  };
  await Promise.all(Array.from({ length: LANES }, async () => {
    for (const mistake of mistakes) await tryOne(mistake);
  }));
  for (const attempt of ATTEMPTS) await tryOne(attempt);
  assertEquals((await place.ctl("list")).code, 3, "nothing was started");
});

/** Every help there is: the words before `--help`. */
const HELPS: readonly [program: ProgramName, words: readonly string[]][] = [
  ["balancerctl", []],
  ...Object.keys(everyCommand()).map((name): [ProgramName, string[]] => ["balancerctl", name.split(" ")]),
  ["balancer", []],
  ["balancer", ["run"]],
];

Deno.test("--help and --version answer everywhere, on standard output, in 80 columns", async () => {
  await using place = await makePlace();
  const start = (program: ProgramName, args: string[]) =>
    outcomeOf(new Deno.Command(place.program(program), { args, env: place.env }));
  const ask = async (program: ProgramName, ...args: string[]) => {
    const { code, stdout } = await (program === "balancerctl" && args.length > 1 ? place.ctl(...args) : start(program, args));
    assertEquals(code, 0);
    return stdout;
  };
  for (const program of ["balancer", "balancerctl"] as const) {
    const version = new RegExp(`^${program} ${deno.version} \\((compiled|self-extracting), Deno .*\\)\n$`);
    assertMatch(await ask(program, "--version"), version);
  }
  const helps = new Map<string, string>();
  for (const [program, words] of HELPS) {
    const help = await ask(program, ...words, "--help");
    for (const line of help.split("\n")) assert(line.length <= 80, `${program} ${words.join(" ")}: ${line}`);
    assert(!help.includes("\x1b"), "no colours where there is no terminal");
    helps.set(`${program} ${words.join(" ")}`.trim(), help);
  }
  const list = helps.get("balancerctl")!;
  for (const [name, { summary, options }] of Object.entries(COMMANDS)) {
    assertMatch(list, new RegExp(`^  ${name}\\b`, "m"));
    assertStringIncludes(list, summary);
    for (const { flag } of options) assertStringIncludes(helps.get(`balancerctl ${name}`)!, `--${flag}`);
  }
});

Deno.test("every command has a group, and a summary that begins with a verb and fits into its line of the help", () => {
  const groups = ["Daemon", "Pool", "Services", "Observe", "Connections", "Explain", "Declared file", "Shell"];
  for (const [name, command] of Object.entries(everyCommand())) {
    assert(groups.includes(command.group ?? ""), name);
    assertMatch(
      command.summary,
      /^(Start|Stop|Run|Add|Remove|Take|Put|Change|Move|Show|List|Explain|Check|Print|Return|End) [^.]{5,34}[^.]$/,
      name,
    );
  }
});

Deno.test("--color always has colours in a pipe and beats NO_COLOR, in answers, help and errors; never has none", async () => {
  await using place = await makePlace(); // its NO_COLOR is set
  await place.start("--check", "off");
  await place.do("add", "192.0.2.1", "80");
  assertStringIncludes(await place.do("list", "--color", "always"), "\x1b[32mup\x1b[0m");
  assertStringIncludes(await place.do("status", "--color=always"), "  \x1b[1mBalancer\x1b[0m");
  assertStringIncludes(await place.do("--help", "--color", "always"), "\x1b[1mPool:\x1b[0m");
  assert((await place.ctl("lsit", "--color", "always")).stderr.startsWith("\x1b[31mbalancerctl:\x1b[0m Unknown"));
  const env = { ...place.env, NO_COLOR: "" };
  for (const color of ["auto", "never"]) {
    const args = ["list", "--color", color];
    const { stdout } = await outcomeOf(new Deno.Command(place.program("balancerctl"), { args, env }));
    assert(stdout.includes("up") && !stdout.includes("\x1b"), stdout);
  }
});

Deno.test({
  ...await needing(
    "a terminal has colours, but not with NO_COLOR or TERM=dumb, and narrow help where it is narrow",
    "Linux",
    "script",
  ),
  async fn() {
    await using place = await makePlace();
    const help = async (line: string, env: Record<string, string>) => {
      const args = ["-qec", line, "/dev/null"];
      const { NO_COLOR: _, ...rest } = place.env;
      return (await outcomeOf(new Deno.Command("script", { args, env: { ...rest, ...env }, clearEnv: true, stdin: "null" })))
        .stdout;
    };
    const line = `'${place.program("balancerctl")}' start --help`;
    const path = Deno.env.get("PATH") ?? "";
    const has = async (env: Record<string, string>) =>
      (await help(line, { PATH: path, TERM: "xterm", ...env })).includes("\x1b[1m");
    assertEquals([await has({}), await has({ NO_COLOR: "1" }), await has({ TERM: "dumb" })], [true, false, false]);
    const narrow = await help(`stty cols 50; ${line} --color never`, { PATH: path, TERM: "xterm" });
    const lines = narrow.split(/\r?\n/);
    assert(
      lines.length > 100 && lines.every((line) => line.length <= 50 || /^ {2}(--check|--policy|balancerctl) /.test(line)),
      narrow,
    );
  },
});

Deno.test("start takes the limit of connections by its earlier flag, too, and status has both keys", async () => {
  for (const flag of ["--max-connections", "--connections"]) {
    await using place = await makePlace();
    await place.start(flag, "77");
    const { settings, connections } = JSON.parse(await place.do("status", "--json"));
    assertEquals([settings["max-connections"], settings.connections, connections.max], ["77", "77", 77]);
    const text = await place.do("status");
    assertStringIncludes(text, "--max-connections 77");
    assert(!text.includes("--connections"), "an alias is not shown");
  }
});

Deno.test("start, add, list, remove and stop say what they did", async () => {
  await using place = await makePlace();
  const started = await place.ctl("start", "127.0.0.1", "0", "--check", "off");
  assertEquals([started.code, started.stderr], [0, ""]);
  assertMatch(
    started.stdout,
    /^Balancer "default" listens on 127\.0\.0\.1:[1-9][0-9]* \(pid [0-9]+\) with 0 servers\nAdd one with/,
  );
  assertMatch(await place.do("list"), /^No servers: clients are turned away/);
  assertMatch(
    await place.do("add", "192.0.2.1", "80"),
    /^Added server 192\.0\.2\.1:80: it gets 100\.0 % of all clients\n$/,
  );
  await place.do("add", "2001:db8:0::1", "80", "--weight", "2", "--max-connections", "9");
  await place.do("add", "Db.Example.", "80");
  const list = await place.do("list");
  assertMatch(list, /^SERVER +STATE +WEIGHT +OPEN +TOTAL +SENT +RECEIVED +SHARE$/m);
  assertMatch(list, /^\[2001:db8::1\]:80 +up +2 +0\/9 +0 +0 B +0 B +[45][0-9]\.[0-9] %$/m);
  assertMatch(list, /^db\.example:80 +up +1 +0 /m);
  assertMatch(list, /^Ring [0-9a-f]{8}: 3 servers, 1024 points, largest share 1\.[0-9]+ times the fair share$/m);
  const { servers, ring } = JSON.parse(await place.do("list", "--json"));
  assertEquals(servers.map(({ server }: { server: string }) => server), ["192.0.2.1:80", "[2001:db8::1]:80", "db.example:80"]);
  assertStringIncludes(list, ring.fingerprint);
  const again = await place.ctl("add", "2001:0DB8::1", "80");
  assertEquals([again.code, again.stderr], [1, 'balancerctl: Cannot add server "[2001:db8::1]:80": it is already in the pool\n']);
  assertEquals(await place.do("remove", "192.0.2.1", "80"), "Removed server 192.0.2.1:80: it had no open connections\n");
  const gone = await place.ctl("remove", "192.0.2.1", "80");
  assertEquals(gone.code, 1);
  assertStringIncludes(gone.stderr, 'Server "192.0.2.1:80" is not in the pool');
  assertStringIncludes(await place.do("status"), "2 up\n");
  const twice = await place.ctl("start", "127.0.0.1", "0");
  assertEquals(twice.code, 1);
  assertMatch(
    twice.stderr,
    /^balancerctl: Cannot start balancer "default": it is running on 127\.0\.0\.1:[0-9]+ \(pid [0-9]+\); stop it first/,
  );
  assertEquals(await place.do("stop"), 'Balancer "default" has stopped; no connection was cut\n');
  assertEquals((await place.ctl("stop")).code, 3);
});

Deno.test("a socket path that is a file, or too long, is told and left alone", async () => {
  await using place = await makePlace();
  await Deno.mkdir(`${place.folder}/run/balancer`, { mode: 0o700 });
  await Deno.writeTextFile(place.socket(), "precious");
  const file = await place.ctl("start", "127.0.0.1", "0");
  assertEquals(file.code, 1);
  assertMatch(file.stderr, /^balancerctl: [^\n]*default\.sock[^\n]*\n$/);
  assertEquals(await Deno.readTextFile(place.socket()), "precious");
  const env = { ...place.env, XDG_RUNTIME_DIR: `/tmp/${"x".repeat(120)}` };
  const long = await outcomeOf(new Deno.Command(place.program("balancerctl"), { args: ["list"], env }));
  assertEquals(long.code, 2);
  assertMatch(long.stderr, /^balancerctl: Cannot use control socket [^\n]* bytes and the limit is [^\n]*\n$/);
});

Deno.test("balancers of different names live side by side", async () => {
  await using place = await makePlace();
  await place.start("--name", "one");
  await place.start("--name", "two");
  await place.do("add", "192.0.2.1", "80", "--name", "one");
  assertStringIncludes(await place.do("list", "--name=one"), "192.0.2.1:80");
  assertStringIncludes(await place.do("--name", "two", "list"), "No servers");
  await place.do("stop", "--name", "one");
  assertEquals((await place.ctl("list", "--name", "one")).code, 3);
  assert((await place.do("status", "--name", "two")).includes("two"));
});

Deno.test("drain, undrain, set, plan, explain and recent say what they did", async () => {
  await using place = await makePlace();
  await using server = startServer(sayName);
  const port = String(server.address.port);
  const address = await place.start("--check", "off");
  await place.do("add", "127.0.0.1", port);
  assertEquals(await ask(address), server.name);
  const drained = await place.do("drain", "127.0.0.1", port);
  assertEquals(drained, `Server ${server.name} gets no more clients; it has 0 open connections\n`);
  const list = await place.do("list");
  assertMatch(list, /^127\.0\.0\.1:[0-9]+ +draining +1 +0 +1 /m);
  assertMatch(list, /^127\.0\.0\.1:[0-9]+: draining since 20[0-9T:-]+Z: balancerctl drain$/m);
  assertStringIncludes(await place.do("status"), "0 up, 1 draining\n");
  assertMatch(await place.do("explain", "192.0.2.7"), /\nNo server can take it now\n.* passed over: it is draining\n$/);
  const undrained = await place.do("undrain", "127.0.0.1", port);
  assertEquals(undrained, `Server ${server.name} gets clients again: its share is 100.0 %\n`);
  const what = `Server ${server.name} has weight`;
  const set = (...options: string[]) => place.do("set", "127.0.0.1", port, ...options);
  assertEquals(await set("--weight", "3"), `${what} 3 (100.0 % of all clients) and no limit of connections\n`);
  assertEquals(await set("--max-connections", "1"), `${what} 3 (100.0 % of all clients) and at most 1 connection\n`);
  assertStringIncludes(
    await set("--max-connections", "off", "--weight", "2"),
    " weight 2 (100.0 % of all clients) and no limit",
  );
  assertMatch(
    await place.do("plan", "remove", "127.0.0.1", port),
    /^Removing .* moves 100\.0 % of all clients:\n.*to {2}\(no server\)\n/,
  );
  assertMatch(await place.do("plan", "add", "192.0.2.1", "80"), /^Adding 192\.0\.2\.1:80 \(weight 1\) moves [23][0-9]\.[0-9] % of/);
  assertMatch(await place.do("plan", "weight", "127.0.0.1", port, "--weight", "5"), /\(weight 5\) moves 0\.0 % of all clients/);
  const { client, order } = JSON.parse(await place.do("explain", "2001:0DB8::7", "--json"));
  assertEquals([client, order.map(({ verdict }: { verdict: string }) => verdict)], ["2001:db8::7", ["chosen"]]);
  const { ends } = JSON.parse(await place.do("recent", "--json", "--limit", "1", "--server", server.name));
  assertEquals([ends.length, ends[0].fate, ends[0].server], [1, "done", server.name]);
  assertEquals(await place.do("last"), await place.do("recent"), "the earlier name");
  assertMatch(await place.do("recent"), /^AT +CLIENT +SERVER +FATE +LASTED +SENT +RECEIVED +WHY\n.* done /);
  assertEquals(await place.do("recent", "--fate", "server_lost"), "No such connection has ended recently\n");
  assertEquals(await place.do("remove", "127.0.0.1", port, "--now"), `Removed server ${server.name}: it had no open connections\n`);
});

/** What the daemon alone can know is wrong: words, exit code, what the sentence says. */
const REFUSALS: readonly [words: readonly string[], code: number, says: string][] = [
  [["explain", "foo"], 2, 'Cannot explain "foo": give an IP address'],
  [["plan", "remove", "192.0.2.9", "80"], 1, 'Server "192.0.2.9:80" is not in the pool'],
  [["plan", "weight", "192.0.2.9", "80", "--weight", "2"], 1, "is not in the pool"],
  [["plan", "add", "192.0.2.1", "80"], 1, "it is already in the pool; plan a weight or a removal"],
  [["drain", "192.0.2.9", "80"], 1, 'Server "192.0.2.9:80" is not in the pool'],
  [["undrain", "192.0.2.9", "80"], 1, "is not in the pool"],
  [["set", "192.0.2.9", "80", "--weight", "2"], 1, "is not in the pool"],
  [["remove", "192.0.2.9", "80", "--now"], 1, "is not in the pool"],
  [["rebalance", "--rate", "10/s"], 1, "open connections move only at level idle, and --redistribute is new"],
  [["pause", "--idle"], 1, 'Cannot have open connections of service "default" wait: they leave their servers only at level idle'],
  [["pause", "--service", "webb"], 1, 'Cannot use service "webb": there is none with this name'],
];

Deno.test("what the daemon refuses gets one sentence and the right exit code", async () => {
  await using place = await makePlace();
  await place.start("--check", "off");
  await place.do("add", "192.0.2.1", "80");
  const before = await place.do("list", "--json");
  for (const [words, code, says] of REFUSALS) { // not at once: a command that is answered late says first what it waits for
    const outcome = await place.ctl(...words);
    const what = `balancerctl ${words.join(" ")}: ${outcome.stderr}`;
    assertEquals([outcome.code, outcome.stdout], [code, ""], what);
    assertMatch(outcome.stderr, /^balancerctl: [^\n]+\n$/, what);
    assertStringIncludes(outcome.stderr, says, what);
  }
  assertEquals(await place.do("list", "--json"), before);
});

/** A balancer and its control server in this process, and a person at a terminal. */
async function startTerminal(flags: Record<string, string> = {}) {
  const stack = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "balancer_test_" });
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  const path = `${folder}/run/control.sock`;
  const balancer = stack.use(await startBalancer({ flags: { key: "ip:port", "load-bound": "off", ...flags } }));
  const files = {
    stateFile: "/nowhere",
    lockFile: "/nowhere",
    logFile: null,
    http: () => null,
    localPorts: null,
    warnOf: () => [],
    carriedOver: null,
  };
  const facts = { name: "test", version: "1", engine: "streams", startedAt: new Date(), warnings: [], ...files };
  await claimSocket(path);
  const shutdown = new Shutdown({ stop: (graceMs) => balancer.balancer.stop(graceMs), cut: () => 0 });
  stack.use(await serveControl({ path, balancer: balancer.balancer, facts, shutdown, upgrade: () => "" }));
  const client = stack.use(new ControlClient("test", path));
  const lines: string[] = [];
  const sentences: string[] = [];
  const printed: string[] = [];
  let interrupts = new AbortController();
  const context: CommandContext = {
    client,
    clientOf: () => client,
    name: "test",
    say: (sentence) => sentences.push(sentence),
    printLine: (line) => printed.push(line),
    show: (line) => lines.push(line),
    print: (text) => printed.push(text),
    confirm: undefined,
    takeInterrupts: () => (interrupts = new AbortController()).signal,
  };
  return {
    balancer,
    lines,
    sentences,
    printed,
    context,
    interrupt: () => interrupts.abort(),
    run: (command: Command, server?: Address, options: CommandInput["options"] = {}) =>
      soon(command.run({ arguments: server === undefined ? [] : [server.host, String(server.port)], options }, context))
        .then(({ text }) => text),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** A connection that has had an answer. */
async function openVia(balancer: OneService): Promise<Deno.TcpConn> {
  const client = await connect(balancer.address);
  await writeText(client, "x");
  await soon(readBytes(client, 1));
  return client;
}

Deno.test("remove shows on a terminal how many have moved and are left, and wipes the line", async () => {
  await using server = startServer(echo);
  await using terminal = await startTerminal();
  const { balancer, lines, sentences } = terminal;
  await balancer.add(server.address, { weight: 1, connectionsMax: null });
  using client = await openVia(balancer);
  const removal = terminal.run(COMMANDS.remove, server.address, { drain: "1h" });
  await until(() => lines.length > 0, "a line");
  assertMatch(lines[0], /^Server 127\.0\.0\.1:[0-9]+: 0 moved, 1 left, 3600 s to go \(Ctrl-C stops watching\)$/);
  client.close();
  assertEquals(await removal, `Removed server ${server.name}: of 1 open connection 0 moved, 1 finished and 0 were reset`);
  assertEquals([lines.at(-1), sentences], ["", []]);
});

Deno.test("remove where nobody watches says once what it waits for", async () => {
  await using server = startServer(echo);
  await using terminal = await startTerminal();
  const { balancer, lines, sentences, context } = terminal;
  await balancer.add(server.address, { weight: 1, connectionsMax: null });
  using client = await openVia(balancer);
  const input = { arguments: [server.address.host, String(server.address.port)], options: { drain: "1h" } };
  const removal = COMMANDS.remove.run(input, { ...context, show: undefined });
  await until(() => sentences.length > 0, "a sentence");
  client.close();
  await soon(removal);
  const waiting = `Server ${server.name} gets no more clients; waiting up to 1h for its open connections`;
  assertEquals([sentences, lines], [[waiting], []]);
});

Deno.test("remove that is interrupted says so, wipes the line and leaves the server draining", async () => {
  await using server = startServer(echo);
  await using terminal = await startTerminal();
  const { balancer, lines } = terminal;
  await balancer.add(server.address, { weight: 1, connectionsMax: null });
  using _client = await openVia(balancer);
  const removal = terminal.run(COMMANDS.remove, server.address, { drain: "1h" });
  const failed = assertRejects(() => removal, OperatorError, "has up to 1h for its open connections");
  await until(() => lines.length > 0, "a line");
  terminal.interrupt();
  assertEquals((await failed).kind, "failed");
  assertEquals(lines.at(-1), "");
  assertEquals(balancer.list().map(({ state, open }) => [state, open]), [["removing", 1]]);
  assertEquals(
    await terminal.run(COMMANDS.remove, server.address, { now: "" }),
    `Removed server ${server.name}: of 1 open connection 0 moved, 0 finished and 1 was reset`,
  );
});

Deno.test("rebalance shows how many went home, and tells it at the end", async () => {
  await using one = startServer(echo);
  await using two = startServer(echo);
  await using terminal = await startTerminal({ redistribute: "idle", quiet: "10ms" });
  const { balancer, lines } = terminal;
  await balancer.add(one.address, { weight: 1, connectionsMax: null });
  await using stack = new AsyncDisposableStack();
  for (let i = 0; i < 3; i++) stack.adopt(await openVia(balancer), (client) => client.close());
  await balancer.add(two.address, { weight: 200, connectionsMax: null });
  const states = () => balancer.plan({ kind: "remove", server: one.name }).connections.map(({ state }) => state);
  await until(() => states().every((state) => state === "idle"), "silence");
  const text = await terminal.run(COMMANDS.rebalance, undefined, { rate: "1000/s" });
  const [, moved, count] = text.match(/^Moved ([0-9]) of ([0-9]) connections? to (?:its|their) owners?$/) ?? [];
  assertEquals([count, moved], [String(balancer.get(two.name).open), count]);
  assertMatch(lines[0], new RegExp(`^Moved [0-9] of ${count} connections? \\(Ctrl-C stops it\\)$`));
  assertEquals(lines.at(-1), "");
});

Deno.test("rebalance that is interrupted stops, and says how far it came", async () => {
  await using one = startServer(echo);
  await using two = startServer(echo);
  await using terminal = await startTerminal({ redistribute: "idle", quiet: "10ms" });
  const { balancer, lines } = terminal;
  await balancer.add(one.address, { weight: 1, connectionsMax: null });
  await using stack = new AsyncDisposableStack();
  for (let i = 0; i < 6; i++) stack.adopt(await openVia(balancer), (client) => client.close());
  await balancer.add(two.address, { weight: 200, connectionsMax: null });
  const states = () => balancer.plan({ kind: "remove", server: one.name }).connections.map(({ state }) => state);
  await until(() => states().every((state) => state === "idle"), "silence");
  const rebalanced = terminal.run(COMMANDS.rebalance, undefined, { rate: "1" });
  await until(() => lines.length > 0, "a line");
  terminal.interrupt();
  assertMatch(await rebalanced, /^Moved [0-5] of [2-6] connections to their owners$/);
  assertEquals(balancer.rebalancer.state.running, false);
});

Deno.test("pause and resume say what becomes of clients, and list and status show who waits", async () => {
  await using server = startServer(echo);
  await using terminal = await startTerminal({ redistribute: "idle", quiet: "10ms" });
  const { balancer } = terminal;
  await balancer.add(server.address);
  using early = await openVia(balancer);
  const paused = await terminal.run(COMMANDS.pause, undefined, { for: "5m" });
  assertMatch(paused, /^Service default is paused until [-0-9T:]+Z: new clients wait, its 1 open connection goes on\nEnd it with /);
  using late = await connect(balancer.address);
  await until(() => balancer.service.hold.waiting === 1, "a client who waits");
  const list = await terminal.run(COMMANDS.list);
  assertMatch(
    list,
    /\nPaused since [-0-9T:]+Z until [-0-9T:]+Z by .+: new clients wait\nWaiting 1: clients for whom there is no server$/,
  );
  const status = await terminal.run(COMMANDS.status);
  assertMatch(status, /Connections +2 open of at most 1000, waiting 1, 2 accepted\n +Service default +Paused since /);
  assertMatch(await terminal.run(COMMANDS["service list"]), /\ndefault \(paused\) .* 2 +1 +2 /);
  const parked = await terminal.run(COMMANDS.pause, undefined, { for: "5m", idle: "" });
  assertMatch(parked, /: new clients wait, and open connections, too, each as soon as it is idle\n/);
  await until(() => balancer.service.hold.waiting === 2, "the other one");
  assertEquals(
    await terminal.run(COMMANDS.resume),
    "Service default takes clients again; 2 clients who waited come first",
  );
  assertEquals(await terminal.run(COMMANDS.resume), "Service default was not paused");
  for (const client of [early, late]) {
    await writeText(client, "x");
    assertEquals(new TextDecoder().decode(await soon(readBytes(client, 1))), "x");
  }
});

Deno.test("check ends with 0 for a server that passes, and with 1 for one that fails", async () => {
  await using server = startServer(echo);
  await using terminal = await startTerminal();
  const { balancer, context } = terminal;
  const dead = unusedAddress();
  for (const [address, exit, verdict] of [[server.address, 0, "passed"], [dead, 1, "failed"]] as const) {
    await balancer.add(address, {});
    const result = await soon(COMMANDS.check.run({ arguments: [address.host, String(address.port)], options: {} }, context));
    assertEquals(result.exit, exit);
    assertMatch(result.text, new RegExp(`^${verdict} after [0-9.]+ ms`, "m"));
  }
});

/** What `connections --json` says of the only connection. */
async function onlyConnection(place: Awaited<ReturnType<typeof makePlace>>) {
  const { total, connections } = JSON.parse(await place.do("connections", "--json"));
  assertEquals([total, connections.length], [1, 1]);
  return connections[0];
}

Deno.test("connections, move and close say what they did, and what they could not", async () => {
  await using place = await makePlace();
  await using a = startServer(echo);
  await using b = startServer(echo);
  const portOf = ({ address }: typeof a) => String(address.port);
  const address = await place.start("--check", "off", "--redistribute", "idle", "--quiet", "1ms");
  assertEquals(await place.do("connections"), "No such connection is open\n");
  await place.do("add", "127.0.0.1", portOf(a));
  using client = await connect(address);
  await writeText(client, "x");
  await soon(readBytes(client, 1));
  await place.do("add", "127.0.0.1", portOf(b));
  const { id, client: shown } = await onlyConnection(place);
  assertMatch(
    await place.do("connections", "--server", a.name, "--client", "127.0.0.0/8", "--state", "idle", "--sort", "bytes"),
    new RegExp(
      `^ID +CLIENT +SERVER +STATE +AGE +IDLE +SENT +RECEIVED +MOVES\n` +
        `${id} +${shown} +${a.name} +idle +[0-9]+m?s +[0-9]+m?s +1 B +1 B +0\n1 open connection\n$`,
    ),
  );
  const line = `connection ${id} of client ${shown}`;
  assertEquals(await place.do("move", id), `Moved ${line} (idle) from ${a.name} to ${b.name}\n`);
  const refused = async (says: string, ...words: string[]) => {
    const { code, stdout, stderr } = await place.ctl(...words);
    assertEquals([code, stdout], [1, ""]);
    assertStringIncludes(stderr, says);
  };
  await refused(`it is with server ${b.name} already`, "move", id, "127.0.0.1", portOf(b));
  assertEquals(await place.do("move", id, "127.0.0.1", portOf(a)), `Moved ${line} (idle) from ${b.name} to ${a.name}\n`);
  await refused('Server "127.0.0.1:1" is not in the pool', "move", id, "127.0.0.1", "1");
  await place.do("service", "set", "default", "--redistribute", "new");
  await refused("--redistribute new does not let it move after its first byte; change it with", "move", id);
  await place.do("drain", "127.0.0.1", portOf(b));
  const why = "which could not move: --redistribute new does not let it move after its first byte";
  const next = `gets server ${a.name} again; balancerctl drain takes that server out first`;
  assertEquals(await place.do("move", id, "--force"), `Reset ${line}, ${why}. Its client has to connect again, and ${next}\n`);
  await refused(`Cannot move connection "${id}": it has ended: closed`, "move", id);
  using other = await connect(address);
  await writeText(other, "x");
  await soon(readBytes(other, 1));
  const second = await onlyConnection(place);
  const closed = `Closed connection ${second.id} of client ${second.client} with server ${a.name}\n`;
  assertEquals(await place.do("close", second.id.toUpperCase()), closed);
  await refused("it has ended: closed", "close", second.id);
  await refused(
    "it is of another run of the balancer; ids of this one begin with",
    "close",
    `0123456789abcdef${second.id.slice(16)}`,
  );
  const { fates } = JSON.parse(await place.do("status", "--json"));
  assertEquals(fates.closed, 2);
  const { servers } = JSON.parse(await place.do("list", "--json"));
  assertEquals(servers.map(({ connectFailures }: { connectFailures: number }) => connectFailures), [0, 0]);
});

Deno.test("connections --follow prints again and again until an interruption, with --json a line each time", async () => {
  await using terminal = await startTerminal();
  const { context, printed } = terminal;
  for (const json of [undefined, ""]) {
    printed.length = 0;
    const following = COMMANDS.connections.run({ arguments: [], options: { follow: "", json } }, context);
    await until(() => printed.length === 2, "the second time");
    terminal.interrupt();
    assertEquals(await soon(following), { text: "", exit: 0 });
    const expected = json === undefined ? "No such connection is open" : '{"total":0,"connections":[]}';
    assertEquals(printed, [expected, expected]);
  }
});

Deno.test("connections --follow ends with the error of a daemon that is gone", async () => {
  await using place = await makePlace();
  await place.start("--check", "off");
  const child = new Deno.Command(place.program("balancerctl"), {
    args: ["connections", "--follow", "--json"],
    env: place.env,
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const reader = child.stdout.getReader();
  assertEquals(new TextDecoder().decode((await soon(reader.read())).value), '{"total":0,"connections":[]}\n');
  await place.do("stop", "--grace", "0s");
  const [{ code }, stderr] = await Promise.all([child.status, new Response(child.stderr).text()]);
  await reader.cancel();
  assertEquals(code, 3, stderr);
  assertMatch(stderr, /^balancerctl: No balancer "default" is running: [^\n]+\n$/);
});
