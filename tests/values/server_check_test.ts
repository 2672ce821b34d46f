// A server's check is its own settings over the daemon's.

import { assertEquals } from "@std/assert";
import { parseConfig } from "../../lib/values/config.ts";
import { checkOf } from "../../lib/values/server_check.ts";
import { DEFAULT_SERVER_SETTINGS, parseServerSettings } from "../../lib/values/server_settings.ts";

const ADDRESS = { host: "10.0.0.1", port: 5432 };

function check(own: Record<string, string>, daemon: Record<string, string>, proxy?: "v1" | "v2") {
  return checkOf({ ...DEFAULT_SERVER_SETTINGS, ...parseServerSettings(own) }, parseConfig(daemon), { address: ADDRESS, proxy });
}

const DAEMON = {
  check: "https:/up",
  "check-port": "8443",
  "check-host": "db.example",
  "check-ca": "/ca.pem",
  "check-status": "200",
};

Deno.test("checkOf() without settings of its own is the daemon's", () => {
  assertEquals(check({}, DAEMON), {
    question: { kind: "https", path: "/up" },
    port: 8443,
    host: "db.example",
    ca: { kind: "file", path: "/ca.pem" },
    statuses: [{ from: 200, to: 200 }],
    proxy: "off",
  });
});

Deno.test("checkOf() takes each setting from the server where it has one", () => {
  const own = {
    check: "http:/primary",
    "check-port": "8008",
    "check-host": "a.example",
    "check-ca": "none",
    "check-status": "200,404",
  };
  assertEquals(check(own, DAEMON), {
    question: { kind: "http", path: "/primary" },
    port: 8008,
    host: "a.example",
    ca: { kind: "none" },
    statuses: [{ from: 200, to: 200 }, { from: 404, to: 404 }],
    proxy: "off",
  });
  assertEquals(check({ check: "off" }, DAEMON).question, { kind: "off" });
  assertEquals(check({ "check-port": "8008" }, DAEMON).question, { kind: "https", path: "/up" });
});

Deno.test("checkOf() begins with a PROXY header on the server's own port alone", () => {
  assertEquals(check({}, {}, "v2").proxy, "v2");
  assertEquals(check({ "check-port": "5432" }, {}, "v1").proxy, "v1");
  assertEquals(check({ "check-port": "8008" }, {}, "v2").proxy, "off");
  assertEquals(check({}, { "check-port": "8008" }, "v2").proxy, "off");
  assertEquals(check({}, {}).proxy, "off");
});
