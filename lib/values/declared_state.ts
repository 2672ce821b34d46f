/**
 * What a balancer should be, as a declared file says it and as the state file keeps it: services by name, with their listeners,
 * settings and servers, and the settings of the daemon. Types, the forms of settings as text, and what holds where nothing is
 * said. Who reads and writes files: `declared_file.ts`, `declared_text.ts`.
 */

import { SETTINGS, type SettingTexts } from "./config.ts";
import type { SavedListener } from "./saved_state.ts";
import { DEFAULT_SERVER_SETTINGS, SERVER_SETTINGS, type ServerSettingName, type ServerSettings } from "./server_settings.ts";

/** A server by its canonical name, and what is said of it. What is undefined is not said. */
export type DeclaredServer = Partial<ServerSettings> & { readonly server: string; readonly draining?: boolean };

/** A server of which everything is said. */
export type CompleteServer = ServerSettings & { readonly server: string; readonly draining: boolean };

/** A service, and what is said of it. A service of the state file is one, too: there, everything is said. */
export interface DeclaredService {
  readonly name: string;
  readonly listeners: readonly SavedListener[];
  readonly settings: SettingTexts;
  readonly servers: readonly DeclaredServer[];
}

/** A whole balancer. Names of services differ. */
export interface DeclaredState {
  readonly services: readonly DeclaredService[];
  /** The settings of the daemon. */
  readonly daemon: SettingTexts;
}

/** A row of SETTINGS or SERVER_SETTINGS, as far as files need to know it. */
export interface SettingRow {
  readonly flag: string;
  /** The forms of its text. Undefined: a switch. */
  readonly value?: string;
  readonly default: string;
  readonly summary: string;
  parse(text: string): unknown;
}

const ALL_ROWS: readonly (SettingRow & { readonly scope?: "daemon" })[] = Object.values(SETTINGS);

/** The settings of a service, of the daemon and of a server, by flag, in the order of the help. */
export const SERVICE_ROWS: ReadonlyMap<string, SettingRow> = byFlag(ALL_ROWS.filter(({ scope }) => scope === undefined));
/** See SERVICE_ROWS. */
export const DAEMON_ROWS: ReadonlyMap<string, SettingRow> = byFlag(ALL_ROWS.filter(({ scope }) => scope === "daemon"));
/** See SERVICE_ROWS; each with the name of its value. */
export const SERVER_ROWS: ReadonlyMap<string, SettingRow & { readonly name: ServerSettingName; format(value: unknown): string }> =
  byFlag((Object.entries(SERVER_SETTINGS) as [ServerSettingName, SettingRow & { format(value: unknown): string }][])
    .map(([name, row]) => ({ ...row, name })));

function byFlag<Row extends SettingRow>(rows: readonly Row[]): ReadonlyMap<string, Row> {
  return new Map(rows.map((row) => [row.flag, row]));
}

/** The words of a switch. */
const SWITCH = ["on", "off"] as const;

/** The words that a setting can be, if there is nothing else that it can be. */
export function wordsOf({ value }: SettingRow): readonly string[] | undefined {
  if (value === undefined) return SWITCH;
  const words = value.split("|");
  return words.every((word) => /^[a-z][a-z0-9]*$/.test(word)) ? words : undefined;
}

/** The text of a setting as files have it: a switch is given on a command line as "", and here as "on". */
export function fileText({ value }: SettingRow, text: string): string {
  return value === undefined && text === "" ? "on" : text;
}

/** Whether two texts of a setting mean the same, such as `60s` and `1m`. Undefined means the default. */
export function meansSame(row: SettingRow, one: string | undefined, other: string | undefined): boolean {
  const [a, b] = [one ?? row.default, other ?? row.default].map((text) => fileText(row, text));
  return a === b || JSON.stringify(row.parse(a)) === JSON.stringify(row.parse(b));
}

/** The server with the defaults of everything that is not said of it. */
export function completeServer({ draining = false, ...said }: DeclaredServer): CompleteServer {
  const { server, ...settings } = said;
  const given = Object.entries(settings).filter(([, value]) => value !== undefined);
  return { ...DEFAULT_SERVER_SETTINGS, ...Object.fromEntries(given), server, draining };
}
