/**
 * Looks up the IP addresses of hosts, for checks and for clients. Deno resolves names on the few threads that also write files, and
 * a look-up cannot be cancelled: one name with a dead name server could occupy all of them. So all who want the addresses of a host
 * at the same time share one look-up, and only LOOKUPS_MAX run at a time; the others wait for their turn.
 */

import { lookup } from "node:dns/promises";
import { isIp } from "../values/address.ts";

/** Look-ups at a time. Deno has 32 threads for these and for files. */
const LOOKUPS_MAX = 8;

/** Finds the IP addresses of a host, at least one; rejects if there is none. */
export type FindIps = (host: string) => Promise<readonly string[]>;

/** The look-ups of one group, which share the limit. */
export class Lookups {
  /** Queued or running, by host. */
  readonly #underWay = new Map<string, Promise<readonly string[]>>();
  readonly #turns: (() => void)[] = [];
  #running = 0;

  /** `ask` looks a host up; by default it asks the system's resolver, which returns addresses in its order of preference. */
  constructor(readonly ask: FindIps = askSystem) {}

  /** The host's IP addresses. A look-up goes on after those who want it have given up; they bring their own time limit. */
  readonly find: FindIps = (host) => {
    if (isIp(host)) return Promise.resolve([host]);
    const found = this.#underWay.get(host) ?? this.#lookUp(host);
    this.#underWay.set(host, found);
    return found;
  };

  async #lookUp(host: string): Promise<readonly string[]> {
    if (this.#running < LOOKUPS_MAX) this.#running++;
    else await new Promise<void>((resolve) => this.#turns.push(resolve));
    try {
      return await this.ask(host);
    } finally {
      this.#underWay.delete(host);
      const next = this.#turns.shift(); // the next look-up takes over this place
      if (next === undefined) this.#running--;
      else next();
    }
  }
}

/** The look-ups of this process: they share its threads. */
export const findIps: FindIps = new Lookups().find;

async function askSystem(host: string): Promise<readonly string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address);
}
