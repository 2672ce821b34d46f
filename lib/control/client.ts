/**
 * The one client of the control API. Loads no schema: the types come from them, and the answers from a daemon of ours.
 */

import { messageOf, OperatorError } from "../errors.ts";
import { isLocked } from "../lock.ts";
import type { Answers } from "./api.ts";

/** How long a daemon may take to answer what it can answer at once. */
const ANSWER_MAX_MS = 10_000;

/** A server's settings as the API takes them. */
export interface NewServer {
  readonly address: string;
  readonly port: number;
  readonly weight?: number;
  readonly connectionsMax?: number;
}

/** What of a server is to change. */
export interface ServerChange {
  readonly weight?: number;
  readonly connectionsMax?: number | null;
  readonly draining?: boolean;
}

/** Parameters of a question; those that are undefined are left out. */
export type Query = Readonly<Record<string, string | undefined>>;

function format(query: Query): string {
  return new URLSearchParams(Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined)).toString();
}

/** Speaks to the daemon called `name` whose control socket is at `path`. Every call throws an operator error where it fails. */
export class ControlClient implements Disposable {
  readonly #http: Deno.HttpClient;

  /** `locks` are the files that its daemon may have locked, by which one that runs without a socket is known. */
  constructor(readonly name: string, readonly path: string, readonly locks: readonly string[] = []) {
    this.#http = Deno.createHttpClient({ proxy: { transport: "unix", path } });
  }

  status(): Promise<Answers["status"]> {
    return this.#call("GET", "/v1/status");
  }

  list(): Promise<Answers["servers"]> {
    return this.#call("GET", "/v1/servers");
  }

  add(server: NewServer): Promise<Answers["server"]> {
    return this.#call("POST", "/v1/servers", server);
  }

  server(server: string): Promise<Answers["server"]> {
    return this.#call("GET", `/v1/servers/${encodeURIComponent(server)}`);
  }

  change(server: string, change: ServerChange): Promise<Answers["server"]> {
    return this.#call("PATCH", `/v1/servers/${encodeURIComponent(server)}`, change);
  }

  startRebalance(rate: number | undefined): Promise<Answers["rebalance"]> {
    return this.#call("POST", "/v1/rebalance", { rate });
  }

  showRebalance(): Promise<Answers["rebalance"]> {
    return this.#call("GET", "/v1/rebalance");
  }

  stopRebalance(): Promise<Answers["rebalance"]> {
    return this.#call("DELETE", "/v1/rebalance");
  }

  plan(query: Query): Promise<Answers["plan"]> {
    return this.#call("GET", `/v1/plan?${format(query)}`);
  }

  explain(query: Query): Promise<Answers["explanation"]> {
    return this.#call("GET", `/v1/explain?${format(query)}`);
  }

  ends(query: Query): Promise<Answers["ends"]> {
    return this.#call("GET", `/v1/ends?${format(query)}`);
  }

  /** `server` is `address:port`, `drain` a time such as `10s`, `waitMs` how long that is. */
  remove(server: string, drain: string, waitMs: number): Promise<Answers["removal"]> {
    return this.#call("DELETE", `/v1/servers/${encodeURIComponent(server)}?drain=${drain}`, undefined, waitMs);
  }

  stop(grace: string): Promise<Answers["stopping"]> {
    return this.#call("POST", "/v1/stop", { grace });
  }

  [Symbol.dispose](): void {
    this.#http.close();
  }

  async #call<T>(method: string, path: string, body?: unknown, waitMs = 0): Promise<T> {
    await this.#knock();
    const response = await this.#fetch(method, path, body, waitMs);
    const answer: T | Answers["failure"] = await response.json().catch(() => {
      throw new OperatorError("failed", `What listens on control socket ${JSON.stringify(this.path)} is no balancer`);
    });
    if (response.ok) return answer as T;
    const { kind, message } = (answer as Answers["failure"]).error;
    throw new OperatorError(kind, message);
  }

  /** Tells a daemon that is not there from one that does not answer; `fetch` does not. */
  async #knock(): Promise<void> {
    try {
      (await Deno.connect({ transport: "unix", path: this.path })).close();
    } catch (error) {
      if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.ConnectionRefused) {
        throw await this.#absence();
      }
      const why = error instanceof Deno.errors.PermissionDenied
        ? "it is another user's; ask as that user or as root"
        : messageOf(error);
      throw new OperatorError("failed", `Cannot open control socket ${JSON.stringify(this.path)}: ${why}`);
    }
  }

  async #absence(): Promise<OperatorError> {
    const name = JSON.stringify(this.name);
    for (const lock of this.locks) {
      if (!await isLocked(lock)) continue;
      const why = "its control socket is not there; it makes it within a second: try again";
      return new OperatorError("failed", `Balancer ${name} is running, but ${why}`);
    }
    const start = "start it with balancerctl start <inet_address> <inet_port>";
    return new OperatorError("notRunning", `No balancer ${name} is running: ${start}`);
  }

  async #fetch(method: string, path: string, body: unknown, waitMs: number): Promise<Response> {
    try {
      return await fetch(`http://127.0.0.1${path}`, { // a name would be looked up, though the socket is local
        method,
        client: this.#http,
        signal: AbortSignal.timeout(waitMs + ANSWER_MAX_MS),
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch (error) {
      const isLate = error instanceof DOMException && error.name === "TimeoutError";
      const why = isLate ? "it does not answer" : messageOf(error instanceof Error && error.cause ? error.cause : error);
      throw new OperatorError("failed", `Lost balancer ${JSON.stringify(this.name)} in the middle of a request: ${why}`);
    }
  }
}
