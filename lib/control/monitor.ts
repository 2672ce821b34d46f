/**
 * What `--http` serves to everybody who can reach it: metrics, liveness and readiness, to be read and nothing else. It listens
 * before the balancer does, so that a taken port stops the start, and until the last connection has ended, so that readiness says
 * that the balancer is stopping.
 */

import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type Address, parseAddress } from "../values/address.ts";
import { LIMITS } from "../values/config.ts";
import { ERROR_KINDS, messageOf, OperatorError } from "../values/errors.ts";
import { listenError, listenReasonOf } from "../values/listen_error.ts";
import { countSources } from "../values/source_addresses.ts";
import type { Balancer } from "../balancer/balancer.ts";
import type { Service } from "../balancer/service.ts";
import { chooseFormat, type Format } from "../observe/exposition.ts";
import { logger } from "../observe/log.ts";
import { type MeasuredService, writeMetrics } from "../observe/metrics.ts";
import { type HttpRequest, HttpServer } from "./http.ts";
import { urlOf } from "./request_url.ts";

/** Facts that metrics show and the balancer does not know. */
interface MeasuredFacts {
  readonly version: string;
  readonly engine: string;
  readonly startedAt: Date;
  /** How many ports this machine has for connections from one address to one server; null: unknown (`readSystemLimits`). */
  readonly localPorts: number | null;
}

/** What a monitor tells about. */
export interface Monitored {
  /** The metrics in this format. */
  metrics(format: Format): Promise<Response>;
  /** Why the balancer should get no new clients, as a sentence; undefined if it should. */
  whyNotReady(): string | undefined;
}

/** The settings of a monitor that tests change. */
interface MonitorOptions {
  /** How long a request may take to arrive. */
  readonly requestTimeMaxMs?: number;
  readonly connectionsMax?: number;
}

const STARTING = "The balancer is starting";
const ALLOWED = ["GET", "HEAD"];
/** How long requests may still take when the monitor is disposed of. */
const SHUTDOWN_MAX_MS = 500;

const log = logger("control");

/** What is served, by path. */
const PAGES: Readonly<Record<string, (monitored: Monitored | undefined, request: HttpRequest) => Response | Promise<Response>>> = {
  "/metrics": (monitored, { accept }) => monitored?.metrics(chooseFormat(accept)) ?? unready(STARTING),
  "/live": () => sentence("The balancer is running", 200),
  "/ready": (monitored) => {
    const why = monitored === undefined ? STARTING : monitored.whyNotReady();
    return why === undefined ? sentence("The balancer is ready", 200) : unready(why);
  },
};

/** What `--http` serves. Disposing of it closes its port. */
export class Monitor implements AsyncDisposable {
  readonly #http: HttpServer;
  #server: Server | undefined;
  #monitored: Monitored | undefined;

  private constructor({ requestTimeMaxMs = LIMITS.requestTimeMaxMs, connectionsMax = LIMITS.httpConnectionsMax }: MonitorOptions) {
    this.#http = new HttpServer({
      name: "this address",
      answer: async (request) => await this.#answer(request),
      fail: failure,
      requestTimeMaxMs,
      requestBytesMax: () => 0, // a request to read has no body
      requestHeadersMax: LIMITS.requestHeadersMax,
      connectionsMax,
      waitingMax: connectionsMax,
    });
  }

  /** Listens on the address; port 0 takes any free one. Throws `listenError`. */
  static async open(address: Address, options: MonitorOptions = {}): Promise<Monitor> {
    const monitor = new Monitor(options);
    try {
      monitor.#server = await monitor.#http.listen(address);
    } catch (error) {
      throw listenError(address, listenReasonOf(error), "serve --http");
    }
    return monitor;
  }

  /** Where it listens, with the real port in place of 0. */
  get address(): Address {
    const { address: host, port } = this.#server!.address() as AddressInfo;
    return { host, port };
  }

  /** From now on it tells about this. Until then the balancer is starting. */
  show(monitored: Monitored): void {
    this.#monitored = monitored;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server?.close();
    await this.#http.close(SHUTDOWN_MAX_MS);
  }

  async #answer(request: HttpRequest): Promise<Response> {
    const { method } = request;
    if (!ALLOWED.includes(method)) {
      const answer = failure(
        new OperatorError("notAllowed", `Method ${method} is not allowed; there are ${ALLOWED.join(" and ")}`),
      );
      answer.headers.set("allow", ALLOWED.join(", "));
      return answer;
    }
    const { pathname } = urlOf(request);
    if (!Object.hasOwn(PAGES, pathname)) {
      throw new OperatorError("unknown", `There is no ${pathname}; there are ${Object.keys(PAGES).join(", ")}`);
    }
    return await PAGES[pathname](this.#monitored, request);
  }
}

/** The metrics of a balancer. */
export async function answerMetrics(balancer: Balancer, facts: MeasuredFacts, format: Format = "prometheus"): Promise<Response> {
  const { version, engine, startedAt, localPorts } = facts;
  const { text, contentType } = await writeMetrics(balancer.counters, {
    version,
    engine,
    startedAtSeconds: startedAt.getTime() / 1000,
    connectionsMax: balancer.connectionsMax,
    localPorts,
    listeners: balancer.measuredListeners(),
    services: balancer.services().map(measure),
  }, format);
  return new Response(text, { headers: { "content-type": contentType } });
}

/** What metrics show of a service. */
function measure(service: Service): MeasuredService {
  const { sources } = service.config;
  return {
    name: service.name,
    index: service.index,
    fingerprint: service.fingerprint,
    servers: service.measured().map(({ server, slot, state, weight }) => ({
      name: server,
      slot,
      state,
      weight,
      sources: sources === null ? 1 : countSources(sources, parseAddress(server).host),
    })),
  };
}

function unready(why: string): Response {
  return sentence(why, ERROR_KINDS.busy.status);
}

function sentence(text: string, status: number): Response {
  const headers = { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" };
  return new Response(`${text}\n`, { status, headers });
}

/** The answer for an error. Any error but an operator error is internal and is logged with its stack. */
function failure(error: unknown): Response {
  if (error instanceof OperatorError) return sentence(error.message, ERROR_KINDS[error.kind].status);
  log.error("Request failed with an internal error: {error}", { error: error instanceof Error ? error.stack : error });
  return sentence(`Internal error: ${messageOf(error)}`, ERROR_KINDS.failed.status);
}
