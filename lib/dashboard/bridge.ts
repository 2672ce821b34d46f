/**
 * The dashboard's server: gives the page to who has a session, streams what the daemon does, and passes requests on that a table
 * allows. Every request is judged before anything else: where it comes from, how it is written, who sends it.
 */

import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type HttpRequest, HttpServer } from "../control/http.ts";
import { type Address, formatAddress, isIp } from "../values/address.ts";
import { LIMITS } from "../values/config.ts";
import { ERROR_KINDS, messageOf, OperatorError } from "../values/errors.ts";
import { listenError, listenReasonOf } from "../values/listen_error.ts";
import { sessionCookie, sessionsIn } from "./cookie.ts";
import type { DaemonLink } from "./daemon_link.ts";
import { Entrance } from "./entrance.ts";
import { Forwarder } from "./forwarder.ts";
import { LiveFeed } from "./live_feed.ts";
import { LOGIN_PATH, smallPage } from "./login_page.ts";
import { hostsOf, isOwnSite, isRead, refuseForeign } from "./origin.ts";
import type { Page } from "./page.ts";
import { Refused } from "./refused.ts";
import { readTarget, type Target } from "./target.ts";

/** Options of `Bridge.open`. */
export interface BridgeOptions {
  /** Where it listens; port 0 takes any free one. */
  readonly address: Address;
  /** Names beside the address by which browsers may ask. */
  readonly hosts?: readonly string[];
  readonly daemon: DaemonLink;
  readonly page: Page;
  /** Whether requests that change something are passed on. */
  readonly writes: boolean;
  /** The token that works again and again; undefined: links alone, which `link` makes. */
  readonly token?: string;
  /** Viewers at a time. */
  readonly viewersMax: number;
  /** Told of each viewer that is dropped because it does not read. */
  readonly onDrop?: () => void;
  /** Told of an error that is a fault of the program. */
  readonly onFault?: (error: unknown) => void;
  /** Called when it has ended: it asks the daemon nothing more. */
  readonly onEnd?: () => void;
  readonly nowMs?: () => number;
  /** How long a request may take to arrive. */
  readonly requestTimeMaxMs?: number;
  /** How far a viewer may fall behind, in bytes. */
  readonly behindBytesMax?: number;
  /** How often the daemon is asked. */
  readonly periodMs?: number;
}

/** Connections beside those of viewers: each page has some for its requests. */
const OTHER_CONNECTIONS_MAX = 256;
/** How long requests may still take when it is disposed of. */
const SHUTDOWN_MAX_MS = 500;
const FORM = "application/x-www-form-urlencoded";

/** Of every answer: nothing of it is kept, guessed, framed or shown to other sites. */
const HEADERS: Readonly<Record<string, string>> = {
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
};

const WHERE_LINKS_ARE = "press Enter where <code>balancerctl dashboard</code> runs, and open the link that it prints";

/** A dashboard that is served. Disposing of it closes its port. */
export class Bridge implements AsyncDisposable {
  readonly #options: BridgeOptions;
  readonly #entrance: Entrance;
  readonly #feed: LiveFeed;
  readonly #forwarder: Forwarder;
  readonly #http: HttpServer;
  #server: Server | undefined;
  #hosts: ReadonlySet<string> = new Set();

  private constructor(options: BridgeOptions) {
    const { daemon, writes, viewersMax, onDrop = () => {}, requestTimeMaxMs = LIMITS.requestTimeMaxMs } = options;
    const { behindBytesMax, periodMs } = options;
    this.#options = options;
    this.#entrance = new Entrance(options);
    this.#feed = new LiveFeed({ daemon, writes, viewersMax, onDrop, behindBytesMax, periodMs });
    this.#forwarder = new Forwarder({ daemon, writes, keepMs: periodMs });
    this.#http = new HttpServer({
      name: "the dashboard",
      answer: async (request) => withHeaders(await this.#answer(request)),
      fail: (error) => withHeaders(this.#failure(error)),
      requestTimeMaxMs,
      requestBytesMax: () => LIMITS.requestBytesMax,
      requestHeadersMax: LIMITS.requestHeadersMax,
      connectionsMax: viewersMax + OTHER_CONNECTIONS_MAX,
      waitingMax: viewersMax + OTHER_CONNECTIONS_MAX,
    });
  }

  /** Listens on the address. Throws `listenError`. */
  static async open(options: BridgeOptions): Promise<Bridge> {
    const bridge = new Bridge(options);
    try {
      bridge.#server = await bridge.#http.listen(options.address);
    } catch (error) {
      throw listenError(options.address, listenReasonOf(error), "serve the dashboard");
    }
    const { port } = bridge.address;
    const { address: { host }, hosts = [] } = options;
    bridge.#hosts = hostsOf(bridge.address, isIp(host) ? hosts : [...hosts, formatAddress({ host, port })]);
    return bridge;
  }

  /** Where it listens, with the real port in place of 0. */
  get address(): Address {
    const { address: host, port } = this.#server!.address() as AddressInfo;
    return { host, port };
  }

  /** A URL that lets one browser in, once and for ten minutes. An earlier one that was not used works no more. */
  async link(): Promise<string> {
    return `http://${formatAddress(this.address)}/?token=${await this.#entrance.issue()}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server?.close();
    this.#feed[Symbol.dispose]();
    await this.#http.close(SHUTDOWN_MAX_MS);
    this.#options.onEnd?.();
  }

  async #answer(request: HttpRequest): Promise<Response> {
    const { method, header } = request;
    const target = readTarget(request.target);
    const [first] = target.parts;
    const token = first === "" && method === "GET" ? new URLSearchParams(target.query).get("token") : null;
    const said = { fetchSite: header("sec-fetch-site"), fetchMode: header("sec-fetch-mode") };
    refuseForeign({ method, host: header("host"), origin: header("origin"), ...said }, this.#hosts, token !== null);
    if (token !== null) return await this.#enter(token, request);
    if (first === LOGIN_PATH && method === "POST") return await this.#login(request);
    if (!await this.#hasSession(request)) return await this.#refuse(first === "" && isRead(method));
    return await this.#serve(target, request);
  }

  /** Answers who has a session. */
  async #serve({ parts, query }: Target, request: HttpRequest): Promise<Response> {
    const { method } = request;
    const [first] = parts;
    if (first === "v1") return await this.#forwarder.forward(method, { parts, query }, request);
    if (parts.length > 1 || !["", "live"].includes(first)) {
      throw new OperatorError("unknown", `The dashboard has no /${parts.join("/")}; it has /, /live and parts of /v1/`);
    }
    if (!isRead(method)) throw new OperatorError("notAllowed", `Method ${method} is not allowed; there are GET and HEAD`);
    if (first === "") return this.#page(request);
    return method === "HEAD" ? new Response(null) : this.#feed.open();
  }

  #page({ header }: HttpRequest): Response {
    const { html, gzip, policy } = this.#options.page;
    const headers = { "content-type": "text/html; charset=utf-8", "content-security-policy": policy, vary: "accept-encoding" };
    const takesGzip = /\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/i.test(header("accept-encoding"));
    return takesGzip
      ? new Response(gzip, { headers: { ...headers, "content-encoding": "gzip" } })
      : new Response(html, { headers });
  }

  async #hasSession({ header }: HttpRequest): Promise<boolean> {
    for (const session of sessionsIn(header("cookie"), this.address.port)) {
      if (await this.#entrance.isSession(session)) return true;
    }
    return false;
  }

  /** The token of a URL: it is exchanged for a cookie, and leaves the address bar. */
  async #enter(token: string, request: HttpRequest): Promise<Response> {
    const session = await this.#entrance.exchange(token);
    if (session === undefined) return await this.#refuse(true);
    if (isOwnSite(request.header("sec-fetch-site"))) return this.#admit(session, request, new Response(null, { status: 303 }));
    // It was led here by another site, and the browser would send no cookie where a redirection leads: the page goes on by itself.
    return this.#admit(
      session,
      request,
      await smallPage({ text: `<a href="/">Open the dashboard</a>`, status: 200, goesOn: true }),
    );
  }

  async #login(request: HttpRequest): Promise<Response> {
    if (!request.header("content-type").startsWith(FORM)) throw new Refused("badRequest", `A token is sent as ${FORM}`);
    const session = await this.#entrance.exchange(new URLSearchParams(request.body).get("token") ?? "");
    if (session === undefined) return await this.#refuse(true, "This token is wrong. ");
    return this.#admit(session, request, new Response(null, { status: 303 }));
  }

  #admit(session: string, { header }: HttpRequest, answer: Response): Response {
    const isSecure = header("origin").startsWith("https://");
    answer.headers.set("set-cookie", sessionCookie(session, this.address.port, isSecure));
    if (answer.status === 303) answer.headers.set("location", "/");
    return answer;
  }

  /** The answer for somebody without a session: a page for a person, a sentence for a program. */
  async #refuse(isPerson: boolean, why = ""): Promise<Response> {
    const hasForm = this.#options.token !== undefined;
    if (!isPerson) throw new Refused("noSession", "There is no session, or it is over: load the page again");
    const text = hasForm
      ? `${why}The dashboard opens with the token in the file of <code>--dashboard-token</code>.`
      : `The link was used, is old, or was not used here: ${WHERE_LINKS_ARE}.`;
    return await smallPage({ text, status: 401, hasForm });
  }

  /** The answer for an error. Any but an operator error and a refusal is a fault of the program. */
  #failure(error: unknown): Response {
    if (error instanceof Refused) return failed("refused", error.message, error.status);
    if (error instanceof OperatorError) return failed(error.kind, error.message, ERROR_KINDS[error.kind].status);
    this.#options.onFault?.(error);
    return failed("failed", `Internal error: ${messageOf(error)}`, ERROR_KINDS.failed.status);
  }
}

/** In the form of the daemon's own failures. */
function failed(kind: string, message: string, status: number): Response {
  return Response.json({ error: { kind, message } }, { status });
}

function withHeaders(answer: Response): Response {
  for (const [name, value] of Object.entries(HEADERS)) if (!answer.headers.has(name)) answer.headers.set(name, value);
  return answer;
}
