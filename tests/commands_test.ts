// `balancerctl` as people use it: what each command prints, and what each mistake is answered with.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import deno from "../deno.json" with { type: "json" };
import { COMMANDS } from "../lib/control/commands.ts";
import { makePlace, outcomeOf } from "./programs.ts";

/** Bad input with no balancer running: words, exit code, what the sentence says. */
const MISTAKES: readonly [words: readonly string[], code: number, says: readonly string[]][] = [
  [[], 2, ["Missing command", "start", "list", "--help"]],
  [["lsit"], 2, ['Unknown command "lsit"', "list"]],
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
  [["start", "127.0.0.1", "0", "--connections", "0"], 2, ['Number of connections "0"']],
  [["start", "127.0.0.1", "0", "--engine", "nope"], 2, ['Engine "nope"', "streams"]],
  [["start", "127.0.0.1", "0", "--log-level", "loud"], 2, ['Log level "loud"', "warning"]],
  [["stop"], 3, ['No balancer "default" is running', "balancerctl start"]],
  [["add", "127.0.0.1", "80"], 3, ["No balancer"]],
  [["remove", "127.0.0.1", "80"], 3, ["No balancer"]],
  [["list"], 3, ["No balancer"]],
  [["status", "--json", "--name", "other"], 3, ['No balancer "other"']],
  [["start", "192.0.2.1", "0"], 1, ["Cannot listen on 192.0.2.1:0", "not one of this machine's"]],
];

Deno.test("every mistake gets one sentence, the right exit code, and changes nothing", async () => {
  await using place = await makePlace();
  for (const [words, code, says] of MISTAKES) {
    const outcome = await place.ctl(...words);
    const what = `balancerctl ${words.join(" ")}: ${outcome.stderr}`;
    assertEquals(outcome.code, code, what);
    assertEquals(outcome.stdout, "", what);
    assertMatch(outcome.stderr, /^balancerctl: [^\n]+\n$/, what);
    for (const part of says) assertStringIncludes(outcome.stderr, part, what);
  }
  assertEquals((await place.ctl("list")).code, 3, "nothing was started");
});

Deno.test("--help and --version answer everywhere, on standard output", async () => {
  await using place = await makePlace();
  const isVersion = (text: string, name: string) =>
    assertMatch(text, new RegExp(`^${name} ${deno.version} \\((compiled|self-extracting), Deno .*\\)\n$`));
  isVersion(await place.do("--version"), "balancerctl");
  const help = await place.do("--help");
  for (const [name, command] of Object.entries(COMMANDS)) {
    assertStringIncludes(help, `balancerctl ${name}`);
    assertStringIncludes(help, command.summary);
    const own = await place.do(name, "--help");
    for (const { flag } of command.options) assertStringIncludes(own, `--${flag}`);
  }
  isVersion(
    (await outcomeOf(new Deno.Command(place.program("balancer"), { args: ["--version"], env: place.env }))).stdout,
    "balancer",
  );
});

Deno.test("start, add, list, remove and stop say what they did", async () => {
  await using place = await makePlace();
  const started = await place.ctl("start", "127.0.0.1", "0");
  assertEquals([started.code, started.stderr], [0, ""]);
  assertMatch(
    started.stdout,
    /^Balancer "default" listens on 127\.0\.0\.1:[1-9][0-9]* \(pid [0-9]+\) with 0 servers\nAdd one with/,
  );
  assertMatch(await place.do("list"), /^No servers: clients are turned away/);
  assertMatch(
    await place.do("add", "192.0.2.1", "80"),
    /^Added server 192\.0\.2\.1:80: it takes 100\.0 % of all clients\n$/,
  );
  await place.do("add", "2001:db8:0::1", "80", "--weight", "2", "--max-connections", "9");
  await place.do("add", "Db.Example.", "80");
  const list = await place.do("list");
  assertMatch(list, /^SERVER +STATE +WEIGHT +OPEN +TOTAL +SENT +RECEIVED +SHARE$/m);
  assertMatch(list, /^\[2001:db8::1\]:80 +up +2 +0\/9 +0 +0 B +0 B +[45][0-9]\.[0-9] %$/m);
  assertMatch(list, /^db\.example:80 +up +1 +0 /m);
  assertMatch(list, /^Ring [0-9a-f]{8}: 3 servers, 1024 points, greatest share 1\.[0-9]+ times the fair one$/m);
  const { servers, ring } = JSON.parse(await place.do("list", "--json"));
  assertEquals(servers.map(({ server }: { server: string }) => server), ["192.0.2.1:80", "[2001:db8::1]:80", "db.example:80"]);
  assertStringIncludes(list, ring.fingerprint);
  const again = await place.ctl("add", "2001:0DB8::1", "80");
  assertEquals([again.code, again.stderr], [1, 'balancerctl: Cannot add server "[2001:db8::1]:80": it is already in the pool\n']);
  assertEquals(await place.do("remove", "192.0.2.1", "80"), "Removed server 192.0.2.1:80: it had no open connections\n");
  const gone = await place.ctl("remove", "192.0.2.1", "80");
  assertEquals(gone.code, 1);
  assertStringIncludes(gone.stderr, 'Cannot remove server "192.0.2.1:80": it is not in the pool');
  assertStringIncludes(await place.do("status"), "2 up, 0 draining");
  const twice = await place.ctl("start", "127.0.0.1", "0");
  assertEquals(twice.code, 1);
  assertMatch(
    twice.stderr,
    /^balancerctl: Cannot start balancer "default": it is running on 127\.0\.0\.1:[0-9]+ \(pid [0-9]+\); stop it first/,
  );
  assertEquals(await place.do("stop"), 'Balancer "default" has stopped\n');
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
  assertMatch(long.stderr, /^balancerctl: Cannot use control socket [^\n]* bytes and the system allows [^\n]*\n$/);
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
