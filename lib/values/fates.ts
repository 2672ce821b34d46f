/** Fates: the causes that end a connection, of which each has exactly one. */

import { parseChoice } from "./choice.ts";

/** The one cause that ended a connection, and how loudly the log says so. */
export const FATES = {
  done: { level: "debug", help: "both sides had finished" },
  client_gone: { level: "info", help: "the client reset the connection or vanished" },
  server_closed: { level: "info", help: "the server closed before it had taken all that the client sent" },
  server_lost: { level: "info", help: "the server reset the connection or vanished" },
  redistribute_refused: {
    level: "info",
    help: "the server was lost, and --redistribute did not help: too much was said, too often, in TLS, or the server spoke first",
  },
  connect_failed: { level: "warning", help: "no server that was tried accepted the connection" },
  no_server: { level: "warning", help: "there was no server in the pool" },
  refused_limit: { level: "warning", help: "the balancer, or every server, had as many connections as it may have" },
  idle_timeout: { level: "info", help: "nothing moved for the idle timeout" },
  removed: { level: "info", help: "the server was removed and the drain time was over" },
  stopped: { level: "info", help: "the balancer stopped and the grace time was over" },
  worker_lost: { level: "error", help: "the thread that moved its bytes died of a fault of the balancer's own; the log has it" },
  failed: { level: "error", help: "a fault of the balancer's own; the log has it" },
} as const;

/** A row of FATES. */
export type Fate = keyof typeof FATES;

/** The names of all fates. */
export const FATE_NAMES = Object.keys(FATES) as Fate[];

/** The fate of this name. Throws a `usage` error. */
export function parseFate(text: string): Fate {
  return parseChoice(text, { what: "fate", choices: FATE_NAMES, help: "balancerctl recent" });
}

/** A number for every fate. */
export function countFates(read: (fate: Fate) => number): Record<Fate, number> {
  return Object.fromEntries(FATE_NAMES.map((fate) => [fate, read(fate)])) as Record<Fate, number>;
}
