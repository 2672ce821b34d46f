/** Keys: what bytes from a terminal mean. Pure. */

/** A key by its name, or the character that it types. */
export type Key = string;

/** The ends of codes that terminals send for keys (xterm, VT220), behind ESC [ or ESC O. */
const CODES: Readonly<Record<string, Key>> = {
  "A": "up",
  "B": "down",
  "C": "right",
  "D": "left",
  "H": "home",
  "F": "end",
  "1~": "home",
  "4~": "end",
  "5~": "page up",
  "6~": "page down",
  "7~": "home",
  "8~": "end",
};

/** Characters that are keys with a name. */
const NAMED: Readonly<Record<string, Key>> = {
  "\r": "enter",
  "\n": "enter",
  "\x7f": "backspace",
  "\b": "backspace",
  "\t": "tab",
  "\x03": "ctrl-c",
  "\x04": "ctrl-d",
  "\x0c": "ctrl-l",
  "\x15": "ctrl-u",
  "\x1a": "ctrl-z",
  "\x1c": "ctrl-\\",
};

// deno-lint-ignore no-control-regex -- ESC begins a code
const SEQUENCE = /^\x1b(?:\[([0-9;]*[@-~])|O([@-~]))/;

/**
 * The keys in what a terminal sent at once. An ESC with nothing behind it is the key `escape`; codes of unknown keys, and
 * characters that no key types, are left out.
 */
export function keysIn(text: string): Key[] {
  const keys: Key[] = [];
  for (let rest = text; rest !== "";) {
    const { key, length } = firstKey(rest);
    if (key !== undefined) keys.push(key);
    rest = rest.slice(length);
  }
  return keys;
}

function firstKey(text: string): { key: Key | undefined; length: number } {
  const code = SEQUENCE.exec(text);
  if (code !== null) return { key: codeKey(code[1] ?? code[2]), length: code[0].length };
  if (text.startsWith("\x1b")) return { key: "escape", length: 1 };
  const character = String.fromCodePoint(text.codePointAt(0)!);
  if (Object.hasOwn(NAMED, character)) return { key: NAMED[character], length: character.length };
  return { key: /^\p{C}$/u.test(character) ? undefined : character, length: character.length };
}

/** Modifiers, as in `1;5A`, are left out. */
function codeKey(code: string): Key | undefined {
  const name = code.replace(/^[0-9]+;[0-9]+(?=[A-Z])/, "").replace(/;[0-9]+~$/, "~");
  return Object.hasOwn(CODES, name) ? CODES[name] : undefined;
}
