/**
 * Looks up server names. Deno resolves names on the few threads that also write files, and a look-up cannot be cancelled: one name
 * with a dead name server, looked up for every client, would occupy all of them. So concurrent look-ups of one name share one
 * request, the number of look-ups at a time is limited, and answers are cached for a moment.
 */

import { lookup } from "node:dns/promises";
import { isIP } from "node:net";

/** How long an answer is cached: shorter than the TTLs of name servers, longer than a burst of clients. */
const ANSWER_MS = 5000;
/** Concurrent look-ups. Deno has 32 threads for these and for files. */
const LOOKUPS_MAX = 8;

/** Finds the IP addresses of hosts. */
export class NameLookup {
  readonly #answers = new Map<string, Promise<readonly string[]>>();
  #underWay = 0;

  /**
   * The host's IP addresses, at least one, in the system's order of preference. Rejects if there is none, or at the limit of
   * look-ups.
   */
  find(host: string): Promise<readonly string[]> {
    if (isIP(host) !== 0) return Promise.resolve([host]);
    const known = this.#answers.get(host);
    if (known !== undefined) return known;
    if (this.#underWay >= LOOKUPS_MAX) return Promise.reject(new Error("too many names are being looked up"));
    const answer = this.#ask(host);
    this.#answers.set(host, answer);
    return answer;
  }

  async #ask(host: string): Promise<readonly string[]> {
    this.#underWay++;
    try {
      return (await lookup(host, { all: true })).map(({ address }) => address);
    } finally {
      this.#underWay--;
      Deno.unrefTimer(setTimeout(() => this.#answers.delete(host), ANSWER_MS));
    }
  }
}
