// The doctor on this machine: without a balancer, with one that is well, and with one that is not.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { makePlace, outcomeOf } from "../programs.ts";

interface Shown {
  readonly fact: string;
  readonly verdict: string;
  readonly says: string;
  readonly type?: string;
}

Deno.test("the doctor examines the machine without a balancer, and with one its servers, too", async () => {
  await using place = await makePlace();
  const examine = async () => {
    const { code, stdout, stderr } = await place.ctl("doctor", "--json");
    assertEquals(stderr, "");
    const report: { name: string; verdict: string; facts: Shown[] } = JSON.parse(stdout);
    assertEquals(code, report.verdict === "bad" ? 1 : 0);
    return report;
  };
  const sayings = (facts: readonly Shown[], fact: string) => facts.filter((row) => row.fact === fact);
  const alone = await examine();
  assertMatch(sayings(alone.facts, "balancer")[0].says, /No balancer "default" is running/);
  assertEquals(sayings(alone.facts, "checks"), []);
  assertEquals(sayings(alone.facts, "versions")[0].verdict, "good");

  using server = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await place.start();
  await place.do("add", "127.0.0.1", String(server.addr.port));
  const well = await examine();
  assertMatch(sayings(well.facts, "balancer")[0].says, /^"default" has run since /);
  assertEquals(sayings(well.facts, "checks"), [{ fact: "checks", verdict: "good", says: "1 of 1 server pass their check" }]);
  assertEquals(sayings(well.facts, "loops")[0].verdict, "good");
  assertEquals(sayings(well.facts, "clock")[0].verdict, "good");
  assertStringIncludes(sayings(well.facts, "state")[0].says, place.folder);

  const { port } = server.addr;
  server.close();
  const ill = await examine();
  assertEquals(ill.verdict, "bad");
  assertEquals(sayings(ill.facts, "checks").map(({ verdict, type }) => [verdict, type]), [
    ["bad", `balancerctl check 127.0.0.1 ${port} --service default`],
  ]);
});

Deno.test("the doctor's report has a line for each fact, with marks that the terminal can show", async () => {
  await using place = await makePlace();
  const examine = (LC_ALL: string) =>
    outcomeOf(new Deno.Command(place.program("balancerctl"), { args: ["doctor"], env: { ...place.env, LC_ALL }, stdin: "null" }));
  const plain = (await examine("C")).stdout;
  assertMatch(plain, /^! balancer +No balancer "default" is running/);
  assertMatch(plain, /\n +balancerctl start <inet_address> <inet_port>\n/);
  assertMatch(plain, /\n\+ versions /);
  assert([...plain].every((character) => character <= "~"), plain);
  assertMatch((await examine("C.UTF-8")).stdout, /\n✔ versions /);
  await Deno.chmod(`${place.folder}/state`, 0o500);
  try {
    const { code, stdout } = await examine("C");
    if (Deno.uid() !== 0) assertEquals([code, /^X state +Cannot write/m.test(stdout)], [1, true]); // root writes everywhere
  } finally {
    await Deno.chmod(`${place.folder}/state`, 0o700);
  }
});
