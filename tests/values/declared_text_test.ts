// What is written is read back as it was, and the schema takes it.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  DAEMON_ROWS,
  type DeclaredState,
  fileText,
  SERVER_ROWS,
  SERVICE_ROWS,
  type SettingRow,
} from "../../lib/values/declared_state.ts";
import { parseDeclared } from "../../lib/values/declared_file.ts";
import { formatDeclared } from "../../lib/values/declared_text.ts";
import { DEFAULT_SERVER_SETTINGS, type ServerSettings } from "../../lib/values/server_settings.ts";
import { FLAGS_USED, validState } from "./declared_states.ts";

async function read(text: string): Promise<DeclaredState> {
  const result = await parseDeclared(new TextEncoder().encode(text));
  assert("state" in result, `${JSON.stringify(result)}\n${text}`);
  return result.state;
}

/** The state without what has its default, which is not written. */
function bare({ services, daemon }: DeclaredState): DeclaredState {
  const texts = (given: Readonly<Record<string, string | undefined>>, rows: ReadonlyMap<string, SettingRow>) =>
    Object.fromEntries(
      [...rows.values()].filter(({ flag, default: usual }) => given[flag] !== undefined && given[flag] !== usual)
        .map((row) => [row.flag, fileText(row, given[row.flag]!)]),
    );
  return {
    services: services.map((service) => ({
      ...service,
      settings: texts(service.settings, SERVICE_ROWS),
      servers: service.servers.map(({ server, draining, ...settings }) => {
        const own = Object.entries(settings).filter(([name, value]) =>
          value !== DEFAULT_SERVER_SETTINGS[name as keyof ServerSettings]
        );
        return { server, ...Object.fromEntries(own), ...(draining ? { draining } : {}) };
      }),
    })),
    daemon: texts(daemon, DAEMON_ROWS),
  };
}

Deno.test("a state that is written is read back as it was", async () => {
  for (const [flags, rows] of FLAGS_USED) assertEquals(flags.filter((flag) => !rows.has(flag)), []);
  await fc.assert(fc.asyncProperty(validState, async (state) => assertEquals(await read(formatDeclared(state)), bare(state))));
});

Deno.test("a file that was read is written the same way again and again", async () => {
  await fc.assert(fc.asyncProperty(validState, async (state) => {
    const once = formatDeclared(await read(formatDeclared(state)));
    assertEquals(once, formatDeclared(state));
    assertEquals(formatDeclared(await read(once)), once);
  }));
});

Deno.test("any text of a setting survives, whatever it looks like in YAML", async () => {
  const services = [{ name: "a", listeners: [{ address: "::", port: 1 }], settings: {}, servers: [] }];
  const paths = fc.oneof(
    fc.string({ unit: "binary", minLength: 1 }),
    fc.constantFrom(
      "a: b",
      "a #b",
      "a:",
      "- a",
      "{a",
      "'",
      '"',
      "\\",
      "\t",
      " a ",
      "a\nb",
      "%",
      "@",
      "`",
      "&a",
      "*a",
      "!a",
      "? a",
      "~",
      "\u2028",
    ),
  );
  await fc.assert(fc.asyncProperty(paths, async (path) => {
    const state = { services, daemon: { "access-log": `/${path}` } };
    assertEquals(await read(formatDeclared(state)), state);
  }));
});

Deno.test("a state is written in its shortest form", () => {
  const text = formatDeclared({
    services: [
      {
        name: "web",
        listeners: [{ address: "0.0.0.0", port: 80 }],
        settings: { "limits-dry-run": "", redistribute: "idle", "client-rate": "9/1s", quiet: "250ms" },
        servers: [
          { server: "10.0.0.1:8001", weight: 1, connectionsMax: null },
          { server: "[::1]:8001", weight: 2, connectionsMax: 500, check: "expect:a: b", draining: true },
        ],
      },
      {
        name: "api",
        listeners: [{ address: "::", port: 1 }, { address: "::", port: 8000, lastPort: 8009 }],
        settings: {},
        servers: [],
      },
    ],
    daemon: { "log-level": "debug", workers: "auto" },
  });
  assertEquals(
    text,
    `services:
  web:
    listen: 0.0.0.0:80
    redistribute: idle
    client-rate: 9/1s
    limits-dry-run: on
    servers:
      - 10.0.0.1:8001
      - server: "[::1]:8001"
        weight: 2
        max-connections: 500
        check: "expect:a: b"
        drain: true
  api:
    listen: ["[::]:1", "[::]:8000-8009"]
daemon:
  log-level: debug
`,
  );
});

Deno.test("no setting of a server or a service has the name of another part of the file", () => {
  for (const part of ["listen", "servers"]) assert(!SERVICE_ROWS.has(part));
  for (const part of ["server", "drain"]) assert(!SERVER_ROWS.has(part));
});
