/**
 * Makes text from elsewhere safe for a terminal. Control characters (C0, DEL and C1 of ISO 6429) could move the cursor, hide text
 * or type input for the user, so they are shown as escapes such as `\x1b`.
 */

/** As `\p{Cc}`, for which the tables of Unicode would be loaded: 1 ms. */
// deno-lint-ignore no-control-regex
const CONTROLS = /[\x00-\x1f\x7f-\x9f]/g;

/** Escapes every control character except line feeds, which separate our own lines. */
export function printable(text: string): string {
  return text.replace(CONTROLS, (character) => character === "\n" ? character : escaped(character));
}

/** The value with every control character in its strings escaped, line feeds included, so that none starts a new line. */
export function printableIn<T>(value: T): T {
  return shown(value) as T;
}

/** The value as indented JSON. Its only control characters are the line feeds of the indentation. */
export function toJson(value: unknown): string {
  return withoutControls(JSON.stringify(value, null, 2));
}

/** The value as JSON in one line, without control characters. */
export function toJsonLine(value: unknown): string {
  return withoutControls(JSON.stringify(value));
}

function withoutControls(json: string): string {
  return json.replace(/[\x7f-\x9f]/g, (character) => `\\u00${hexOf(character)}`);
}

function shown(value: unknown): unknown {
  if (typeof value === "string") return value.replace(CONTROLS, escaped);
  if (Array.isArray(value)) return value.map(shown);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [shown(key), shown(part)]));
}

function escaped(character: string): string {
  return `\\x${hexOf(character)}`;
}

function hexOf(character: string): string {
  return character.charCodeAt(0).toString(16).padStart(2, "0");
}
