/**
 * What survives a restart: the pool, in one file that is replaced whole and is on the disk before a command answers. A file that
 * is not ours, or not whole, is kept aside and never overwritten.
 */

import { timingSafeEqual } from "@std/crypto";
import { formatAddress, parseAddress } from "./address.ts";
import { LIMITS } from "./config.ts";
import { messageOf, OperatorError } from "./errors.ts";
import { folderOf } from "./paths.ts";

/** A server as it is kept. `connectionsMax` is null where it has no limit. */
export interface SavedServer {
  readonly server: string;
  readonly weight: number;
  readonly connectionsMax: number | null;
  /** Whether the operator has taken it out for a while. */
  readonly draining?: boolean;
}

/** What was found. `warning` is a sentence for the operator if a file was there but could not be used. */
export interface LoadedState {
  readonly servers: readonly SavedServer[];
  readonly warning?: string;
}

const FORMAT = "balancer-state";
const VERSION = 1;

/** Reads the state. A file that cannot be used is renamed, and a warning says why and to what. Throws if it cannot be read or renamed. */
export async function loadState(path: string): Promise<LoadedState> {
  let text: string;
  try {
    const { size } = await Deno.stat(path);
    text = size > LIMITS.stateFileBytesMax ? "" : await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { servers: [] };
    throw new OperatorError("failed", `Cannot read the state file ${JSON.stringify(path)}: ${messageOf(error)}`);
  }
  const parsed = await parseState(text);
  return typeof parsed === "string" ? await keepAside(path, parsed) : { servers: parsed };
}

/** Replaces the state; when it resolves the disk has it. Throws an operator error, the old state then being whole. */
export async function saveState(path: string, servers: readonly SavedServer[]): Promise<void> {
  const temporary = `${path}.new`;
  try {
    await removeLeftover(temporary);
    await writeDurably(temporary, await formatState(servers));
    await Deno.rename(temporary, path);
    await syncFolder(path);
  } catch (error) {
    throw new OperatorError("failed", `Cannot save the state to ${JSON.stringify(path)}: ${messageOf(error)}`);
  }
}

async function writeDurably(path: string, text: string): Promise<void> {
  using file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
  const bytes = new TextEncoder().encode(text);
  for (let written = 0; written < bytes.length;) written += await file.write(bytes.subarray(written));
  await file.sync();
}

/** What a daemon that was killed in the middle left; it may have another mode, or be a link. */
async function removeLeftover(path: string): Promise<void> {
  await Deno.remove(path).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
}

/** A rename is on the disk when its folder is (fsync(2)). Windows has no such call and needs none. */
async function syncFolder(path: string): Promise<void> {
  if (Deno.build.os === "windows") return;
  using folder = await Deno.open(folderOf(path));
  await folder.sync();
}

async function formatState(servers: readonly SavedServer[]): Promise<string> {
  const sha256 = (await digest(servers)).toHex();
  return JSON.stringify({ format: FORMAT, version: VERSION, sha256, servers }, null, 1) + "\n";
}

/** The servers, or why the text cannot be used, as a clause. */
async function parseState(text: string): Promise<readonly SavedServer[] | string> {
  if (text.trim() === "") return "it is empty or too large";
  let state: unknown;
  try {
    state = JSON.parse(text);
  } catch {
    return "it is cut short or no JSON";
  }
  if (!isRecord(state) || state.format !== FORMAT) return "another program wrote it";
  if (state.version !== VERSION) return `it has version ${JSON.stringify(state.version)} and this program reads ${VERSION}`;
  if (!Array.isArray(state.servers) || !state.servers.every(isSavedServer)) return "its list of servers is not valid";
  if (typeof state.sha256 !== "string" || !isDigest(state.sha256, await digest(state.servers))) return "its checksum is wrong";
  return state.servers;
}

async function digest(servers: readonly SavedServer[]): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify(servers))));
}

function isDigest(text: string, expected: Uint8Array): boolean {
  return /^[0-9a-f]{64}$/.test(text) && timingSafeEqual(Uint8Array.fromHex(text), expected);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isSavedServer(value: unknown): value is SavedServer {
  if (!isRecord(value) || typeof value.server !== "string") return false;
  try {
    if (formatAddress(parseAddress(value.server)) !== value.server) return false;
  } catch {
    return false;
  }
  if (value.draining !== undefined && typeof value.draining !== "boolean") return false;
  return isCount(value.weight, LIMITS.weightMax) &&
    (value.connectionsMax === null || isCount(value.connectionsMax, LIMITS.serverConnectionsMax));
}

function isCount(value: unknown, max: number): boolean {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= max;
}

async function keepAside(path: string, why: string): Promise<LoadedState> {
  const aside = `${path}.aside-${new Date().toISOString().replaceAll(":", "")}`;
  try {
    await Deno.rename(path, aside);
  } catch (error) {
    const both = `it cannot be used (${why}) nor kept aside: ${messageOf(error)}`;
    throw new OperatorError("failed", `Cannot start with the state file ${JSON.stringify(path)}: ${both}`);
  }
  const kept = JSON.stringify(aside);
  return {
    servers: [],
    warning: `The state file ${JSON.stringify(path)} cannot be used: ${why}; it is kept as ${kept} and the pool is empty`,
  };
}
