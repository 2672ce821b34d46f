/**
 * The addresses of servers known by name, cached for a moment, so that a burst of clients asks once. A failure is cached, too, or
 * every client would ask a dead name server.
 */

import { type FindIps, findIps } from "../../health/find_ips.ts";
import { isIp } from "../../values/address.ts";
import { LIMITS } from "../../values/config.ts";

/** Finds and caches IP addresses. */
export class NameCache {
  readonly #answers = new Map<string, Promise<readonly string[]>>();

  constructor(readonly ask: FindIps = findIps, readonly cachedMs: number = LIMITS.namesCachedMs) {}

  /** The host's IP addresses, at least one, in the system's order of preference. Rejects if there is none. */
  find(host: string): Promise<readonly string[]> {
    if (isIp(host)) return Promise.resolve([host]);
    const known = this.#answers.get(host);
    if (known !== undefined) return known;
    const answer = this.ask(host);
    this.#answers.set(host, answer);
    const forget = () => Deno.unrefTimer(setTimeout(() => this.#answers.delete(host), this.cachedMs));
    answer.then(forget, forget);
    return answer;
  }
}
