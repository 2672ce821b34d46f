// The schema takes what the parser takes, and refuses what can be refused value by value; the document's example is valid.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { parse } from "yaml";
import { parseDeclared } from "../../lib/values/declared_file.ts";
import { declaredSchema } from "../../lib/values/declared_schema.ts";
import { DAEMON_ROWS, SERVER_ROWS, SERVICE_ROWS } from "../../lib/values/declared_state.ts";
import { formatDeclared } from "../../lib/values/declared_text.ts";
import { validState } from "./declared_states.ts";

type Json = { readonly [key: string]: unknown };

const SCHEMA = JSON.parse(JSON.stringify(declaredSchema())) as Json & { $defs: Record<string, Json> };

/** What each keyword that the schema uses asks of a value, as JSON Schema 2020-12 has it. */
const KEYWORDS: Readonly<Record<string, (value: unknown, argument: never) => boolean>> = {
  type: (value, types: string | readonly string[]) => [types].flat().includes(typeOf(value)),
  enum: (value, values: readonly unknown[]) => values.includes(value),
  pattern: (value, pattern: string) => typeof value !== "string" || new RegExp(pattern, "u").test(value),
  anyOf: (value, schemas: readonly Json[]) => schemas.some((schema) => isValid(value, schema)),
  $ref: (value, ref: string) => isValid(value, SCHEMA.$defs[ref.replace("#/$defs/", "")]),
  items: (value, schema: Json) => !Array.isArray(value) || value.every((item) => isValid(item, schema)),
  maxItems: (value, max: number) => !Array.isArray(value) || value.length <= max,
  minProperties: (value, min: number) => Object.keys(value as Json).length >= min,
  maxProperties: (value, max: number) => Object.keys(value as Json).length <= max,
  propertyNames: (value, schema: Json) => Object.keys(value as Json).every((key) => isValid(key, schema)),
  required: (value, names: readonly string[]) => !isMap(value) || names.every((name) => Object.hasOwn(value, name)),
  properties: (value, schemas: Readonly<Record<string, Json>>) =>
    !isMap(value) || Object.entries(value).every(([key, part]) => !Object.hasOwn(schemas, key) || isValid(part, schemas[key])),
};
const ANNOTATIONS = ["$schema", "$defs", "title", "description", "default", "examples"];

function isMap(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function typeOf(value: unknown): string {
  if (Array.isArray(value)) return "array";
  return value === null ? "null" : typeof value;
}

function isValid(value: unknown, schema: Json): boolean {
  return Object.entries(schema).every(([keyword, argument]) => {
    if (ANNOTATIONS.includes(keyword)) return true;
    if (keyword === "additionalProperties") return !isMap(value) || hasKnownKeys(value, schema, argument as boolean | Json);
    assert(KEYWORDS[keyword] !== undefined, `this test does not know ${keyword}`);
    return KEYWORDS[keyword](value, argument as never);
  });
}

function hasKnownKeys(value: Json, { properties = {} }: Json, others: boolean | Json): boolean {
  const unknown = Object.keys(value).filter((key) => !Object.hasOwn(properties as Json, key));
  return unknown.every((key) => typeof others === "object" && isValid(value[key], others));
}

/** What an editor makes of a file: YAML 1.2 with numbers and truth values. */
const isValidFile = (text: string) => isValid(parse(text), SCHEMA);

const isReadable = async (text: string) => "state" in await parseDeclared(new TextEncoder().encode(text));

const service = (lines: string) => `services: {a: {listen: "0.0.0.0:80", ${lines}}}`;

const GOOD: readonly string[] = [
  service(""),
  service("redistribute: idle, transparent: true, limits-dry-run: off, rise: 3, load-bound: 1.5, quiet: 250ms, rest: off"),
  service(
    "check-port: 80, check: http:/, servers: [b:1, {server: c:1, weight: 2, max-connections: off, check-port: 81, drain: true}]",
  ),
  service("client-connections: 20, client-rate: off, replay-buffer: 4096, rest-max: 50%, key: ip/24"),
  '{"services": {"a": {"listen": ["[::1]:80", "0.0.0.0:1-2"]}}, "daemon": {"workers": 2, "log-level": "debug"}}',
];

for (const text of GOOD) {
  Deno.test(`the schema takes what is read: ${text}`, async () => {
    assert(await isReadable(text));
    assert(isValidFile(text));
  });
}

const BAD: readonly string[] = [
  "{}",
  "services: {}",
  "services: []",
  "services: {../x: {listen: a:1}}",
  "services: {a: {rise: 2}}",
  "services: {a: {listen: a}}",
  service("redistribute: idel"),
  service("redistribte: idle"),
  service("quiet: 5"),
  service("quiet: soon"),
  service("rise: many"),
  service("transparent: yes"),
  service("log-level: info"),
  service("allow: [10.0.0.0/8]"),
  service("servers: [1]"),
  service("servers: [{weight: 2}]"),
  service("servers: [{server: b:1, quiet: 5s}]"),
  service("servers: [{server: b:1, drain: maybe}]"),
  `${service("")}\nmore: 1`,
];

for (const text of BAD) {
  Deno.test(`the schema refuses what is refused: ${JSON.stringify(text)}`, async () => {
    assert(!await isReadable(text));
    assert(!isValidFile(text));
  });
}

Deno.test("the schema takes every file that is written", () => {
  fc.assert(fc.property(validState, (state) => assert(isValidFile(formatDeclared(state)), formatDeclared(state))));
});

Deno.test("the schema takes the default of every setting, and says what the setting is for", () => {
  for (const [name, rows] of [["service", SERVICE_ROWS], ["server", SERVER_ROWS]] as const) {
    const properties = SCHEMA.$defs[name].properties as Record<string, Json>;
    for (const row of rows.values()) {
      assert(isValid(row.default, properties[row.flag]), row.flag);
      assertEquals(properties[row.flag].description, row.summary);
    }
  }
  const daemon = (SCHEMA.properties as Record<string, Json>).daemon.properties as Record<string, Json>;
  assertEquals(Object.keys(daemon), [...DAEMON_ROWS.keys()]);
  for (const row of DAEMON_ROWS.values()) assert(isValid(row.default, daemon[row.flag]), row.flag);
});

Deno.test("the example of the document is valid, and begins with the line that editors look for", async () => {
  const page = await Deno.readTextFile(`${import.meta.dirname}/../../docs/declared-file.md`);
  const examples = [...page.matchAll(/^```yaml\n([^]*?)^```$/gm)].map(([, text]) => text);
  assertEquals(examples.length, 1);
  for (const text of examples) {
    assertStringIncludes(text, "# yaml-language-server: $schema=");
    const result = await parseDeclared(new TextEncoder().encode(text));
    assertEquals("faults" in result ? result.faults : [], []);
    assert(isValidFile(text));
  }
});
