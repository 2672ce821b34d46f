/**
 * What a word of a command line can be, for the completion of shells: fixed words, names that a running balancer knows, or files.
 * Most of it follows from what rows of commands and settings say anyway: the name of an argument, the form of a value.
 */

/** Names that are asked for when somebody completes one. */
export const LIVE_NAMES = [
  "balancers",
  "services",
  "servers", // address:port
  "serverHosts",
  "serverPorts",
  "listenerHosts",
  "listenerPorts",
  "generations",
  "connections",
] as const;
/** One of LIVE_NAMES. */
export type LiveName = typeof LIVE_NAMES[number];

/** Fixed words, or one kind of live names. */
export type WordSource = readonly string[] | LiveName;

/** Everything that a word can be. */
export interface Words {
  /** A word that ends in `:`, `/` or `@` is only the beginning of one. */
  readonly fixed: readonly string[];
  readonly live?: LiveName;
  /** What stands before the path of a file, often nothing; undefined where no file is meant. */
  readonly filesAfter?: string;
}

/** A word that people choose freely. */
export const FREE: WordSource = [];
/** An address of this machine to listen on. */
export const OWN_ADDRESSES: WordSource = ["0.0.0.0", "127.0.0.1", "::", "::1"];

/** What arguments are, by their name. */
const ARGUMENTS: Readonly<Record<string, WordSource>> = {
  name: "services",
  inet_address: "serverHosts",
  inet_port: "serverPorts",
  id: "connections",
};

/** Placeholders of values and arguments that stand for a file. */
const FILES = ["file", "FILE", "PATH"];

/** What an argument of this name can be. A name such as `add|remove` is a list of words. */
export function wordsOfArgument(name: string, source: WordSource | undefined = ARGUMENTS[name]): Words {
  return source === undefined ? wordsOfForm(name) : wordsOf(source);
}

/** What a value can be whose form the help shows so: `TIME|off`, `http:/PATH`, `FILE|system|none`. */
export function wordsOfValue(form: string, source?: WordSource): Words {
  return source === undefined ? wordsOfForm(form) : wordsOf(source);
}

function wordsOf(source: WordSource): Words {
  return typeof source === "string" ? { fixed: [], live: source } : { fixed: source };
}

/** Of several parts, those in lower case are words, and one that goes on in capitals is a beginning. `@FILE`: a file after an @. */
function wordsOfForm(form: string): Words {
  const parts = form.replace(/\[[^\]]*\]/g, "").split("|");
  const file = parts.find((part) => FILES.includes(part.replace(/^@/, "")));
  const fixed = parts.length === 1 ? [] : parts.flatMap((part) => part.match(WORD_OR_BEGINNING)?.[0] ?? []);
  return { fixed, ...(file === undefined ? {} : { filesAfter: file.startsWith("@") ? "@" : "" }) };
}

const WORD_OR_BEGINNING = /^([a-z0-9][a-z0-9:/.,-]*|-)$|^[a-z]+:\/?(?=[A-Z]+$)/;
