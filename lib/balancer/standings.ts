/**
 * What was known of servers that were not up, kept over a restart in a small file beside the state. It is written when something
 * has changed, at most every few seconds, without waiting for the disk; while a server is not up it is written again, so that its
 * time says how long the knowledge has been true. Losing it costs a few failed connections and no more.
 */

import type { KnownCondition } from "../health/admission.ts";
import { beliefMs, isBelieved } from "../health/belief.ts";
import { parseAddress } from "../values/address.ts";
import { DEFAULT_SERVICE } from "../values/saved_state.ts";
import { type Config, LIMITS } from "../values/config.ts";
import { messageOf } from "../values/errors.ts";
import { logger } from "../observe/log.ts";
import { formatSealed, isRecord, jsonBytes, readSealed, removeLeftover, replaceFile, type SealedFormat } from "./sealed_file.ts";

/** What is known of servers, by the names of their service and of the server. */
export type Known = ReadonlyMap<string, ReadonlyMap<string, KnownCondition>>;

/** What says how long knowledge of a service's servers is believed. */
type BeliefConfig = Pick<Config, "checkIntervalMs" | "fall">;

/** A server in the file. Times are ISO 8601, UTC. */
interface SavedStanding {
  /** Its service; absent for DEFAULT_SERVICE, as in the files of 0.1.0, which had no other. */
  readonly service?: string;
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
 * What is known of servers at `now`: nothing if there is no file, if it cannot be used, or if it is too old to be believed by the
 * settings of the service (`configOf`, undefined for no such service). A warning says what was kept aside, or why the file cannot
 * be read or is newer: a balancer starts without it. Never rejects.
 */
export async function loadStandings(
  path: string,
  configOf: (service: string) => BeliefConfig | undefined,
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
  const agoMs = now.getTime() - knownAt.getTime();
  const known = new Map<string, ReadonlyMap<string, KnownCondition>>();
  for (const [service, standings] of Map.groupBy(servers, ({ service = DEFAULT_SERVICE }) => service)) {
    const config = configOf(service);
    if (config === undefined || !isBelieved(knownAt, now, beliefMs(config))) continue;
    known.set(service, new Map(standings.map((standing) => [standing.server, toKnown(standing, agoMs)])));
  }
  return { known };
}

/** Writes what is known of servers at `now`. */
export async function saveStandings(path: string, known: Known, now: Date): Promise<void> {
  const servers = [...known].flatMap(([service, ofOne]) => [...ofOne].map(([name, one]) => toSaved(service, name, one)));
  const standings: SavedStandings = { at: now.toISOString(), servers };
  await replaceFile(path, await formatSealed(STANDINGS, jsonBytes(standings)), "buffered");
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
    const isAllUp = saysAllUp(known);
    if (isAllUp && this.#saysAllUp) return;
    this.#saysAllUp = isAllUp;
    this.#writing = this.#writing.then(() => this.#save(known)).then(() => this.#isFailing = false, (error) => {
      this.#saysAllUp = false;
      if (!this.#isFailing) log.warn("Cannot save which servers are not up: {why}", { why: messageOf(error) });
      this.#isFailing = true; // said once, until it succeeds again
    }).then(() => {});
  }

  async #save(known: Known): Promise<void> {
    if (saysAllUp(known)) await removeLeftover(this.#path);
    else await saveStandings(this.#path, known, new Date());
  }
}

function saysAllUp(known: Known): boolean {
  return known.values().every((ofOne) => ofOne.size === 0);
}

function toSaved(service: string, server: string, known: KnownCondition): SavedStanding {
  const { state, since, ...rest } = known;
  const standing = { server, state, since: since.toISOString(), ...rest };
  return service === DEFAULT_SERVICE ? standing : { service, ...standing };
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
  if (value.service !== undefined && typeof value.service !== "string") return false;
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
