import { assertEquals, assertThrows } from "@std/assert";
import { OperatorError } from "../../lib/values/errors.ts";
import {
  DEFAULT_SERVER_SETTINGS,
  faultOfSettings,
  formatServerSettings,
  parseServerSettings,
  SERVER_SETTINGS,
} from "../../lib/values/server_settings.ts";

Deno.test("a server without options has the default settings", () => {
  const daemons = { proxy: null, check: null, checkPort: null, checkHost: null, checkCa: null, checkStatus: null };
  assertEquals(DEFAULT_SERVER_SETTINGS, { weight: 1, tier: 0, connectionsMax: null, ...daemons });
  assertEquals(parseServerSettings({}), {});
  assertEquals(formatServerSettings(DEFAULT_SERVER_SETTINGS), []);
});

for (const [name, row] of Object.entries(SERVER_SETTINGS)) {
  Deno.test(`the default of a server's ${name} is a text that its option reads`, () => {
    const value = DEFAULT_SERVER_SETTINGS[name as keyof typeof DEFAULT_SERVER_SETTINGS];
    assertEquals((row.format as (value: unknown) => string)(value), row.default);
  });
}

Deno.test("settings are read from options and shown as options", () => {
  const given = parseServerSettings({ weight: "3", "max-connections": "20", proxy: "v2", name: "x" });
  assertEquals(given, { weight: 3, connectionsMax: 20, proxy: "v2" });
  assertEquals(formatServerSettings({ ...DEFAULT_SERVER_SETTINGS, ...given }), [
    ["--weight", "3"],
    ["--max-connections", "20"],
    ["--proxy", "v2"],
  ]);
  assertEquals(parseServerSettings({ "max-connections": "off", proxy: "default" }), { connectionsMax: null, proxy: null });
  assertThrows(() => parseServerSettings({ weight: "2", proxy: "v3" }), OperatorError, 'Unknown PROXY protocol version "v3"');
});

Deno.test("the settings of a server's check are kept as text, in one form", () => {
  const options = {
    check: "https:/up",
    "check-port": "8008",
    "check-host": "DB.example",
    "check-ca": "none",
    "check-status": "200,404",
  };
  const given = parseServerSettings(options);
  const expected = { check: "https:/up", checkPort: 8008, checkHost: "db.example", checkCa: "none", checkStatus: "200,404" };
  assertEquals(given, expected);
  assertEquals(faultOfSettings({ weight: 1, connectionsMax: null, ...given }, () => false), undefined);
  assertThrows(() => parseServerSettings({ "check-ca": "ca.pem" }), OperatorError, "give the absolute path");
  assertThrows(() => parseServerSettings({ "check-port": "0" }), OperatorError, 'Check port "0"');
});

const FAULTS = [
  [{ weight: 1, connectionsMax: null }, undefined],
  [{ weight: 1, connectionsMax: 5, proxy: null }, undefined],
  [{ weight: 1, connectionsMax: 5, proxy: "off" }, undefined],
  [{ weight: 1 }, "connection limit"],
  [{ weight: "1", connectionsMax: null }, "weight"],
  [{ weight: NaN, connectionsMax: null }, "weight"],
  [{ weight: 1, connectionsMax: "off" }, "connection limit"],
  [{ weight: 1, connectionsMax: null, proxy: "default" }, "PROXY protocol version"],
  [{ weight: 1, connectionsMax: null, proxy: ["v1"] }, "PROXY protocol version"],
  [{ weight: 1, connectionsMax: null, check: "http:path" }, "check"],
  [{ weight: 1, connectionsMax: null, checkPort: "8008" }, "check port"],
  [{ weight: 1, connectionsMax: null, checkHost: "DB.example" }, "check host"],
  [{ weight: 1, connectionsMax: null, checkCa: "ca.pem" }, "check CA"],
  [{ weight: 1, connectionsMax: null, checkStatus: "399-200" }, "check status"],
] as const;

for (const [settings, what] of FAULTS) {
  Deno.test(`of the saved settings ${JSON.stringify(settings)} ${what === undefined ? "none" : `the ${what}`} is wrong`, () => {
    assertEquals(faultOfSettings(settings, (name) => name === "weight" || name === "connectionsMax")?.what, what);
  });
}
