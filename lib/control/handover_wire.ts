/**
 * What the two processes of an upgrade say to each other: lines of JSON over a Unix socket in the private folder of the control
 * socket. Owns the messages, the order in which they may come, and who may give to whom. Connections and descriptors go other ways.
 */

import type { CarriedPause, Figures, LastWords, Leftover, Places } from "../balancer/carried_state.ts";
import type { StopTimes } from "../balancer/shutdown.ts";
import type { KnownCondition } from "../health/admission.ts";
import { messageOf, OperatorError } from "../values/errors.ts";
import type { SettingTexts } from "../values/config.ts";
import type { SavedState } from "../values/saved_state.ts";

/** The versions of the hand-over that this program speaks; the connections' own is HANDOVER_VERSION of the engine. */
export const SPOKEN: readonly number[] = [1];

/** How a process may take another one's place. */
export const TAKE_OVER = ["now", "check"] as const;
export type TakeOver = typeof TAKE_OVER[number];

/** How the daemon was started, beside its state. */
export interface StartedAs {
  readonly logFile: string | null;
  readonly keepsState: boolean;
  readonly isDetached: boolean;
  /** The file of --config. */
  readonly configFile: string | null;
  /** Settings of the daemon on its command line, which hold in place of that file's. */
  readonly typed: SettingTexts;
  /** Where its service manager wants to be told, and how often it wants a sign of life. */
  readonly notifySocket: string | null;
  readonly watchdogMs: number | null;
}

/** The new process introduces itself. */
export interface Hello {
  readonly kind: "hello";
  readonly version: string;
  readonly spoken: readonly number[];
  readonly how: TakeOver;
  /** Whether it may be older. */
  readonly isForced: boolean;
  /** How many descriptors it may open. */
  readonly descriptors: number;
  /** Where it listens for descriptors. */
  readonly path: string;
}

/** Infinity is no JSON. */
export const DESCRIPTORS_MAX: number = 2 ** 31 - 1;

/** What the new process would take over. Nothing has changed. */
export interface Offer {
  readonly kind: "offer";
  readonly version: string;
  readonly state: SavedState;
  readonly startedAs: StartedAs;
  readonly open: number;
}

/** What the new process begins with, when the old one changes no more. The descriptors have been sent, in this order. */
export interface Given {
  readonly kind: "given";
  readonly state: SavedState;
  readonly leftovers: readonly Leftover[];
  readonly places: Places;
  readonly known: readonly (readonly [service: string, servers: readonly (readonly [string, SaidCondition])[]])[];
  readonly pauses: readonly CarriedPause[];
  /** After the lock, and the two outputs if `hasOutputs`: the listeners, and a socket for each worker. */
  readonly listeners: readonly { readonly host: string; readonly port: number }[];
  readonly sockets: number;
  readonly hasOutputs: boolean;
}

/** A condition whose time is text. */
type SaidCondition = Omit<KnownCondition, "since"> & { readonly since: string };

/** Every message, by who sends it. */
export type FromNew =
  | Hello
  /** It has checked everything. */
  | { readonly kind: "ready" }
  /** Its engine runs. */
  | { readonly kind: "running" }
  /** It accepts clients. */
  | { readonly kind: "accepting" }
  /** It has everything, and answers at the control socket. */
  | { readonly kind: "done" }
  | { readonly kind: "failed"; readonly reason: string };
/** The same of the old process. */
export type FromOld =
  | Offer
  | Given
  /** Connections come now; what was counted before the first of them. */
  | { readonly kind: "begin"; readonly figures: Figures }
  /** No connection is left: so many were given. `stop`: somebody wants the balancer to stop. */
  | { readonly kind: "end"; readonly connections: number; readonly words: LastWords; readonly stop: StopTimes | null }
  /** Somebody has wanted it since. The last message, and the only one after `done`. */
  | { readonly kind: "stop"; readonly stop: StopTimes }
  | { readonly kind: "failed"; readonly reason: string };

type Message = FromNew | FromOld;

/** How long the other side may take to read a message, in ms. */
const SEND_MAX_MS = 20_000;

/** A state with 16,384 servers, their figures and their standings takes some MB. */
const LINE_BYTES_MAX = 64 * 1024 ** 2;

/** One end of the channel. */
export class Channel<Incoming extends Message, Outgoing extends Message> implements Disposable {
  readonly #conn: Deno.Conn;
  readonly #chunks: string[] = [];
  readonly #decoder = new TextDecoder();
  readonly #buffer = new Uint8Array(65_536);
  #bytes = 0;
  #rest = "";
  /** Whether the other side has not read all of a message. */
  #isStuck = false;

  constructor(conn: Deno.Conn, readonly sendMaxMs: number = SEND_MAX_MS) {
    this.#conn = conn;
  }

  /** Sends a message. Throws `Gone` if the other side has ended, and an operator error if it does not read. */
  async send(message: Outgoing): Promise<void> {
    const bytes = new TextEncoder().encode(`${JSON.stringify(message)}\n`);
    if (this.#isStuck) throw new OperatorError("failed", "it does not read");
    this.#isStuck = true;
    await inTime(this.#write(bytes), this.sendMaxMs, "it reads nothing");
    this.#isStuck = false;
  }

  /** The next message, of this kind and in time. Throws an operator error: `Gone` if the other side has ended. */
  async expect<Kind extends Incoming["kind"]>(kind: Kind, maxMs: number): Promise<Extract<Incoming, { kind: Kind }>> {
    const message = await this.#read(maxMs);
    if (message.kind === "failed") throw new OperatorError("failed", (message as { reason: string }).reason);
    if (message.kind !== kind) throw new OperatorError("failed", `it says ${JSON.stringify(message.kind)} in place of "${kind}"`);
    return message as Extract<Incoming, { kind: Kind }>;
  }

  /** Resolves when the other side has ended, whatever it says before. */
  async ended(): Promise<void> {
    while (await this.#conn.read(this.#buffer).catch(() => null) !== null);
  }

  [Symbol.dispose](): void {
    try {
      this.#conn.close();
    } catch { /* closed already */ }
  }

  async #read(maxMs: number): Promise<Incoming> {
    return parse(await inTime(this.#readLine(), maxMs, "it says nothing")) as Incoming;
  }

  async #write(bytes: Uint8Array): Promise<void> {
    try {
      for (let sent = 0; sent < bytes.length;) sent += await this.#conn.write(bytes.subarray(sent));
    } catch {
      throw new Gone();
    }
  }

  async #readLine(): Promise<string> {
    while (true) {
      const end = this.#rest.indexOf("\n");
      if (end >= 0) {
        const line = this.#chunks.splice(0).join("") + this.#rest.slice(0, end);
        this.#rest = this.#rest.slice(end + 1);
        this.#bytes = 0;
        return line;
      }
      this.#chunks.push(this.#rest);
      this.#rest = "";
      const count = await this.#conn.read(this.#buffer).catch(() => null);
      if (count === null) throw new Gone();
      this.#bytes += count;
      if (this.#bytes > LINE_BYTES_MAX) throw new OperatorError("failed", "it says too much at once");
      this.#rest = this.#decoder.decode(this.#buffer.subarray(0, count), { stream: true });
    }
  }
}

/** Waits for a step of the other side, at most for so long. Throws an operator error with `what` it does then. */
async function inTime<Result>(step: Promise<Result>, maxMs: number, what: string): Promise<Result> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new OperatorError("failed", `${what} for ${maxMs / 1000} s`)), maxMs);
  try {
    return await Promise.race([step, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** The other process has ended. */
export class Gone extends OperatorError {
  constructor() {
    super("failed", "the other process has ended");
  }
}

function parse(line: string): Message {
  try {
    const message = JSON.parse(line);
    if (typeof message?.kind === "string") return message;
  } catch (error) {
    throw new OperatorError("failed", `it does not speak JSON: ${messageOf(error)}`);
  }
  throw new OperatorError("failed", "it says something else than a message");
}

/** What an upgrade depends on, of the old process. */
interface GivingFacts {
  readonly version: string;
  readonly descriptorsNeeded: number;
  /** How many it may open itself. */
  readonly descriptors: number;
  readonly leavingServices: readonly string[];
  readonly leavingListeners: readonly string[];
}

/** Why the process that says hello may not take this one's place, as a sentence; undefined: it may. */
export function refusalOf(
  hello: Hello,
  { version, descriptorsNeeded, descriptors, leavingServices, leavingListeners }: GivingFacts,
): string | undefined {
  if (!Array.isArray(hello.spoken) || !hello.spoken.some((one) => SPOKEN.includes(one))) {
    const versions = `version ${hello.version} speaks the hand-over's version ${hello.spoken}, and ${version} speaks ${SPOKEN}`;
    return `${versions}: stop the balancer and start the other program`;
  }
  if (!hello.isForced && isOlder(hello.version, version)) {
    return `version ${hello.version} is older than the one that runs, ${version}: give --force to go back`;
  }
  if (hello.descriptors < descriptorsNeeded) {
    const needs = `the open connections need ${descriptorsNeeded} descriptors, and its limit is ${hello.descriptors}`;
    return `${needs}: raise the limit on open files (ulimit -n) where you run balancerctl`;
  }
  if (!hello.isForced && hello.descriptors < descriptors) {
    const fewer = `its limit on open files is ${hello.descriptors}, below ${descriptors} of the process that runs`;
    return `${fewer}, so it could serve fewer clients: raise it (ulimit -n) where you run balancerctl, or give upgrade --force`;
  }
  const [[service], [listener]] = [leavingServices, leavingListeners];
  if (service !== undefined) {
    const wayOut = `wait until they have finished, or end them with balancerctl service remove ${service} --drain 0`;
    return `service ${JSON.stringify(service)} was removed and still has connections: ${wayOut}`;
  }
  if (listener === undefined) return undefined;
  const why = `listener ${listener} of a range of ports was closed and still has connections, which go to other ports of servers`;
  return `${why}: wait until they have finished, or end them with balancerctl close`;
}

/** Whether one version is before another, by the numbers of both; a pre-release is before its release. */
export function isOlder(one: string, other: string): boolean {
  const [a, b] = [one, other].map((version) => version.split(/[.+-]/).slice(0, 3).map((part) => Number.parseInt(part) || 0));
  const differs = a.findIndex((part, i) => part !== b[i]);
  if (differs >= 0) return a[differs] < b[differs];
  return one.includes("-") && !other.includes("-");
}

/** What is known of servers, as it is said. */
export function sayKnown(known: ReadonlyMap<string, ReadonlyMap<string, KnownCondition>>): Given["known"] {
  return [...known].map(([service, servers]) =>
    [service, [...servers].map(([server, one]) => [server, { ...one, since: one.since.toISOString() }] as const)] as const
  );
}

/** The same as it was heard. */
export function hearKnown(said: Given["known"]): ReadonlyMap<string, ReadonlyMap<string, KnownCondition>> {
  return new Map(said.map(([service, servers]) => [
    service,
    new Map(servers.map(([server, one]) => [server, { ...one, since: new Date(one.since) } as KnownCondition])),
  ]));
}
