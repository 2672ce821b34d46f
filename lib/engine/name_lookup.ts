/**
 * Looking up servers' names. Deno does it on the few threads that also write files, and a look-up cannot be taken back: one name
 * whose name server is silent, dialled for every client, would occupy them all. So each name is looked up once at a time, for
 * everybody who waits; few names at a time; and an answer is good for a moment.
 */

import { lookup } from "node:dns/promises";
import { isIP } from "node:net";

/** How long an answer is used again: shorter than what name servers ask for, longer than a burst of clients. */
const ANSWER_MS = 5000;
/** Look-ups at a time. Deno has 32 threads for them and for files. */
const LOOKUPS_MAX = 8;

/** Finds the IP addresses of hosts. */
export class NameLookup {
  readonly #answers = new Map<string, Promise<readonly string[]>>();
  #underWay = 0;

  /** The host's IP addresses, at least one, in the system's order of preference. Rejects where it has none or too much is asked. */
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
