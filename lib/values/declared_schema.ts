/**
 * The JSON Schema (2020-12) of a declared file, made from the tables of settings, so that editors complete and explain it. It says
 * what can be said of each value by itself; `balancerctl validate` checks the rest.
 */

import { LIMITS } from "./config.ts";
import { DAEMON_ROWS, SERVER_ROWS, SERVICE_ROWS, type SettingRow, wordsOf } from "./declared_state.ts";

type Json = Readonly<Record<string, unknown>>;

/** Patterns of the words in capitals by which tables tell the form of a value. Others have forms that a pattern would not help. */
const FORMS: Readonly<Record<string, string>> = {
  N: "[0-9]+",
  PORT: "[0-9]{1,5}",
  MICROSECONDS: "[0-9]+",
  FACTOR: "[0-9]+(\\.[0-9]+)?",
  PERCENT: "[0-9]+(\\.[0-9]+)?%",
  TIME: "0|[0-9]+(\\.[0-9]{1,3})?(ms|s|m|h)",
  SIZE: "[0-9]+(B|KiB|MiB|GiB)?",
};
/** Those that may be written as numbers. */
const NUMBERS = ["N", "PORT", "MICROSECONDS", "FACTOR", "SIZE"];

const SERVER_NAME: Json = {
  type: "string",
  description: "address and port of a server; an IPv6 address stands in brackets, and the whole in quotes",
  pattern: "^(\\[.*\\]|[^:]+):[0-9]{1,5}$",
  examples: ["10.0.0.1:8001", "[2001:db8::1]:8001", "db.example:5432"],
};

const LISTENER: Json = {
  type: "string",
  description: "address and port that clients connect to, or a range of ports; an IPv6 address stands in brackets",
  pattern: "^(\\[.*\\]|[^:]+):[0-9]{1,5}(-[0-9]{1,5})?$",
  examples: ["0.0.0.0:80", "[::]:443", "0.0.0.0:8000-8009"],
};

/** The schema as an object; printed as JSON, it is what `balancerctl schema` shows. */
export function declaredSchema(): Json {
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "The declared file of balancer",
    description: "Services with their listeners, settings and servers, for balancerctl apply",
    ...mapOf({
      services: {
        type: "object",
        description: "the services by name",
        minProperties: 1,
        maxProperties: LIMITS.servicesMax,
        propertyNames: { pattern: "^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$" },
        additionalProperties: { $ref: "#/$defs/service" },
      },
      daemon: { description: "settings of the daemon, for all services", ...mapOf(settingsOf(DAEMON_ROWS)) },
    }, ["services"]),
    $defs: {
      service: mapOf({
        listen: { description: "where clients connect", anyOf: [LISTENER, { type: "array", items: LISTENER }] },
        ...settingsOf(SERVICE_ROWS),
        servers: {
          type: "array",
          description: "the pool",
          maxItems: LIMITS.serversMax,
          items: { anyOf: [SERVER_NAME, { $ref: "#/$defs/server" }] },
        },
      }, ["listen"]),
      server: mapOf({
        server: SERVER_NAME,
        ...settingsOf(SERVER_ROWS),
        drain: {
          description: "the server gets no new clients, as after balancerctl drain",
          enum: [true, false, "on", "off"],
          default: false,
        },
      }, ["server"]),
    },
  };
}

function mapOf(properties: Json, required: readonly string[] = []): Json {
  return { type: "object", properties, required, additionalProperties: false };
}

function settingsOf(rows: ReadonlyMap<string, SettingRow>): Json {
  return Object.fromEntries([...rows].map(([flag, row]) => [flag, { description: row.summary, ...valueOf(row) }]));
}

/** Which texts, numbers and truth values a setting can be. */
function valueOf(row: SettingRow): Json {
  const words = wordsOf(row);
  if (words !== undefined) {
    const isSwitch = words.includes("on") && words.includes("off");
    return { enum: [...words, ...(isSwitch ? [true, false] : [])], default: row.default };
  }
  const forms = row.value!.split("|");
  const types = [
    "string",
    ...(forms.some((form) => NUMBERS.includes(form.split("[")[0])) ? ["number"] : []),
    ...(forms.includes("off") ? ["boolean"] : []),
  ];
  const patterns = forms.map((form) => FORMS[form] ?? (/^[a-z]+$/.test(form) ? form : undefined));
  const pattern = patterns.some((form) => form === undefined) ? {} : { pattern: `^(${patterns.join("|")})$` };
  return { type: types.length === 1 ? "string" : types, ...pattern, default: row.default, examples: [row.default] };
}
