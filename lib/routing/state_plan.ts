/** Predicts a change of several services at once: the plan of each, and their totals. Plain data, to be shown and to be sent. */

import { type PlannedConnections, sumConnections } from "./forecast.ts";
import { planTransition, type TransitionPlan, type TransitionRequest } from "./plan.ts";

/** What happens to a service, in the order in which totals list it. */
export const SERVICE_CHANGES = ["added", "removed", "changed", "unchanged"] as const;
export type ServiceChange = typeof SERVICE_CHANGES[number];

/** A service of one state, the other, or both. */
export interface ServiceTransition {
  readonly service: string;
  readonly change: ServiceChange;
  /** What differs, in words: a line for every setting, listener and server. */
  readonly lines: readonly string[];
  /** The tables; that of a service that is not there is empty. Undefined if neither clients nor connections can be affected. */
  readonly transition?: TransitionRequest;
}

/** What becomes of a service. */
export interface ServicePlan {
  readonly service: string;
  readonly change: ServiceChange;
  readonly lines: readonly string[];
  /** Null if neither clients nor connections are affected. */
  readonly plan: TransitionPlan | null;
}

/** What becomes of all services. */
export interface StatePlan {
  /** In the order of the request. */
  readonly services: readonly ServicePlan[];
  /** What differs in the settings of the daemon: a line for each. */
  readonly daemon: readonly string[];
  readonly totals: {
    readonly services: Readonly<Record<ServiceChange, number>>;
    readonly servers: { readonly added: number; readonly removed: number; readonly changed: number };
    readonly connections: readonly PlannedConnections[];
  };
}

/**
 * Predicts what becomes of the services if all of them change at once. Each has its own servers and connections. `daemon` says what
 * changes in the settings of the daemon.
 */
export function planState(transitions: readonly ServiceTransition[], daemon: readonly string[] = []): StatePlan {
  const services = transitions.map(({ transition, ...service }): ServicePlan => ({
    ...service,
    plan: transition === undefined ? null : planTransition(transition),
  }));
  const plans = services.flatMap(({ plan }) => plan ?? []);
  const countServers = (kind: "added" | "removed" | "changed") => plans.reduce((sum, { servers }) => sum + servers[kind].length, 0);
  return {
    services,
    daemon,
    totals: {
      services: countChanges(services),
      servers: { added: countServers("added"), removed: countServers("removed"), changed: countServers("changed") },
      connections: sumConnections(plans.flatMap(({ connections }) => connections)),
    },
  };
}

function countChanges(services: readonly ServicePlan[]): Record<ServiceChange, number> {
  const counts = { added: 0, removed: 0, changed: 0, unchanged: 0 };
  for (const { change } of services) counts[change]++;
  return counts;
}
