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
  assertEquals(DEFAULT_SERVER_SETTINGS, { weight: 1, connectionsMax: null, proxy: null });
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
] as const;

for (const [settings, what] of FAULTS) {
  Deno.test(`of the saved settings ${JSON.stringify(settings)} ${what === undefined ? "none" : `the ${what}`} is wrong`, () => {
    assertEquals(faultOfSettings(settings, (name) => name !== "proxy")?.what, what);
  });
}
