/**
 * What was known of servers that were not up, kept over a restart in a small file beside the state. It is written when something
 * has changed, at most every few seconds, without waiting for the disk; while a server is not up it is written again, so that its
 * time says how long the knowledge has been true. Losing it costs a few failed connections and no more.
 */

import type { KnownCondition } from "../health/admission.ts";
import { beliefMs, isBelieved } from "../health/belief.ts";
import { parseAddress } from "../values/address.ts";
import { type Config, LIMITS } from "../values/config.ts";
import { messageOf } from "../values/errors.ts";
import { logger } from "../observe/log.ts";
import { formatSealed, isRecord, readSealed, removeLeftover, replaceFile, type SealedFormat } from "./sealed_file.ts";

/** What is known of servers, by name. */
export type Known = ReadonlyMap<string, KnownCondition>;

/** A server in the file. Times are ISO 8601, UTC. */
interface SavedStanding {
  readonly server: string;
  readonly state: KnownCondition["state"];
  readonly since: string;
  readonly reason?: string;
  /** The length of the rest, and what was left of it; only of a server that rested. */
  readonly restMs?: number;
  readonly restLeftMs?: number;
}

/** The content of the file. */
interface SavedStandings {
  /** When this was known. */
  readonly at: string;
  readonly servers: readonly SavedStanding[];
}

const STANDINGS: SealedFormat = {
  what: "standings file",
  format: "balancer-standings",
  version: 1,
  bytesMax: LIMITS.stateFileBytesMax,
  field: "standings",
  faultOf: (content) => isStandings(content) ? undefined : { why: "its list of servers is not valid" },
};

/** How often the file is written at most. */
const WRITE_MS = 5000;

const log = logger("pool");

/** The file of standings that belongs to a state file. */
export function standingsPath(statePath: string): string {
  return `${statePath}.standings`;
}

/**
 * What is known of servers at `now`: nothing if there is no file, if it cannot be used, or if it is too old to be believed. A
 * warning says what was kept aside, or why the file cannot be read or is newer: a balancer starts without it. Never rejects.
 */
export async function loadStandings(
  path: string,
  config: Pick<Config, "checkIntervalMs" | "fall">,
  now: Date,
): Promise<{ readonly known: Known; readonly warning?: string }> {
  const found = await readSealed(path, STANDINGS).catch(messageOf);
  if (typeof found === "string") return { known: new Map(), warning: `${found}; every server begins as up` };
  if (found === undefined) return { known: new Map() };
  if (!("content" in found)) {
    const kept = `it was renamed to ${JSON.stringify(found.aside)}, and every server begins as up`;
    return { known: new Map(), warning: `The standings file ${JSON.stringify(path)} cannot be used: ${found.why}; ${kept}` };
  }
  const { at, servers } = found.content as SavedStandings;
  const knownAt = new Date(at);
  if (!isBelieved(knownAt, now, beliefMs(config))) return { known: new Map() };
  const agoMs = now.getTime() - knownAt.getTime();
  return { known: new Map(servers.map((standing) => [standing.server, toKnown(standing, agoMs)])) };
}

/** Writes what is known of servers at `now`. */
export async function saveStandings(path: string, known: Known, now: Date): Promise<void> {
  const standings: SavedStandings = { at: now.toISOString(), servers: [...known].map(([name, one]) => toSaved(name, one)) };
  await replaceFile(path, await formatSealed(STANDINGS, standings), "buffered");
}

/** Keeps the file up to date. Dispose of it when the balancer begins to stop: it then writes once more. */
export class StandingsKeeper implements AsyncDisposable {
  readonly #path: string;
  readonly #known: () => Known;
  readonly #timer: ReturnType<typeof setInterval>;
  #writing: Promise<void> = Promise.resolve();
  /** Whether the file says that every server is up, or is not there. */
  #saysAllUp = false;
  #isFailing = false;
  #isClosed = false;

  /** `known` gives what is to be written. */
  constructor(path: string, known: () => Known) {
    this.#path = path;
    this.#known = known;
    this.#timer = setInterval(() => this.#write(), WRITE_MS);
    Deno.unrefTimer(this.#timer);
  }

  /** Writes what is known now, the first time that it is called. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    if (!this.#isClosed) this.#write();
    this.#isClosed = true;
    await this.#writing;
  }

  /** One write after another. A file that says nothing is written once. */
  #write(): void {
    const known = this.#known();
    if (known.size === 0 && this.#saysAllUp) return;
    this.#saysAllUp = known.size === 0;
    this.#writing = this.#writing.then(() => this.#save(known)).then(() => this.#isFailing = false, (error) => {
      this.#saysAllUp = false;
      if (!this.#isFailing) log.warn("Cannot save which servers are not up: {why}", { why: messageOf(error) });
      this.#isFailing = true; // said once, until it succeeds again
    }).then(() => {});
  }

  async #save(known: Known): Promise<void> {
    if (known.size === 0) await removeLeftover(this.#path);
    else await saveStandings(this.#path, known, new Date());
  }
}

function toSaved(server: string, known: KnownCondition): SavedStanding {
  const { state, since, ...rest } = known;
  return { server, state, since: since.toISOString(), ...rest };
}

/** What the file says of a server, `agoMs` later. */
function toKnown({ state, since: text, reason = "", restMs = 0, restLeftMs = 0 }: SavedStanding, agoMs: number): KnownCondition {
  const since = new Date(text);
  if (state === "draining") return { state, since };
  return { state, since, reason, restMs, restLeftMs: Math.max(0, restLeftMs - agoMs) };
}

function isStandings(content: unknown): boolean {
  if (!isRecord(content) || !isTime(content.at) || !Array.isArray(content.servers)) return false;
  return content.servers.length <= LIMITS.serversMax && content.servers.every(isStanding);
}

function isStanding(value: unknown): boolean {
  if (!isRecord(value) || !isName(value.server) || !isTime(value.since)) return false;
  if (value.state === "draining") return true;
  const isState = value.state === "down" || value.state === "resting";
  return isState && typeof value.reason === "string" && isMs(value.restMs) && isMs(value.restLeftMs);
}

function isName(value: unknown): boolean {
  try {
    return typeof value === "string" && parseAddress(value).port > 0;
  } catch {
    return false;
  }
}

function isTime(value: unknown): boolean {
  return typeof value === "string" && !Number.isNaN(Date.parse(value));
}

function isMs(value: unknown): boolean {
  return typeof value === "number" && value >= 0 && value <= LIMITS.restMaxMs;
}
