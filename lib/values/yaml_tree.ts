/**
 * YAML text as a tree of maps, lists and texts that know where they stand, or as faults with their places. The one door to the
 * package `yaml`, which is loaded when somebody parses. What a file of ours never needs is refused (tags, merge keys, a second
 * document), and every count has a limit, because a file may come from anywhere. Knows nothing of what a file means.
 */

/** A line and a column in a file, both from 1; columns are counted in UTF-16 units, as editors do. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/** What is wrong at a place, as a sentence without a full stop. */
export interface Fault {
  readonly place: Place;
  readonly sentence: string;
}

/** The first faults of a file, in its order, and how many more there are. */
export interface FaultList {
  readonly faults: readonly Fault[];
  readonly more: number;
}

/** The path that stands for standard input. */
export const STANDARD_INPUT = "-";

/** The path as sentences name it. */
export function nameOfFile(path: string): string {
  return path === STANDARD_INPUT ? "standard input" : path;
}

/** The lines that tell of the faults of a file: `balancer.yaml:14:7: …`. */
export function formatFaults(
  path: string,
  { faults, more }: FaultList,
): string[] {
  const name = nameOfFile(path);
  const lines = faults.map(({ place, sentence }) => `${name}:${place.line}:${place.column}: ${sentence}`);
  return more === 0 ? lines : [...lines, `${name}: and ${more} more`];
}

/** A scalar as it is written: no number, truth value or null is made of it. `isPlain`: it stands without quotes, on one line. */
export interface YamlText {
  readonly kind: "text";
  readonly place: Place;
  readonly text: string;
  readonly isPlain: boolean;
}

/** A list. */
export interface YamlList {
  readonly kind: "list";
  readonly place: Place;
  readonly items: readonly YamlNode[];
}

/** A map whose keys are texts, each of them once. */
export interface YamlMap {
  readonly kind: "map";
  readonly place: Place;
  readonly entries: readonly YamlEntry[];
}

/** A key with its place, and its value. */
export interface YamlEntry {
  readonly key: string;
  readonly place: Place;
  readonly value: YamlNode;
}

/** A part of a file. */
export type YamlNode = YamlText | YamlList | YamlMap;

/** The tree, undefined where a file has nothing but comments; or why there is none. */
export type YamlResult = { readonly root: YamlNode | undefined } | { readonly faults: readonly Fault[] };

/** Limits on a file. */
export const YAML_LIMITS = {
  /** Maps and lists within each other. */
  depthMax: 16,
  /** Aliases that are looked up, those in what other aliases stand for included. */
  aliasesMax: 64,
  /** Words and signs, spaces included: more than as many servers as possible with every setting take. */
  lexemesMax: 2_000_000,
  /** Maps, lists and texts, after aliases were replaced by what they stand for. */
  nodesMax: 500_000,
} as const;

/** Faults of this kind that are kept. */
const TAGS_MAX = 100;

/** The parser's stack holds the document and, between two levels, up to two parts of them. */
const STACK_MAX = 2 * YAML_LIMITS.depthMax + 2;

type Yaml = typeof import("yaml");
type Doc = import("yaml").Document.Parsed;

/** Ends the reading of a file with its one fault. */
class Unreadable extends Error {
  constructor(readonly fault: Fault) {
    super(fault.sentence);
  }
}

/** Reads a file, or says what is wrong with it as YAML. */
export async function parseYaml(bytes: Uint8Array<ArrayBuffer>): Promise<YamlResult> {
  try {
    const text = textOf(bytes);
    const { default: yaml } = await import("yaml") as unknown as { default: Yaml }; // a CommonJS module, bundled or not
    return treeOf(yaml, text, placesOf(text));
  } catch (error) {
    if (error instanceof Unreadable) return { faults: [error.fault] };
    throw error;
  }
}

function treeOf(yaml: Yaml, text: string, placeAt: (offset: number) => Place): YamlResult {
  const { document, tags } = compose(yaml, text, placeAt);
  const broken = document.errors.map(({ code, message, pos }) => ({ place: placeAt(pos[0]), sentence: sentenceOf(code, message) }));
  if (broken.length > 0) return { faults: broken };
  const tree = new Tree(yaml, document, placeAt);
  const root = document.contents === null ? undefined : tree.nodeOf(document.contents, 0);
  const faults = [...tags, ...tree.faults];
  return faults.length > 0 ? { faults } : { root };
}

/** The document, and a fault for each tag. Stops at the first limit that is exceeded, however much of the file is left. */
function compose(yaml: Yaml, text: string, placeAt: (offset: number) => Place): { document: Doc; tags: Fault[] } {
  const parser = new yaml.Parser();
  // `failsafe`: every scalar is a text, so that `010`, `on` and `1e3` stay what they are. Keys are compared below, in linear time.
  const composer = new yaml.Composer({ schema: "failsafe", uniqueKeys: false, prettyErrors: false, logLevel: "silent" });
  const tags: Fault[] = [];
  let count = 0;
  let isScalar = false;
  const documents: Doc[] = [];
  const take = (found: Iterable<unknown>) => {
    for (const document of found as Iterable<Doc>) {
      if (documents.push(document) > 1) {
        throw new Unreadable({ place: placeAt(document.range[0]), sentence: "A second document begins here: a file has one" });
      }
    }
  };
  for (const lexeme of new yaml.Lexer().lex(text)) {
    if (++count > YAML_LIMITS.lexemesMax) {
      throw new Unreadable({
        place: placeAt(parser.offset),
        sentence: "The file has too many words and signs; nothing of it is read",
      });
    }
    if (parser.stack.length > STACK_MAX) throw tooDeep(placeAt(parser.offset));
    if (!isScalar && lexeme.startsWith("!") && tags.length < TAGS_MAX) {
      tags.push({ place: placeAt(parser.offset), sentence: `Tag ${lexeme.slice(0, 40)} has no meaning here: leave it out` });
    }
    isScalar = !isScalar && lexeme === yaml.CST.SCALAR;
    for (const token of parser.next(lexeme)) take(composer.next(token));
  }
  for (const token of parser.end()) take(composer.next(token));
  take(composer.end(true, text.length));
  return { document: documents[0], tags };
}

function tooDeep(place: Place): Unreadable {
  return new Unreadable({ place, sentence: `Maps and lists are nested more than ${YAML_LIMITS.depthMax} deep here` });
}

/** Makes our tree of the package's, with aliases replaced by what they stand for. */
class Tree {
  readonly faults: Fault[] = [];
  #aliases = 0;
  #nodes = 0;

  constructor(readonly yaml: Yaml, readonly document: Doc, readonly placeAt: (offset: number) => Place) {}

  /** The node, or an empty text in the place of one that is wrong. */
  nodeOf(node: unknown, depth: number): YamlNode {
    const { isAlias, isMap, isScalar, isSeq } = this.yaml;
    const place = this.#placeOf(node);
    if (++this.#nodes > YAML_LIMITS.nodesMax) {
      throw new Unreadable({ place, sentence: `The file has more than ${YAML_LIMITS.nodesMax} values, aliases replaced` });
    }
    if (depth > YAML_LIMITS.depthMax) throw tooDeep(place);
    if (isAlias(node)) return this.#aliased(node, place, depth);
    if (isMap(node)) return { kind: "map", place, entries: this.#entriesOf(node.items, depth) };
    if (isSeq(node)) return { kind: "list", place, items: node.items.map((item) => this.nodeOf(item, depth + 1)) };
    if (!isScalar(node)) return emptyAt(place);
    return { kind: "text", place, text: String(node.value ?? ""), isPlain: node.type === "PLAIN" };
  }

  #placeOf(node: unknown): Place {
    const { range } = node as { range?: readonly number[] | null };
    return this.placeAt(range?.[0] ?? 0);
  }

  #aliased(alias: import("yaml").Alias, place: Place, depth: number): YamlNode {
    if (++this.#aliases > YAML_LIMITS.aliasesMax) {
      throw new Unreadable({ place, sentence: `The file has more than ${YAML_LIMITS.aliasesMax} aliases: write some of them out` });
    }
    const target = alias.resolve(this.document);
    if (target !== undefined) return this.nodeOf(target, depth + 1);
    this.faults.push({
      place,
      sentence: `Alias *${alias.source.slice(0, 40)} has no anchor &${alias.source.slice(0, 40)} before it`,
    });
    return emptyAt(place);
  }

  #entriesOf(items: readonly { readonly key: unknown; readonly value: unknown }[], depth: number): YamlEntry[] {
    const first = new Map<string, Place>();
    return items.flatMap(({ key, value }) => {
      const place = this.#placeOf(key);
      const name = this.#nameOf(key);
      const before = name === undefined ? undefined : first.get(name);
      const sentence = keyFault(name, before);
      if (name === undefined || sentence !== undefined) {
        this.faults.push({ place, sentence: sentence! });
        return [];
      }
      first.set(name, place);
      return [{ key: name, place, value: value === null ? emptyAt(place) : this.nodeOf(value, depth + 1) }];
    });
  }

  #nameOf(key: unknown): string | undefined {
    return this.yaml.isScalar(key) ? String(key.value ?? "") : undefined;
  }
}

function emptyAt(place: Place): YamlText {
  return { kind: "text", place, text: "", isPlain: true };
}

/** Why a map cannot have this key, which stands `before`, too, if that is defined; undefined: it can. */
function keyFault(key: string | undefined, before: Place | undefined): string | undefined {
  if (key === undefined) return "A key must be a word, not a list, a map or an alias";
  if (key === "<<") return "Merge keys (<<) are not supported: write the settings out";
  return before && `Key ${shortened(key)} stands here again: it is on line ${before.line} already`;
}

/** A text in quotes, cut to what a sentence can hold. */
export function shortened(text: string): string {
  return JSON.stringify(text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text);
}

const SHOWN_MAX = 80;

/** What to do about an error of the package, where its own words leave that open or end in words of the file. */
const WAYS_OUT: Readonly<Record<string, string>> = {
  TAB_AS_INDENT: "A tab is used for indentation: use spaces",
  BLOCK_AS_IMPLICIT_KEY: "Invalid YAML: a second key on the same line; begin a new line, or put the value in quotes",
  BAD_SCALAR_START: "Invalid YAML: a value that begins with this character needs quotes",
  BAD_DQ_ESCAPE: "Invalid YAML: this is no escape sequence; in double quotes a backslash is written twice",
};

/** The package has one code for this and for other errors. */
const BLOCK_HEADER = {
  begins: "Block scalar header",
  sentence: 'Invalid YAML: after "|" or ">" a text begins on the next line; a value that begins with one of them needs quotes',
};

function sentenceOf(code: string, message: string): string {
  if (message.startsWith(BLOCK_HEADER.begins)) return BLOCK_HEADER.sentence;
  return WAYS_OUT[code] ?? `Invalid YAML: ${message.slice(0, 1).toLowerCase()}${message.slice(1).replaceAll("\n", " ")}`;
}

/** The text of a file. Throws Unreadable where it has none. */
function textOf(bytes: Uint8Array<ArrayBuffer>): string {
  const decoder = new TextDecoder("utf-8", { fatal: true }); // leaves out a byte order mark at the beginning
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    throw new Unreadable({ place: firstInvalid(bytes), sentence: "The file is not valid UTF-8 here: save it as UTF-8 text" });
  }
  // deno-lint-ignore no-control-regex -- YAML 1.2.2, section 5.1: characters that a file may not have
  const at = text.search(/[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]/);
  if (at < 0) return text;
  const code = text.charCodeAt(at).toString(16).padStart(2, "0");
  throw new Unreadable({
    place: placesOf(text)(at),
    sentence: `A control character (0x${code}) stands here: this is no text file`,
  });
}

/** Where bytes that are not UTF-8 begin: behind the longest beginning that decodes, found by halving. */
function firstInvalid(bytes: Uint8Array<ArrayBuffer>): Place {
  const decoded = (length: number): string | undefined => {
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, length), { stream: true });
    } catch {
      return undefined;
    }
  };
  let [good, bad] = [0, bytes.length + 1];
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (decoded(middle) === undefined) bad = middle;
    else good = middle;
  }
  const text = decoded(good)!;
  return placesOf(text)(text.length);
}

/** Line and column of an offset into the text. */
function placesOf(text: string): (offset: number) => Place {
  const starts = [0];
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  return (offset) => {
    let [low, high] = [0, starts.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle] <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: offset - starts[low] + 1 };
  };
}
