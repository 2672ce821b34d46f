/**
 * A state as the text of a declared file: what `parseDeclared` reads back as the same state. Equal states give equal texts, and
 * what has its default is left out.
 */

import {
  DAEMON_ROWS,
  type DeclaredServer,
  type DeclaredService,
  type DeclaredState,
  fileText,
  SERVER_ROWS,
  SERVICE_ROWS,
  type SettingRow,
} from "./declared_state.ts";
import { formatListener } from "./listener_text.ts";
import type { SettingTexts } from "./config.ts";
import { DEFAULT_SERVER_SETTINGS } from "./server_settings.ts";

/** Texts that need no quotes wherever a scalar may stand: no sign of YAML's in them, and no word that some parser reads as more. */
const PLAIN = /^[A-Za-z0-9/](?:[A-Za-z0-9_./,%+-]|:(?=[A-Za-z0-9/]))*$/;
const MEANT_OTHERWISE = /^(?:true|false|null|yes|no|y|n|[-+.0-9]+e[-+0-9]+|0x[0-9a-f]+)$/i;

/** The text of the file, which ends with a line feed. */
export function formatDeclared({ services, daemon }: DeclaredState): string {
  const own = linesOf(daemon, DAEMON_ROWS);
  const lines = [
    "services:",
    ...services.flatMap((service) => [`  ${scalar(service.name)}:`, ...indented(serviceLines(service), 4)]),
    ...(own.length === 0 ? [] : ["daemon:", ...indented(own, 2)]),
  ];
  return `${lines.join("\n")}\n`;
}

function serviceLines({ listeners, settings, servers }: DeclaredService): string[] {
  const addresses = listeners.map((listener) => scalar(formatListener(listener)));
  const listen = addresses.length === 1 ? `listen: ${addresses[0]}` : `listen: [${addresses.join(", ")}]`;
  const pool = servers.flatMap(serverLines);
  return [listen, ...linesOf(settings, SERVICE_ROWS), ...(pool.length === 0 ? [] : ["servers:", ...indented(pool, 2)])];
}

/** A server in its short form where nothing but its name needs saying. */
function serverLines(server: DeclaredServer): string[] {
  const said = [...SERVER_ROWS.values()].filter(({ name }) => (server[name] ?? null) !== DEFAULT_SERVER_SETTINGS[name])
    .filter(({ name }) => server[name] !== undefined)
    .map(({ flag, name, format }) => `${flag}: ${scalar(format(server[name]))}`);
  const drain = server.draining === true ? ["drain: true"] : [];
  if (said.length + drain.length === 0) return [`- ${scalar(server.server)}`];
  return [`- server: ${scalar(server.server)}`, ...indented([...said, ...drain], 2)];
}

/** The settings that are given and not what they would be anyway, in the order of the help. */
function linesOf(texts: SettingTexts, rows: ReadonlyMap<string, SettingRow>): string[] {
  return [...rows.values()].flatMap((row) => {
    const text = texts[row.flag];
    if (text === undefined || fileText(row, text) === row.default) return [];
    return [`${row.flag}: ${scalar(fileText(row, text))}`];
  });
}

function indented(lines: readonly string[], spaces: number): string[] {
  return lines.map((line) => " ".repeat(spaces) + line);
}

/** A text, in quotes if it needs them. JSON's escapes are YAML's; its texts may hold what YAML's must escape, too. */
function scalar(text: string): string {
  if (PLAIN.test(text) && !MEANT_OTHERWISE.test(text)) return text;
  return JSON.stringify(text).replace(
    /[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
