/** What events tell of servers, tiers, commands and listeners: each as one sentence. Records nothing. */

import type { ServerCondition } from "../health/admission.ts";
import type { WorkerEvent } from "../engine/engine.ts";
import type { NewEvent } from "../observe/events.ts";
import type { TierRange } from "../routing/tiers.ts";
import { plural } from "../values/count.ts";
import type { Removal } from "./removals.ts";

/** A server of a service, by name. */
interface Named {
  readonly service: string;
  readonly server: string;
}

/** A server has another state, with so many connections. */
export function conditionEvent(named: Named, { state, reason }: ServerCondition, open: number): NewEvent {
  if (state === "up") return { kind: "server", ...named, text: `Server ${named.server} is up` };
  const level = state === "down" || state === "resting" ? "warning" : "info";
  const text = `Server ${named.server} is ${state}: ${reason}; it has ${plural(open, "open connection")}`;
  return { kind: "server", level, ...named, text };
}

/** A server has entered a pool, or is in it again. */
export function addedEvent(named: Named): NewEvent {
  return { kind: "server", ...named, text: `Server ${named.server} is in the pool` };
}

/** A removed server has no connection any more. */
export function removedEvent(named: Named, { open, moved, ended }: Removal): NewEvent {
  const others = `${moved} moved, ${open - moved - ended} finished and ${ended} ${ended === 1 ? "was" : "were"} reset`;
  const became = open === 0 ? "it had no open connections" : `of ${plural(open, "open connection")} ${others}`;
  return { kind: "drain", level: ended > 0 ? "warning" : "info", ...named, text: `Server ${named.server} is removed: ${became}` };
}

/** Other tiers are in use. */
export function tiersEvent(service: string, { low, high }: TierRange): NewEvent {
  const tiers = low === high ? `tier ${low}` : `tiers ${low} to ${high}`;
  const level = low === 0 && high === 0 ? "info" : "warning";
  return { kind: "server", level, service, text: `New clients of ${service} use ${tiers}` };
}

/** A rebalance is over. */
export function rebalancedEvent(service: string, { moved, away }: { readonly moved: number; readonly away: number }): NewEvent {
  const text = `Rebalanced ${service}: ${moved} of ${plural(away, "connection")} moved to their owners`;
  return { kind: "drain", service, text };
}

/** A worker of the engine was lost, or replaced. */
export function workerEvent({ worker, lost, reason }: WorkerEvent): NewEvent {
  if (reason === undefined) return { kind: "worker", text: `Worker ${worker} is replaced` };
  const text = `Worker ${worker} died and ${plural(lost, "connection")} with it: ${reason}`;
  return { kind: "worker", level: "error", text };
}

/** What a command was about, who gave it, and what it was. */
export interface Told {
  readonly what: string;
  readonly who?: string;
  readonly service?: string;
  readonly server?: string;
}

/** A command was carried out. `effect` is what came of it, as clauses. */
export function commandEvent({ what, who, service, server }: Told, effect: readonly string[]): NewEvent {
  return { kind: "command", who, service, server, text: `${capitalised(what)}: ${effect.join("; ")}` };
}

/** A command was refused, or failed. */
export function refusedEvent({ what, who, service, server }: Told, why: string): NewEvent {
  return { kind: "command", level: "warning", who, service, server, text: `${capitalised(what)}: not done: ${why}` };
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
