/**
 * The client of the control API. Loads no schema. Trusts nothing: the listener must belong to the same user, and every answer must
 * have the expected shape.
 */

import { DURATION_MAX_MS } from "../values/duration.ts";
import { ERROR_KINDS, failWith, messageOf, OperatorError } from "../values/errors.ts";
import { isLocked } from "./lock.ts";
import { printableIn } from "../values/printable.ts";
import type { DeclaredState } from "../values/declared_state.ts";
import type { SettingTexts } from "../values/config.ts";
import { formatListener } from "../values/listener_text.ts";
import type { SavedListener } from "../values/saved_state.ts";
import type { ServerSettings } from "../values/server_settings.ts";
import { formatSize } from "../values/size.ts";
import type { Answers } from "./api.ts";
import { WHO_HEADER } from "./user_header.ts";
import { EVENT_STREAM } from "./event_stream_type.ts";
import { peerUid } from "./peer.ts";
import { EventReader, type ServerSentEvent } from "./event_source.ts";
import { type Answer, exchange, type Question } from "./exchange.ts";
import { misfitOf } from "./shapes.ts";
import { findTrustedSocket } from "./socket.ts";

/** How long a daemon may take to answer a request that does not wait for connections. */
const ANSWER_MAX_MS = 10_000;
/** How much longer a change of everything may take. */
const APPLY_MAX_MS = 60_000;
/** How long a stream of events may be silent: there is a comment every 15 s. */
const SILENT_MAX_MS = 40_000;
/** Why a request is aborted. */
const TOO_SILENT = "the daemon is silent"; // no Error: making one takes 2 ms, whenever this is loaded
/** The longest answer, the list of 16,384 servers, has 10 MB. */
const ANSWER_BYTES_MAX = 64 * 1024 ** 2;

/** A server to add, as the API takes it. */
interface NewServer extends Partial<ServerSettings> {
  readonly address: string;
  readonly port: number;
}

/** The settings of a server to change. */
interface ServerChange extends Partial<ServerSettings> {
  readonly draining?: boolean;
}

/** Where a connection is to be, as the API takes it. */
interface ConnectionMove {
  readonly server: string | undefined;
  readonly force: boolean;
}

/** Query parameters; undefined ones are left out. */
type Query = Readonly<Record<string, string | undefined>>;

/** The query as text, made without URLSearchParams: loading that takes a millisecond. */
function format(query: Query): string {
  const pairs = Object.entries(query).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`]
  );
  return pairs.length === 0 ? "" : `?${pairs.join("&")}`;
}

/** A service to add, as the API takes it. */
interface NewService {
  readonly service: string;
  readonly listeners: readonly SavedListener[];
  readonly settings: SettingTexts;
}

/** A declared state to apply, as the API takes it. */
interface Application extends Undoing {
  readonly declared: DeclaredState;
  readonly prune: boolean;
  /** The path of the file that it is from; undefined: standard input. */
  readonly file?: string;
}

/** What `undo` and `apply` have in common. */
interface Undoing {
  readonly plan: boolean;
  readonly ifGeneration?: number;
  readonly to?: number;
}

/** How to stop a balancer; undefined: as its own settings say. */
interface StopTexts {
  readonly grace?: string;
  readonly lameDuck?: string;
}

/** What a client knows beside the socket. */
interface ClientOptions {
  /** The lock files that the daemon may hold: they show that it runs even if its socket is missing. */
  readonly locks?: readonly string[];
  /** The service that requests concern; undefined: the only one. */
  readonly service?: string;
  /** Who asks, for the history; undefined: the user of this program, whose name the environment has. */
  readonly who?: string;
}

/** The body of a request, and how long the daemon may wait before it answers. */
interface CallOptions {
  readonly body?: unknown;
  readonly waitMs?: number;
}

/** An answer as it came. */
export interface Forwarded {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

/** What the clients of one socket share. */
interface Link {
  /** When it was last seen that the socket is the user's own and a daemon listens, by the monotonic clock. */
  checkedMs: number;
  /** The user of the daemon; null where there are none, undefined: not known yet. */
  user: number | null | undefined;
  /** For each answer that is awaited. */
  readonly waiting: Set<Patience>;
}

/**
 * How long a look at a socket of the user's own counts. A look is a connection to the daemon, which costs it as much as a request;
 * a dashboard asks several things in a row, once a second.
 */
const CHECKED_FOR_MS = 500;

/** Talks to the daemon called `name`, whose control socket is at `path`. Every call throws an operator error if it fails. */
export class ControlClient implements Disposable {
  readonly #link: Link;
  readonly #options: ClientOptions;

  constructor(readonly name: string, readonly path: string, options: ClientOptions = {}, sibling?: ControlClient) {
    this.#options = options;
    this.#link = sibling === undefined ? { checkedMs: -Infinity, user: undefined, waiting: new Set() } : sibling.#link;
  }

  /** A client whose requests concern another service (undefined: the only one), and which is disposed of with this one. */
  ofService(service: string | undefined): ControlClient {
    return new ControlClient(this.name, this.path, { ...this.#options, service }, this);
  }

  status(): Promise<Answers["status"]> {
    return this.#call("status", "GET", "/v1/status");
  }

  list(): Promise<Answers["servers"]> {
    return this.#call("servers", "GET", `/v1/servers${this.#query()}`);
  }

  add(server: NewServer): Promise<Answers["server"]> {
    return this.#call("server", "POST", `/v1/servers${this.#query()}`, { body: server });
  }

  server(server: string): Promise<Answers["server"]> {
    return this.#call("server", "GET", this.#pathOf(server));
  }

  change(server: string, change: ServerChange): Promise<Answers["server"]> {
    return this.#call("server", "PATCH", this.#pathOf(server), { body: change });
  }

  /** Resolves when the check has ended. */
  check(server: string): Promise<Answers["check"]> {
    return this.#call("check", "POST", this.#pathOf(server, "/check"), { waitMs: DURATION_MAX_MS });
  }

  startRebalance(rate: number | undefined): Promise<Answers["rebalance"]> {
    return this.#call("rebalance", "POST", `/v1/rebalance${this.#query()}`, { body: { rate } });
  }

  showRebalance(): Promise<Answers["rebalance"]> {
    return this.#call("rebalance", "GET", `/v1/rebalance${this.#query()}`);
  }

  stopRebalance(): Promise<Answers["rebalance"]> {
    return this.#call("rebalance", "DELETE", `/v1/rebalance${this.#query()}`);
  }

  /** `time` is such as `30s`; undefined: the default. */
  pause(time: string | undefined, idle: boolean): Promise<Answers["paused"]> {
    return this.#call("paused", "POST", `/v1/pause${this.#query()}`, { body: { for: time, idle } });
  }

  resume(): Promise<Answers["paused"]> {
    return this.#call("paused", "DELETE", `/v1/pause${this.#query()}`);
  }

  plan(query: Query): Promise<Answers["plan"]> {
    return this.#call("plan", "GET", `/v1/plan${this.#query(query)}`);
  }

  ring(query: Query): Promise<Answers["ring"]> {
    return this.#call("ring", "GET", `/v1/ring${this.#query(query)}`);
  }

  explain(query: Query): Promise<Answers["explanation"]> {
    return this.#call("explanation", "GET", `/v1/explain${this.#query(query)}`);
  }

  recent(query: Query): Promise<Answers["recent"]> {
    return this.#call("recent", "GET", `/v1/recent${format(query)}`);
  }

  /** Lists in a query have commas. */
  events(query: Query): Promise<Answers["events"]> {
    return this.#call("events", "GET", `/v1/events${this.#query(query)}`);
  }

  /**
   * Follows the events as they come: after the one with this id, if it is not empty. The first message says only an id. Ends when
   * the daemon ends it, and throws an operator error if it is lost.
   */
  async *follow(query: Query, lastId: string): AsyncGenerator<ServerSentEvent, void, undefined> {
    await this.#requireDaemon();
    using patience = this.#wait(ANSWER_MAX_MS);
    try {
      const headers = { accept: EVENT_STREAM, ...(lastId === "" ? {} : { "last-event-id": lastId }) };
      const answer = await this.#ask("GET", `/v1/events${this.#query(query)}`, { headers, signal: patience.signal });
      if (!isGood(answer)) throw this.#failure(parseJson(await this.#read(answer)));
      const [reader, decoder] = [new EventReader(), new TextDecoder()];
      for await (const bytes of answer.body) {
        patience.renew(SILENT_MAX_MS);
        yield* reader.push(decoder.decode(bytes, { stream: true }));
      }
    } catch (error) {
      throw error instanceof OperatorError ? error : this.#lost(error);
    }
  }

  /** Lists in a query have commas. */
  series(query: Query): Promise<Answers["series"]> {
    return this.#call("series", "GET", `/v1/series${this.#query(query)}`);
  }

  look(query: Query): Promise<Answers["look"]> {
    return this.#call("look", "GET", `/v1/look${format(query)}`);
  }

  clients(query: Query): Promise<Answers["clients"]> {
    return this.#call("clients", "GET", `/v1/clients${this.#query(query)}`);
  }

  connections(query: Query): Promise<Answers["connections"]> {
    return this.#call("connections", "GET", `/v1/connections${this.#query(query)}`);
  }

  closeConnection(id: string): Promise<Answers["closedConnection"]> {
    return this.#call("closedConnection", "POST", `/v1/connections/${id}/close`, { body: {} });
  }

  /** Resolves when it has moved, which takes as long as another server takes to accept it. */
  moveConnection(id: string, move: ConnectionMove): Promise<Answers["movedConnection"]> {
    return this.#call("movedConnection", "POST", `/v1/connections/${id}/move`, { body: move, waitMs: DURATION_MAX_MS });
  }

  /** `server` is `address:port`, `drain` a time such as `10s`, `waitMs` the same time in milliseconds. */
  remove(server: string, drain: string, waitMs: number): Promise<Answers["removal"]> {
    return this.#call("removal", "DELETE", this.#pathOf(server, "", { drain }), { waitMs });
  }

  state(): Promise<Answers["state"]> {
    return this.#call("state", "GET", "/v1/state");
  }

  /** `plan`: says what would change, and changes nothing. */
  apply(application: Application): Promise<Answers["applied"]> {
    return this.#call("applied", "POST", "/v1/apply", { body: application, waitMs: APPLY_MAX_MS });
  }

  history(): Promise<Answers["history"]> {
    return this.#call("history", "GET", "/v1/history");
  }

  undo(undoing: Undoing): Promise<Answers["applied"]> {
    return this.#call("applied", "POST", "/v1/undo", { body: undoing, waitMs: APPLY_MAX_MS });
  }

  services(): Promise<Answers["services"]> {
    return this.#call("services", "GET", "/v1/services");
  }

  addService(service: NewService): Promise<Answers["service"]> {
    return this.#call("service", "POST", "/v1/services", { body: service });
  }

  setService(service: string, settings: SettingTexts): Promise<Answers["service"]> {
    return this.#call("service", "PATCH", `/v1/services/${encodeURIComponent(service)}`, { body: { settings } });
  }

  setDaemon(settings: SettingTexts): Promise<Answers["daemon"]> {
    return this.#call("daemon", "PATCH", "/v1/daemon", { body: { settings } });
  }

  removeService(service: string, drain: string): Promise<Answers["serviceRemoval"]> {
    return this.#call("serviceRemoval", "DELETE", `/v1/services/${encodeURIComponent(service)}${format({ drain })}`);
  }

  listen(service: string, listener: SavedListener): Promise<Answers["service"]> {
    return this.#call("service", "POST", `/v1/services/${encodeURIComponent(service)}/listeners`, { body: listener });
  }

  unlisten(service: string, listener: SavedListener): Promise<Answers["service"]> {
    const path = `${encodeURIComponent(service)}/listeners/${encodeURIComponent(formatListener(listener))}`;
    return this.#call("service", "DELETE", `/v1/services/${path}`);
  }

  /** Resolves when the balancer has stopped. `waitMs` is the longest that may take. */
  stop(times: StopTexts, waitMs: number): Promise<Answers["stopping"]> {
    return this.#call("stopping", "POST", "/v1/stop", { body: { ...times, wait: true }, waitMs });
  }

  /** Passes a request on, and gives the answer as it is, also one that says what is wrong. */
  forward(method: string, path: string, options?: CallOptions): Promise<Forwarded> {
    return this.#send(method, path, options);
  }

  /** Asks where another process is let in to take the daemon's place. */
  upgrade(): Promise<Answers["entrance"]> {
    return this.#call("entrance", "POST", "/v1/upgrade");
  }

  /** Throws an operator error if the daemon, which was asked before, is another user's than this program. */
  requireOwn(cannot: string): void {
    if (this.#link.user === undefined || this.#link.user === Deno.uid()) return;
    const why = `it runs as user ${this.#link.user}, and what user ${Deno.uid()} starts would not; use systemctl`;
    throw new OperatorError("conflict", `${cannot}: ${why}, as in systemctl reload balancer@${this.name}`);
  }

  /** The lock of the daemon, which says where it is. Another user's is believed only where this program looks for locks itself. */
  lockOf(said: string): string {
    if (this.#link.user === undefined || this.#link.user === Deno.uid() || this.#options.locks?.includes(said)) return said;
    const why = `user ${this.#link.user} says that its lock is ${JSON.stringify(printableIn(said))}, where it should not be`;
    throw new OperatorError("failed", `Cannot wait for the end of balancer ${JSON.stringify(this.name)}: ${why}`);
  }

  /** Another process has the control socket now: it is looked at anew. */
  reconnect(): void {
    this.#link.checkedMs = -Infinity;
  }

  /** Ends what is still asked, also by siblings. */
  [Symbol.dispose](): void {
    for (const patience of this.#link.waiting) patience.end("it was not waited for any longer");
  }

  /** A query that says which service is concerned. */
  #query(query: Query = {}): string {
    return format({ service: this.#options.service, ...query });
  }

  #pathOf(server: string, below = "", query: Query = {}): string {
    return `/v1/servers/${encodeURIComponent(server)}${below}${this.#query(query)}`;
  }

  async #call<Name extends keyof Answers>(name: Name, method: string, path: string, options?: CallOptions): Promise<Answers[Name]> {
    const answer = await this.#send(method, path, options);
    const said = parseJson(answer.text);
    if (isGood(answer) && said !== undefined) return this.#require(name, said);
    throw this.#failure(said);
  }

  async #send(method: string, path: string, { body, waitMs = 0 }: CallOptions = {}): Promise<Forwarded> {
    const isChecked = this.#link.user === Deno.uid() && performance.now() - this.#link.checkedMs < CHECKED_FOR_MS;
    if (!isChecked) await this.#requireDaemon();
    using patience = this.#wait(waitMs + ANSWER_MAX_MS);
    const json = body === undefined ? undefined : JSON.stringify(body);
    const answer = await this.#ask(method, path, { body: json, signal: patience.signal }).catch(async (error) => {
      if (isChecked) await this.#requireDaemon(); // it may be gone by now, which says more
      throw error;
    });
    return { status: answer.status, type: answer.header("content-type"), text: await this.#read(answer) };
  }

  #wait(maxMs: number): Patience {
    const { waiting } = this.#link;
    const patience = new Patience(maxMs, () => waiting.delete(patience));
    waiting.add(patience);
    return patience;
  }

  /** The error that an answer tells of; undefined: it is no JSON. */
  #failure(answer: unknown): OperatorError {
    if (answer === undefined) {
      const socket = JSON.stringify(this.path);
      return new OperatorError("failed", `The program that listens on control socket ${socket} is not a balancer`);
    }
    const { kind, message } = this.#require("failure", answer).error;
    return new OperatorError(Object.hasOwn(ERROR_KINDS, kind) ? kind : "failed", printableIn(message));
  }

  #require<Name extends keyof Answers>(name: Name, answer: unknown): Answers[Name] {
    const misfit = misfitOf(name, answer);
    if (misfit === undefined) return answer as Answers[Name];
    const why = `${printableIn(misfit)}; install the same version of both`;
    throw new OperatorError("failed", `Cannot read the answer of balancer ${JSON.stringify(this.name)}: ${why}`);
  }

  /** Refuses a socket of another user, and distinguishes a daemon that does not run from one that does not answer. */
  async #requireDaemon(): Promise<void> {
    await this.#lookAtSocket();
    this.#link.checkedMs = performance.now();
  }

  async #lookAtSocket(): Promise<void> {
    const cannot = `Cannot use control socket ${JSON.stringify(this.path)}`;
    const user = findTrustedSocket(this.path);
    if (user === undefined) throw await this.#absence();
    this.#link.user = user;
    const uid = peerUid(this.path);
    if (uid !== undefined && uid !== user) {
      throw new OperatorError("failed", `${cannot}: user ${uid} listens on it, and this is user ${Deno.uid()}; run as that user`);
    }
    if (uid !== undefined) return; // peerUid() could connect
    const error = await connectError(this.path);
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.ConnectionRefused) throw await this.#absence();
    if (error !== undefined) failWith(cannot)(error);
  }

  async #absence(): Promise<OperatorError> {
    const name = JSON.stringify(this.name);
    for (const lock of this.#options.locks ?? []) {
      if (!await isLocked(lock)) continue;
      const why = "its control socket is missing; the daemon restores it within a second: try again, then see its log";
      return new OperatorError("failed", `Balancer ${name} is running, but ${why}`);
    }
    const start = "start it with balancerctl start <inet_address> <inet_port>";
    return new OperatorError("notRunning", `No balancer ${name} is running: ${start}`);
  }

  async #ask(
    method: string,
    target: string,
    { headers, body, signal }: Pick<Question, "body" | "signal"> & Partial<Pick<Question, "headers">>,
  ): Promise<Answer> {
    try {
      const who = { [WHO_HEADER]: this.#options.who ?? userName() };
      return await exchange(this.path, { method, target, headers: { ...who, ...headers }, body, signal });
    } catch (error) {
      throw this.#lost(error);
    }
  }

  async #read({ body }: Answer): Promise<string> {
    const decoder = new TextDecoder();
    let text = "";
    let bytes = 0;
    try {
      for await (const chunk of body) {
        bytes += chunk.length;
        if (bytes > ANSWER_BYTES_MAX) break;
        text += decoder.decode(chunk, { stream: true });
      }
    } catch (error) {
      throw this.#lost(error);
    }
    if (bytes <= ANSWER_BYTES_MAX) return text + decoder.decode();
    const limit = formatSize(ANSWER_BYTES_MAX);
    throw new OperatorError("failed", `The answer of balancer ${JSON.stringify(this.name)} is longer than the limit of ${limit}`);
  }

  #lost(error: unknown): OperatorError {
    const why = error === TOO_SILENT ? "it does not answer" : messageOf(error);
    return new OperatorError(
      "failed",
      `Lost the connection to balancer ${JSON.stringify(this.name)}: ${printableIn(why)}`,
    );
  }
}

/** How long an answer is awaited. */
class Patience implements Disposable {
  readonly #controller = new AbortController();
  readonly #onLate = () => this.end(TOO_SILENT);
  readonly #onEnd: () => void;
  /** The first limit. Not by setTimeout, which takes 15 ms to load. */
  readonly #limit: AbortSignal;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(maxMs: number, onEnd: () => void) {
    this.#onEnd = onEnd;
    this.#limit = AbortSignal.timeout(maxMs);
    this.#limit.addEventListener("abort", this.#onLate);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  renew(maxMs: number): void {
    this.#stop();
    this.#timer = setTimeout(this.#onLate, maxMs);
  }

  end(why: string): void {
    this.#controller.abort(why);
  }

  #stop(): void {
    this.#limit.removeEventListener("abort", this.#onLate);
    if (this.#timer !== undefined) clearTimeout(this.#timer);
  }

  [Symbol.dispose](): void {
    this.#stop();
    this.#onEnd();
  }
}

function isGood({ status }: { readonly status: number }): boolean {
  return status >= 200 && status < 300;
}

/** Who uses this program: also behind sudo(8), the person. In a header, so without other letters than ASCII's. */
function userName(): string {
  const name = ["SUDO_USER", "USER", "LOGNAME"].map((variable) => Deno.env.get(variable)).find((name) => name);
  return (name ?? `user ${Deno.uid()}`).replaceAll(/[^ -~]/g, "?");
}

/** The parsed text; undefined if it is not JSON. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The error of connecting to the socket; undefined if connecting succeeds. */
async function connectError(path: string): Promise<unknown> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (error) {
    return error;
  }
}
