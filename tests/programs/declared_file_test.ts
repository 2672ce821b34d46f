// The commands of declared files as programs: `validate` and `schema` without a balancer, from a file and from standard input.

import { assertEquals, assertStringIncludes } from "@std/assert";
import { unusedAddress } from "../helpers.ts";
import { makePlace, outcomeOf } from "../programs.ts";

const GOOD = 'services:\n  web:\n    listen: "[::1]:80"\n    servers: [a:1, b:2]\n';

Deno.test("balancerctl validate says what a file has, or every fault on its line", async () => {
  await using place = await makePlace();
  await Deno.writeTextFile(`${place.folder}/good.yaml`, GOOD);
  await Deno.writeTextFile(`${place.folder}/bad.yaml`, GOOD + "    redistribute: idel\n    rise: x\n");
  assertEquals(await place.do("validate", "good.yaml"), "good.yaml is valid: 1 service with 2 servers\n");
  const { code, stdout, stderr } = await place.ctl("validate", "bad.yaml");
  assertEquals([code, stderr], [1, ""]);
  assertEquals(stdout.split("\n"), [
    'bad.yaml:5:19: "redistribute" must be one of new, unanswered, idle; did you mean "idle"?',
    'bad.yaml:6:11: Rise "x" is not a whole number from 1 to 1000',
    "",
  ]);
  const { valid, faults } = JSON.parse((await place.ctl("validate", "bad.yaml", "--json")).stdout);
  assertEquals([valid, faults.length, faults[1].line, faults[1].column], [false, 2, 6, 11]);
});

Deno.test("balancerctl validate of a file that is not there, or of nothing on standard input, ends with 1", async () => {
  await using place = await makePlace();
  const missing = await place.ctl("validate", "none.yaml");
  assertEquals([missing.code, missing.stdout], [1, ""]);
  assertStringIncludes(missing.stderr, 'Cannot read "none.yaml": No such file');
  const options: Deno.CommandOptions = { args: ["validate", "-"], env: place.env, stdin: "null" };
  const { code, stdout } = await outcomeOf(new Deno.Command(place.program("balancerctl"), options));
  assertEquals([code, stdout], [1, 'standard input:1:1: The file says nothing: it needs "services"\n']);
});

Deno.test("balancerctl diff ends with 0 where nothing differs, 1 where something does, and neither in trouble", async () => {
  await using place = await makePlace();
  const file = (name: string, text: string) => Deno.writeTextFile(`${place.folder}/${name}`, text);
  const exits = async (name: string, ...args: string[]) => {
    const outcomes = [await place.ctl("diff", name, ...args), await place.ctl("diff", name, "--json", ...args)];
    for (const { code, stdout, stderr } of outcomes) assertEquals([stdout === "", stderr === ""], [code > 1, code <= 1]);
    return outcomes.map(({ code }) => code);
  };
  await file("good.yaml", GOOD);
  assertEquals(await exits("good.yaml"), [3, 3], "no balancer runs");
  await place.start("--check", "off");
  await file("same.yaml", await place.do("export"));
  await file("faulty.yaml", GOOD + "    redistribute: idel\n");
  await file("daemon.yaml", GOOD + "daemon:\n  workers: 63\n");
  assertEquals(await exits("same.yaml"), [0, 0]);
  assertEquals(await exits("good.yaml"), [1, 1]);
  assertEquals(await exits("faulty.yaml"), [2, 2]);
  assertEquals(await exits("none.yaml"), [2, 2]);
  assertEquals(await exits("daemon.yaml"), [2, 2], "what apply would refuse");
  assertEquals(await exits("good.yaml", "--prune"), [2, 2], "a wrong command line");
  assertEquals(await exits("good.yaml", "--name", "other"), [3, 3]);
});

Deno.test({
  name: "balancerctl diff ends with 1 where something differs, also if nobody reads that",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using place = await makePlace();
    await place.start("--check", "off");
    await Deno.writeTextFile(`${place.folder}/good.yaml`, GOOD);
    const args = ["-c", '{ "$0" diff good.yaml; echo "ended with $?" >&2; } | true', place.program("balancerctl")];
    const { stderr } = await outcomeOf(new Deno.Command("sh", { args, env: place.env, cwd: place.folder, stdin: "null" }));
    assertEquals(stderr, "ended with 1\n");
  },
});

Deno.test("balancerctl schema prints a JSON Schema", async () => {
  await using place = await makePlace();
  const { $schema, required } = JSON.parse(await place.do("schema"));
  assertEquals([$schema, required], ["https://json-schema.org/draft/2020-12/schema", ["services"]]);
});

Deno.test("balancerctl apply --json prints the answer of the API", async () => {
  await using place = await makePlace();
  await place.start("--check", "off");
  const { port } = unusedAddress();
  await Deno.writeTextFile(
    `${place.folder}/good.yaml`,
    `services:\n  default:\n    servers: ["127.0.0.1:1"]\n    listen: "127.0.0.1:${port}"\n`,
  );
  const { generation, ...planned } = JSON.parse(await place.do("apply", "good.yaml", "--plan", "--json"));
  assertEquals([Object.keys(planned), planned.applied], [["applied", "plan"], false]);
  const applied = JSON.parse(await place.do("apply", "good.yaml", "--yes", "--json"));
  assertEquals([applied.applied, applied.generation], [true, generation + 1]);
});
