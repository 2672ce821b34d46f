/**
 * The settings of one server: one row per setting, from which the options of `add` and `set`, what the state file may contain and
 * the API's names are derived. `null` means that the server has none of its own: no limit, or what the daemon's setting says.
 */

import { parseChoice } from "./choice.ts";
import { OperatorError } from "./errors.ts";
import { isAbsolute } from "./paths.ts";
import { parseCheck, parseCheckCa, parseCheckHost, parseCheckPort, parseStatuses } from "./check_spec.ts";
import { LIMITS, parseServerConnections, parseTier, parseWeight, PROXY_CHOICES, type ProxyChoice } from "./config.ts";

/** One setting: how its option looks, and how its text becomes a value and the value a text. */
interface ServerSetting<T> {
  readonly flag: string;
  readonly value: string;
  /** The value of a server that was added without the option, as text. */
  readonly default: string;
  readonly summary: string;
  /** What it is called in a sentence about a value that does not fit, and why that does not. */
  readonly what: string;
  readonly fault: string;
  /** Throws a `usage` error. */
  parse(text: string): T;
  /** The text that `parse` reads as this value; of a value of another type, any other text. */
  format(value: T): string;
}

/** What `--flag default` says: the daemon's setting holds. */
const DAEMONS = "default" as const;

/** The settings of a server, in the order of the help. */
export const SERVER_SETTINGS = {
  weight: {
    flag: "weight",
    value: "N",
    default: "1",
    summary: "share of the clients, relative to other servers",
    what: "weight",
    fault: `not a whole number from 1 to ${LIMITS.weightMax}`,
    parse: (text): number => parseWeight(text),
    format: String,
  },
  tier: {
    flag: "tier",
    value: "0|1|2",
    default: "0",
    summary: "0: gets clients; 1, 2: only while the tiers below have fewer usable servers than balancerctl start --tier-min says",
    what: "tier",
    fault: `not a whole number from 0 to ${LIMITS.tierMax}`,
    parse: (text): number => parseTier(text),
    format: String,
  },
  connectionsMax: {
    flag: "max-connections",
    value: "N|off",
    default: "off",
    summary: "maximum number of open connections; above it, new clients go to the next server",
    what: "connection limit",
    fault: `neither null nor a whole number from 1 to ${LIMITS.serverConnectionsMax}`,
    parse: (text): number | null => text === "off" ? null : parseServerConnections(text),
    format: (value) => value === null ? "off" : String(value),
  },
  proxy: {
    flag: "proxy",
    value: [...PROXY_CHOICES, DAEMONS].join("|"),
    default: DAEMONS,
    summary: "PROXY protocol header that tells the server the client's address; default: as balancerctl start --proxy says",
    what: "PROXY protocol version",
    fault: `neither null nor one of ${PROXY_CHOICES.join(", ")}`,
    parse: (text): ProxyChoice | null => {
      const choices = [...PROXY_CHOICES, DAEMONS] as const;
      const choice = parseChoice<typeof choices[number]>(text, {
        what: "PROXY protocol version",
        choices,
        help: "balancerctl add",
      });
      return choice === DAEMONS ? null : choice;
    },
    format: (value) => value === null ? DAEMONS : String(value),
  },
  check: {
    flag: "check",
    value: `CHECK|off|${DAEMONS}`,
    default: DAEMONS,
    summary: "how this server is checked, in the forms of balancerctl start --check",
    what: "check",
    fault: "neither null nor a check",
    parse: orDaemons((text) => (parseCheck(text), text)),
    format: textOrDaemons,
  },
  checkPort: {
    flag: "check-port",
    value: `PORT|${DAEMONS}`,
    default: DAEMONS,
    summary: "port that this server's checks connect to",
    what: "check port",
    fault: "neither null nor a port from 1 to 65535",
    parse: orDaemons((text): number | null => parseCheckPort(text)),
    format: textOrDaemons,
  },
  checkHost: {
    flag: "check-host",
    value: `NAME|${DAEMONS}`,
    default: DAEMONS,
    summary: "name in this server's HTTP checks: Host header, SNI, certificate",
    what: "check host",
    fault: "neither null nor a host name or an IP address",
    parse: orDaemons((text): string | null => parseCheckHost(text)),
    format: textOrDaemons,
  },
  checkCa: {
    flag: "check-ca",
    value: `FILE|system|none|${DAEMONS}`,
    default: DAEMONS,
    summary: "authorities that this server's HTTPS checks trust",
    what: "check CA",
    fault: "neither null, system, none nor the absolute path of a file",
    parse: orDaemons((text): string => absoluteCa(text)),
    format: textOrDaemons,
  },
  checkStatus: {
    flag: "check-status",
    value: `RANGE[,RANGE…]|${DAEMONS}`,
    default: DAEMONS,
    summary: "statuses that pass this server's HTTP checks",
    what: "check status",
    fault: "neither null nor a list of statuses",
    parse: orDaemons((text) => (parseStatuses(text), text)),
    format: textOrDaemons,
  },
} as const satisfies Record<string, ServerSetting<unknown>>;

/** The name of a setting of a server, in JSON. */
export type ServerSettingName = keyof typeof SERVER_SETTINGS;

/** The settings of a server as values. */
export type ServerSettings = { readonly [Name in ServerSettingName]: ReturnType<(typeof SERVER_SETTINGS)[Name]["parse"]> };

/** The parser of a setting that the daemon has, too. */
function orDaemons<T>(parse: (text: string) => T): (text: string) => T | null {
  return (text) => text === DAEMONS ? null : parse(text);
}

function textOrDaemons(value: string | number | null): string {
  return value === null ? DAEMONS : String(value);
}

/** A check CA as text. The daemon has another working directory than the person who names a file, so its path is absolute. */
function absoluteCa(text: string): string {
  const ca = parseCheckCa(text);
  if (ca.kind !== "file" || isAbsolute(ca.path)) return text;
  throw new OperatorError("usage", `Check CA ${JSON.stringify(text)} is a relative path: give the absolute path of the file`);
}

type AnyRow = ServerSetting<unknown>;

const ROWS = Object.entries(SERVER_SETTINGS) as [ServerSettingName, AnyRow][];

/** The settings of a server that was added without options. */
export const DEFAULT_SERVER_SETTINGS: ServerSettings = Object.fromEntries(
  ROWS.map(([name, row]) => [name, row.parse(row.default)]),
) as ServerSettings;

/** The settings whose options are given. Throws a `usage` error for the first bad one. */
export function parseServerSettings(options: Readonly<Record<string, string | undefined>>): Partial<ServerSettings> {
  const given = ROWS.filter(([, { flag }]) => options[flag] !== undefined);
  return Object.fromEntries(given.map(([name, row]) => [name, row.parse(options[row.flag]!)])) as Partial<ServerSettings>;
}

/** The settings that differ from the default, as option and text: `["--proxy", "v2"]`. */
export function formatServerSettings(settings: ServerSettings): (readonly [option: string, text: string])[] {
  return ROWS.filter(([name]) => settings[name] !== DEFAULT_SERVER_SETTINGS[name])
    .map(([name, row]) => [`--${row.flag}`, row.format(settings[name])]);
}

/**
 * What is wrong with settings that were read from a file: the setting in words, its value, and why it does not fit; undefined if
 * nothing is. A setting that is missing is wrong only if `isNeeded`.
 */
export function faultOfSettings(
  settings: Readonly<Record<string, unknown>>,
  isNeeded: (name: ServerSettingName) => boolean,
): { readonly what: string; readonly value: unknown; readonly fault: string } | undefined {
  const wrong = ROWS.find(([name, row]) => {
    const value = settings[name];
    return value === undefined ? isNeeded(name) : !isOfRow(value, row);
  });
  return wrong && { what: wrong[1].what, value: settings[wrong[0]], fault: wrong[1].fault };
}

/** Whether the row's parser gives this value for its text. */
function isOfRow(value: unknown, row: AnyRow): boolean {
  try {
    return row.parse(row.format(value)) === value;
  } catch {
    return false;
  }
}
