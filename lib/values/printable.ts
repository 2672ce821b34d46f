/**
 * Text from elsewhere as a terminal may get it. Control characters (C0, DEL and C1 of ISO 6429) could move its cursor, hide what
 * was said or type for its user: they are shown as `\x1b` and so on.
 */

/** Shows every control character but line feeds, which separate lines of our own. */
export function printable(text: string): string {
  return text.replace(/[^\P{Cc}\n]/gu, escaped);
}

/** The value with every control character in its texts shown, line feeds too: none of it starts a line of its own. */
export function printableIn<T>(value: T): T {
  return shown(value) as T;
}

/** The value as JSON, and of control characters nothing but line feeds between its parts. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, null, 2).replace(/[\x7f-\x9f]/g, (character) => `\\u00${hexOf(character)}`);
}

function shown(value: unknown): unknown {
  if (typeof value === "string") return value.replace(/\p{Cc}/gu, escaped);
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
