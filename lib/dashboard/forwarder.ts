/**
 * Passes requests on to the daemon that the table allows. Those that read are answered with the same bytes for all who ask within a
 * second, so that a thousand pages that are opened cost the daemon what one does.
 */

import type { Forwarded } from "../control/client.ts";
import type { HttpRequest } from "../control/http.ts";
import { OperatorError } from "../values/errors.ts";
import { findAllowed } from "./allowed.ts";
import type { DaemonLink } from "./daemon_link.ts";
import { isRead } from "./origin.ts";
import { Refused } from "./refused.ts";
import type { Target } from "./target.ts";

/** How long an answer is good for others. */
const KEEP_MS = 1000;
/** Requests that the daemon has not answered. */
const WAITING_MAX = 64;

/** Options of a Forwarder. */
interface ForwarderOptions {
  readonly daemon: DaemonLink;
  /** Whether requests that change something are passed on. */
  readonly writes: boolean;
  readonly keepMs?: number;
}

/** Passes on the requests of one dashboard. */
export class Forwarder {
  readonly #options: ForwarderOptions;
  /** Answers to reads, by path and query. */
  readonly #answers = new Map<string, Promise<Forwarded>>();
  #waiting = 0;

  constructor(options: ForwarderOptions) {
    this.#options = options;
  }

  /** The daemon's answer, as it is. Throws `Refused` or an operator error for a request that is not passed on. */
  async forward(method: string, { parts, query }: Target, { header, body }: HttpRequest): Promise<Response> {
    const isReading = isRead(method);
    const row = findAllowed(isReading ? "GET" : method, parts);
    const path = `/${parts.map(encodeURIComponent).join("/")}${query === "" ? "" : `?${query}`}`;
    if (row.writes === undefined) return answerOf(await this.#read(path));
    if (!this.#options.writes) {
      throw new Refused(
        "foreign",
        "The dashboard is read-only: balancerctl dashboard --write serves one that may change something",
      );
    }
    if (!/^application\/json *(;|$)/i.test(header("content-type"))) {
      throw new Refused("badRequest", "A request that changes something has the content type application/json");
    }
    const json = parsed(body);
    this.#answers.clear(); // whoever asks next sees the change
    return answerOf(await this.#ask(method, path, json).finally(() => this.#answers.clear()));
  }

  #read(path: string): Promise<Forwarded> {
    const known = this.#answers.get(path);
    if (known !== undefined) return known;
    const answer = this.#ask("GET", path, undefined);
    this.#answers.set(path, answer);
    const forget = () => void (this.#answers.get(path) === answer && this.#answers.delete(path));
    answer.then(() => Deno.unrefTimer(setTimeout(forget, this.#options.keepMs ?? KEEP_MS)), forget);
    return answer;
  }

  async #ask(method: string, path: string, body: unknown): Promise<Forwarded> {
    if (this.#waiting >= WAITING_MAX) {
      throw new OperatorError("busy", `The daemon has ${WAITING_MAX} requests of the dashboard to answer, which is the limit`);
    }
    this.#waiting++;
    return await this.#options.daemon.forward(method, path, body).finally(() => this.#waiting--);
  }
}

function answerOf({ status, type, text }: Forwarded): Response {
  return new Response(text, { status, headers: { "content-type": type } });
}

/** The body of a request that changes something; undefined without one. */
function parsed(body: string): unknown {
  if (body === "") return undefined;
  try {
    return JSON.parse(body);
  } catch {
    throw new Refused("badRequest", "The body of the request is not JSON");
  }
}
