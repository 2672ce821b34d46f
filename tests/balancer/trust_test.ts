// The authorities that checks trust are there when the daemon starts, or it says what is missing.

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { loadAuthorities } from "../../lib/balancer/trust.ts";
import { parseConfig } from "../../lib/values/config.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { CA } from "../certificates.ts";
import { needing } from "../tools.ts";

const MISSING = "/nowhere/ca.pem";

type Service = Parameters<typeof loadAuthorities>[0][number];

/** A service whose settings are given, with defaults. */
function service(parts: Partial<Service>): Service {
  return { name: "default", config: parseConfig(), servers: [], isGiven: true, ...parts };
}

Deno.test("a daemon whose own file of authorities is missing does not start", async () => {
  const config = parseConfig({ check: "https:/", "check-ca": MISSING });
  await assertRejects(() => loadAuthorities([service({ config })]), OperatorError, "it does not exist");
});

Deno.test("a daemon with a saved server whose file of authorities is gone starts, and warns of its checks", async () => {
  const path = await Deno.makeTempFile({ prefix: "balancer_ca_" });
  await Deno.writeTextFile(path, CA);
  const ordinary = { weight: 1, connectionsMax: null, check: "https:/" };
  const { authorities, warnings } = await loadAuthorities([service({
    servers: [
      { server: "10.0.0.1:443", ...ordinary, checkCa: path },
      { server: "10.0.0.2:443", ...ordinary, checkCa: MISSING },
      { server: "10.0.0.3:443", ...ordinary, check: "tcp", checkCa: MISSING },
    ],
  })]).finally(() => Deno.remove(path));
  assertEquals(warnings.length, 1);
  assertStringIncludes(warnings[0], 'The checks of server 10.0.0.2:443 fail: Cannot use the CA file "/nowhere/ca.pem"');
  assertEquals(authorities.trustOf({ kind: "file", path }), { verifies: true, authorities: [CA] });
  assertEquals("fault" in authorities.trustOf({ kind: "file", path: MISSING }), true);
});

Deno.test({
  ...await needing("the system's authorities are read for the one server that is checked by https", "the system's authorities"),
  async fn() {
    const saved = { server: "10.0.0.1:443", weight: 1, connectionsMax: null, check: "https:/up" };
    const { authorities, warnings } = await loadAuthorities([service({ servers: [saved] })]);
    const trust = authorities.trustOf({ kind: "system" });
    assert("verifies" in trust && trust.verifies && trust.authorities !== undefined, "it trusts those that the runtime ships");
    assertEquals(warnings, []);
  },
});

Deno.test("services of before a restart start without their authorities, and a warning says whose checks fail", async () => {
  const path = await Deno.makeTempFile({ prefix: "balancer_ca_" });
  await Deno.writeTextFile(path, CA);
  const ordinary = { weight: 1, connectionsMax: null };
  const servers = [
    { server: "10.0.0.1:443", ...ordinary },
    { server: "10.0.0.2:443", ...ordinary, checkCa: "/nowhere/other.pem" },
    { server: "10.0.0.3:443", ...ordinary, checkCa: path },
  ];
  const { authorities, warnings } = await loadAuthorities([
    service({ name: "web", config: parseConfig({ check: "https:/", "check-ca": MISSING }), servers, isGiven: false }),
    service({ name: "api", config: parseConfig({ check: "https:/", "check-ca": path }), servers: [servers[0]], isGiven: false }),
    service({ name: "db", config: parseConfig({ check: "tcp", "check-ca": MISSING }), isGiven: false }),
  ]).finally(() => Deno.remove(path));
  const why = (path: string) =>
    `Cannot use the CA file ${JSON.stringify(path)}: it does not exist; give the path of a file in PEM format`;
  assertEquals(warnings, [
    `The checks of service "web" fail: ${why(MISSING)}`,
    `The checks of server 10.0.0.2:443 of service "web" fail: ${why("/nowhere/other.pem")}`,
    `The checks of service "db" fail: ${why(MISSING)}`,
  ]);
  assertEquals(authorities.trustOf({ kind: "file", path }), { verifies: true, authorities: [CA] });
  assertEquals("fault" in authorities.trustOf({ kind: "file", path: MISSING }), true);
});

Deno.test("of many services the one whose settings are given is told at once what is wrong with them", async () => {
  const old = service({ name: "web", config: parseConfig({ check: "https:/", "check-ca": MISSING }), isGiven: false });
  const given = service({ config: parseConfig({ check: "https:/", "check-ca": "/nowhere/given.pem" }) });
  await assertRejects(() => loadAuthorities([old, given]), OperatorError, "/nowhere/given.pem");
});
