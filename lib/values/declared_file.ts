/**
 * The declared file: its bytes become a declared state, or every fault with its place. What a file may say is derived from the
 * tables of settings; what must hold of the whole is in `state_rules.ts`. The format: docs/declared-file.md.
 */

import { formatAddress, parseAddress } from "./address.ts";
import { LIMITS, SETTINGS } from "./config.ts";
import {
  DAEMON_ROWS,
  type DeclaredServer,
  type DeclaredService,
  type DeclaredState,
  SERVER_ROWS,
  SERVICE_ROWS,
  type SettingRow,
  wordsOf,
} from "./declared_state.ts";
import { parseListenerText } from "./listener_text.ts";
import type { SavedListener } from "./saved_state.ts";
import { didYouMean } from "./did_you_mean.ts";
import { failWith, OperatorError } from "./errors.ts";
import { isRelativePath, PATH_SETTINGS } from "./path_settings.ts";
import { parseName } from "./paths.ts";
import { readPlain } from "./plain_file.ts";
import { formatSize } from "./size.ts";
import { faultsOfState, type StateFault } from "./state_rules.ts";
import {
  type Fault,
  type FaultList,
  parseYaml,
  type Place,
  shortened,
  STANDARD_INPUT,
  type YamlMap,
  type YamlNode,
  type YamlText,
} from "./yaml_tree.ts";

/** What a file says, or what is wrong with it. */
export type DeclaredResult = { readonly state: DeclaredState } | FaultList;

/** Faults that are shown; who has so many corrects these first. */
const FAULTS_SHOWN_MAX = 20;
/** Faults that are kept to find the first ones of the file. */
const FAULTS_KEPT_MAX = 1000;

/** The parts of a file, of a service and of a server that are no settings. */
const PARTS = ["services", "daemon"] as const;
const SERVICE_PARTS = ["listen", "servers"] as const;
const SERVER_PARTS = ["server", "drain"] as const;

/** The settings by which services that share an address are told apart. */
const NAME_FLAGS = [SETTINGS.serverNames.flag, SETTINGS.protocols.flag];

/** Whether a server is drained. */
const DRAIN: SettingRow = {
  flag: "drain",
  value: "on|off",
  default: "off",
  summary: "the server gets no new clients, as after balancerctl drain",
  parse: (text) => text === "on",
};

/**
 * The bytes of a declared file or of standard input. Throws an operator error if it cannot be read, is no plain file or is larger
 * than LIMITS.declaredFileBytesMax.
 */
export async function readDeclared(path: string): Promise<Uint8Array<ArrayBuffer>> {
  const cannot = `Cannot read ${path === STANDARD_INPUT ? "standard input" : JSON.stringify(path)}`;
  const max = LIMITS.declaredFileBytesMax;
  const read = path === STANDARD_INPUT ? readStandardInput(max) : readPlain(path, max, cannot);
  const bytes = await read.catch(failWith(cannot));
  if (bytes !== null) return bytes;
  throw new OperatorError("tooLarge", `${cannot}: it is larger than ${formatSize(max)}`);
}

/** All of standard input, or null if it has more bytes. */
async function readStandardInput(bytesMax: number): Promise<Uint8Array<ArrayBuffer> | null> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let total = 0;
  for await (const chunk of Deno.stdin.readable) {
    total += chunk.length;
    if (total > bytesMax) return null;
    chunks.push(chunk);
  }
  return await new Blob(chunks).bytes();
}

/** Reads a declared file. */
export async function parseDeclared(bytes: Uint8Array<ArrayBuffer>): Promise<DeclaredResult> {
  const tree = await parseYaml(bytes);
  if ("faults" in tree) return shown(tree.faults, tree.faults.length);
  const reader = new Reader();
  const read = reader.stateOf(tree.root);
  reader.judge(read);
  return reader.total === 0 ? { state: read.state } : shown(reader.faults, reader.total);
}

function shown(faults: readonly Fault[], total: number): FaultList {
  const inOrder = faults.toSorted((a, b) => a.place.line - b.place.line || a.place.column - b.place.column);
  const first = inOrder.slice(0, FAULTS_SHOWN_MAX);
  return { faults: first, more: total - first.length };
}

/** Where a service and its parts stand, by the indexes that they have in the state. */
interface ServicePlaces {
  readonly service: Place;
  /** Of the values of its settings, by flag. */
  readonly settings: ReadonlyMap<string, Place>;
  readonly listeners: readonly Place[];
  readonly servers: readonly Place[];
}

/** A state with the places of its parts. */
interface ReadState {
  readonly state: DeclaredState;
  readonly places: ReadonlyMap<string, ServicePlaces>;
  readonly daemon: Place;
}

interface Placed<T> {
  readonly value: T;
  readonly place: Place;
}

/** A key of a map that has a meaning here, and what stands behind it. */
interface Part {
  readonly key: string;
  readonly place: Place;
  readonly value: YamlNode;
}

/** The keys that a map may have, and what is wrong with another one. */
interface Keys {
  has(key: string): boolean;
  faultOf(key: string): string;
}

const FILE_KEYS: Keys = {
  has: (key) => (PARTS as readonly string[]).includes(key),
  faultOf: (key) =>
    [`Unknown part ${shortened(key)}: a file has "services" and "daemon"`, didYouMean(key, PARTS)].filter(Boolean).join("; "),
};
const SERVICE_KEYS = settingKeys(SERVICE_PARTS, SERVICE_ROWS, DAEMON_ROWS);
const SERVER_KEYS = settingKeys(SERVER_PARTS, SERVER_ROWS, SERVICE_ROWS);
const DAEMON_KEYS = settingKeys([], DAEMON_ROWS, SERVICE_ROWS);

/** Parts, and settings of these rows; of `others`, an error says where they belong. */
function settingKeys(
  parts: readonly string[],
  rows: ReadonlyMap<string, SettingRow>,
  others: ReadonlyMap<string, SettingRow>,
): Keys {
  return {
    has: (key) => parts.includes(key) || rows.has(key),
    faultOf: (key) => unknownSetting(key, parts, rows, others),
  };
}

const START: Place = { line: 1, column: 1 };

/** Makes a state of a tree, and notes what is wrong. What is wrong is left out of the state. */
class Reader {
  readonly faults: Fault[] = [];
  /** Faults that were found, kept or not. */
  total = 0;

  stateOf(root: YamlNode | undefined): ReadState {
    if (root === undefined) this.#note(START, () => 'The file says nothing: it needs "services"');
    const parts = root === undefined ? [] : this.#partsOf(root, "The file", FILE_KEYS);
    const services = parts.find(({ key }) => key === "services");
    const daemon = parts.find(({ key }) => key === "daemon");
    if (root?.kind === "map" && services === undefined) this.#note(root.place, () => 'The file has no "services"');
    const read = services === undefined ? [] : this.#servicesOf(services.value);
    const state = {
      services: read.map(({ service }) => service),
      daemon: daemon === undefined ? {} : this.#daemonOf(daemon.value),
    };
    return { state, places: new Map(read.map(({ service, places }) => [service.name, places])), daemon: daemon?.place ?? START };
  }

  /** Notes what is wrong with the state as a whole. */
  judge({ state, places, daemon }: ReadState): void {
    for (const fault of faultsOfState(state, this.#namelessIn({ state, places }))) {
      this.#note(placeOf(fault, places, daemon), () => fault.sentence);
    }
  }

  /** Services whose names or protocols could not be read: what would follow from their lack is no fault of the file. */
  #namelessIn({ state: { services }, places }: Pick<ReadState, "state" | "places">): Set<string> {
    const isUnread = ({ name, settings }: DeclaredService) =>
      NAME_FLAGS.some((flag) => settings[flag] === undefined && places.get(name)!.settings.has(flag));
    return new Set(services.filter(isUnread).map(({ name }) => name));
  }

  #note(place: Place, sentence: () => string): void {
    this.total++;
    if (this.faults.length < FAULTS_KEPT_MAX) this.faults.push({ place, sentence: sentence() });
  }

  /** What `read` gives; undefined, and a fault at the place, if it throws a sentence about `text`. */
  #try<T>(place: Place, text: string, read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof OperatorError)) throw error;
      this.#note(place, () => error.message.replaceAll(JSON.stringify(text), () => shortened(text)));
    }
  }

  #isMap(node: YamlNode, what: string): node is YamlMap {
    if (node.kind === "map") return true;
    this.#note(node.place, () => `${what} must be a map (lines of "key: value"), not ${kindOf(node)}`);
    return false;
  }

  /** The entries of a map whose keys are known. */
  #partsOf(node: YamlNode, what: string, keys: Keys): Part[] {
    if (!this.#isMap(node, what)) return [];
    return node.entries.filter(({ key, place }) => {
      const isKnown = keys.has(key);
      if (!isKnown) this.#note(place, () => keys.faultOf(key));
      return isKnown;
    });
  }

  #servicesOf(node: YamlNode): { service: DeclaredService; places: ServicePlaces }[] {
    if (!this.#isMap(node, '"services"')) return [];
    if (node.entries.length === 0) this.#note(node.place, () => '"services" has none: a balancer needs at least one');
    return node.entries.flatMap((entry) => {
      const name = this.#try(entry.place, entry.key, () => parseName(entry.key));
      return name === undefined ? [] : [this.#serviceOf(name, entry.place, entry.value)];
    });
  }

  #serviceOf(name: string, place: Place, node: YamlNode): { service: DeclaredService; places: ServicePlaces } {
    const parts = this.#partsOf(node, `Service "${name}"`, SERVICE_KEYS);
    const listen = parts.find(({ key }) => key === "listen");
    if (listen === undefined && node.kind === "map") {
      this.#note(place, () => `Service "${name}" has no "listen": say where clients connect`);
    }
    const listeners = listen === undefined ? [] : this.#listenersOf(listen.value);
    const pool = parts.find(({ key }) => key === "servers");
    const servers = pool === undefined ? [] : this.#serversOf(pool.value);
    const settings = this.#settingsOf(parts, SERVICE_ROWS);
    return {
      service: { name, listeners: listeners.map(({ value }) => value), settings, servers: servers.map(({ value }) => value) },
      places: {
        service: place,
        settings: new Map(parts.map(({ key, value }) => [key, value.place])),
        listeners: listeners.map(({ place }) => place),
        servers: servers.map(({ place }) => place),
      },
    };
  }

  #daemonOf(node: YamlNode): Record<string, string> {
    return this.#settingsOf(
      this.#partsOf(node, '"daemon"', DAEMON_KEYS),
      DAEMON_ROWS,
    );
  }

  #listenersOf(node: YamlNode): Placed<SavedListener>[] {
    const nodes = node.kind === "list" ? node.items : [node];
    return nodes.flatMap((node) => {
      const text = this.#textOf(node, '"listen"', "an address and a port, such as 0.0.0.0:80, or a list of them");
      if (text === undefined) return [];
      const value = this.#try(node.place, text, () => parseListenerText(text, 1));
      return value === undefined ? [] : [{ value, place: node.place }];
    });
  }

  #serversOf(node: YamlNode): Placed<DeclaredServer>[] {
    if (node.kind !== "list") {
      this.#note(node.place, () => `"servers" must be a list (lines of "- address:port"), not ${kindOf(node)}`);
      return [];
    }
    return node.items.flatMap((item) => {
      const value = item.kind === "map" ? this.#serverOf(item) : this.#shortServerOf(item);
      return value === undefined ? [] : [{ value, place: item.place }];
    });
  }

  #shortServerOf(node: YamlNode): DeclaredServer | undefined {
    const server = this.#serverNameOf(node);
    return server === undefined ? undefined : { server };
  }

  #serverNameOf(node: YamlNode): string | undefined {
    const text = this.#textOf(node, "A server", 'address:port, or a map with "server: address:port"');
    return text === undefined ? undefined : this.#try(node.place, text, () => formatAddress(parseAddress(text)));
  }

  #serverOf(node: YamlMap): DeclaredServer | undefined {
    const parts = this.#partsOf(node, "A server", SERVER_KEYS);
    const named = parts.find(({ key }) => key === "server");
    const drain = parts.find(({ key }) => key === "drain");
    const texts = this.#settingsOf(parts, SERVER_ROWS);
    const settings = Object.fromEntries(
      Object.entries(texts).map(([flag, text]) => [SERVER_ROWS.get(flag)!.name, SERVER_ROWS.get(flag)!.parse(text)]),
    );
    const drained = drain === undefined ? undefined : this.#settingOf(drain, DRAIN);
    if (named === undefined) this.#note(node.place, () => 'This server has no "server": give its address:port');
    const server = named === undefined ? undefined : this.#serverNameOf(named.value);
    if (server === undefined) return undefined;
    return { server, ...settings, ...(drained === undefined ? {} : { draining: drained === "on" }) };
  }

  /** The texts of those parts that are settings, each valid by itself. */
  #settingsOf(parts: readonly Part[], rows: ReadonlyMap<string, SettingRow>): Record<string, string> {
    return Object.fromEntries(parts.flatMap((part) => {
      const row = rows.get(part.key);
      const text = row && this.#settingOf(part, row);
      return text === undefined ? [] : [[part.key, text]];
    }));
  }

  #settingOf({ key, value }: Part, row: SettingRow): string | undefined {
    const words = wordsOf(row);
    const written = this.#textOf(
      value,
      JSON.stringify(key),
      words === undefined ? `one value: ${row.value}` : `one of ${words.join(", ")}`,
    );
    if (written === undefined) return undefined;
    const text = switched(written, value as YamlText, row);
    if (words !== undefined && !words.includes(text)) {
      const wayOut = () => didYouMean(text, words);
      this.#note(value.place, () => [`"${key}" must be one of ${words.join(", ")}`, wayOut()].filter(Boolean).join("; "));
      return undefined;
    }
    if (isRelativePath(key, text)) {
      const words = PATH_SETTINGS[key].join(", ");
      this.#note(value.place, () => `"${key}" must be an absolute path or one of ${words}, not ${shortened(text)}`);
      return undefined;
    }
    return this.#try(value.place, text, () => (row.parse(text), text));
  }

  /** The text of a scalar that has one; `form` says what it should be. */
  #textOf(node: YamlNode, what: string, form: string): string | undefined {
    if (node.kind === "text" && (node.text !== "" || !node.isPlain)) return node.text;
    this.#note(node.place, () => `${what} must be ${form}, not ${kindOf(node)}`);
  }
}

/** YAML's `true` and `false`, where a setting can be on or off. */
function switched(text: string, { isPlain }: YamlText, row: SettingRow): string {
  if (!isPlain || (text !== "true" && text !== "false")) return text;
  const word = text === "true" ? "on" : "off";
  return (row.value ?? "on|off").split("|").includes(word) ? word : text;
}

function kindOf(node: YamlNode): string {
  if (node.kind !== "text") return `a ${node.kind}`;
  return node.text === "" ? "empty" : shortened(node.text);
}

/** What is wrong with a key that is neither one of the parts nor a setting of these rows. */
function unknownSetting(
  key: string,
  parts: readonly string[],
  rows: ReadonlyMap<string, SettingRow>,
  others: ReadonlyMap<string, SettingRow>,
): string {
  if (others.has(key)) return `"${key}" is a setting of ${ownerOf(others)}, not of ${ownerOf(rows)}`;
  const wayOut = didYouMean(key, [...parts, ...rows.keys()]);
  return [`Unknown setting ${shortened(key)}`, wayOut].filter(Boolean).join(": ");
}

function ownerOf(rows: ReadonlyMap<string, SettingRow>): string {
  if (rows === DAEMON_ROWS) return 'the daemon (under "daemon")';
  return rows === SERVER_ROWS ? "a server" : "a service";
}

/** The place of what a fault is about: as near as it can be told. */
function placeOf(
  { service, setting, listener, server }: StateFault,
  places: ReadonlyMap<string, ServicePlaces>,
  daemon: Place,
): Place {
  const own = service === undefined ? undefined : places.get(service);
  if (own === undefined) return daemon;
  if (setting !== undefined) return own.settings.get(setting)!;
  if (listener !== undefined) return own.listeners[listener];
  return server === undefined ? own.service : own.servers[server];
}
