/** Whether a balancer should get new clients from whoever asks: a load balancer in front, a cluster, an address that fails over. */

import type { ServerState } from "../routing/availability.ts";
import { plural } from "../values/count.ts";

/** What readiness depends on. */
export interface Conditions {
  /** It no longer accepts clients. */
  readonly stopping: boolean;
  /** It was told to stop, and still serves. */
  readonly isLameDuck: boolean;
  /** The number of servers in each state. */
  readonly servers: Readonly<Record<ServerState, number>>;
}

/** Why a balancer is not ready, each as a sentence; the first one that holds is told. */
const REASONS: readonly ((conditions: Conditions) => string | undefined)[] = [
  ({ stopping }) => stopping ? "The balancer is stopping" : undefined,
  ({ isLameDuck }) => isLameDuck ? "The balancer is about to stop" : undefined,
  ({ servers }) => sum(servers) === 0 ? "The pool is empty; balancerctl add adds a server" : undefined,
  ({ servers }) => {
    // A resting server gets clients if no other can, and is tried again within a minute at most.
    if (servers.up + servers.resting > 0) return undefined;
    const states = Object.entries(servers).filter(([, count]) => count > 0).map(([state, count]) => `${count} ${state}`);
    return `No server is up: ${states.join(", ")}; balancerctl list says why`;
  },
];

/** Why the balancer should get no new clients, as a sentence; undefined if it should. */
export function whyNotReady(conditions: Conditions): string | undefined {
  for (const reasonOf of REASONS) {
    const reason = reasonOf(conditions);
    if (reason !== undefined) return reason;
  }
}

/** In a sentence: why the balancer should get no new clients, or what serves them. */
export function describeReadiness(conditions: Conditions, services: number): string {
  const { servers } = conditions;
  const ready = `Ready: ${servers.up} of ${plural(sum(servers), "server")} up in ${plural(services, "service")}`;
  return whyNotReady(conditions) ?? ready;
}

function sum(servers: Conditions["servers"]): number {
  return Object.values(servers).reduce((sum, count) => sum + count, 0);
}
