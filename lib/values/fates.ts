/** Fates: the causes that can end a connection. Each connection has exactly one. */

import { parseChoice } from "./choice.ts";

/** Every fate: the log level of its line, and what it means. */
export const FATES = {
  done: { level: "debug", help: "both sides finished" },
  client_gone: { level: "info", help: "the client reset the connection or vanished" },
  server_closed: { level: "info", help: "the server closed the connection before it had received everything the client sent" },
  server_lost: { level: "info", help: "the server reset the connection or vanished" },
  redistribute_refused: {
    level: "info",
    help: "the server was lost, and the connection could not move: too many bytes or replays, TLS, or the server spoke first",
  },
  connect_failed: { level: "warning", help: "none of the servers tried accepted the connection" },
  no_server: { level: "warning", help: "the pool was empty" },
  refused_limit: { level: "warning", help: "the balancer, or every server, was at its connection limit" },
  proxy_refused: { level: "warning", help: "the client sent a PROXY header, and its address is not in --accept-proxy" },
  proxy_malformed: {
    level: "warning",
    help: "the client did not begin with a valid PROXY header, and its address is in --accept-proxy",
  },
  proxy_timeout: { level: "warning", help: "the client's PROXY header did not arrive within --proxy-timeout" },
  idle_timeout: { level: "info", help: "no data passed in either direction for the idle timeout" },
  removed: { level: "info", help: "the server was removed and the drain time ended" },
  stopped: { level: "info", help: "the balancer was stopped and the grace time ended" },
  worker_lost: { level: "error", help: "the worker thread of the connection crashed; the log has the cause" },
  failed: { level: "error", help: "internal error; the log has the cause" },
} as const;

export type Fate = keyof typeof FATES;

/** The names of all fates, in the order of FATES. */
export const FATE_NAMES = Object.keys(FATES) as Fate[];

/** The fate of this name. Throws a `usage` error. */
export function parseFate(text: string): Fate {
  return parseChoice(text, { what: "fate", choices: FATE_NAMES, help: "balancerctl recent" });
}

/** The record that has `read(fate)` for every fate. */
export function countFates(read: (fate: Fate) => number): Record<Fate, number> {
  return Object.fromEntries(FATE_NAMES.map((fate) => [fate, read(fate)])) as Record<Fate, number>;
}
