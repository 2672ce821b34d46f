// The authorities that the checks of a pool need are read when the daemon starts.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { loadAuthorities } from "../../lib/balancer/trust.ts";
import { parseConfig } from "../../lib/values/config.ts";

const SYSTEM = "/etc/ssl/certs/ca-certificates.crt";
const hasSystem = await Deno.stat(SYSTEM).then(() => true, () => false);
const SERVER = { server: "10.0.0.1:443", weight: 1, connectionsMax: null };

Deno.test({
  name: "loadAuthorities() reads the system's for the one server that is checked by https",
  ignore: !hasSystem,
  async fn() {
    const { authorities, warnings } = await loadAuthorities(parseConfig({}), [{ ...SERVER, check: "https:/up" }]);
    const trust = authorities.trustOf({ kind: "system" });
    assert("verifies" in trust && trust.verifies && trust.authorities !== undefined, "it trusts those that the runtime ships");
    assertEquals(warnings, []);
  },
});

Deno.test("loadAuthorities() tells of each server whose file is gone, and of none that needs no file", async () => {
  const gone = { ...SERVER, check: "https:/up", checkCa: "/nowhere/ca.pem" };
  const servers = [gone, { ...gone, server: "10.0.0.2:443" }, { ...gone, server: "10.0.0.3:443", check: "tcp" }];
  const { authorities, warnings } = await loadAuthorities(parseConfig({}), servers);
  const why = 'Cannot use the CA file "/nowhere/ca.pem": it does not exist; give the path of a file in PEM format';
  assertEquals(warnings, [1, 2].map((host) => `The checks of server 10.0.0.${host}:443 fail: ${why}`));
  const trust = authorities.trustOf({ kind: "file", path: "/nowhere/ca.pem" });
  assertStringIncludes("fault" in trust ? trust.fault : "", "it does not exist");
});
