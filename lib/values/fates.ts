/** Fates: the causes that can end a connection. Each connection has exactly one. */

import { parseChoice } from "./choice.ts";

/** Who ended a connection. */
export type Ender = "client" | "server" | "balancer";

interface FateRow {
  readonly level: "debug" | "info" | "warning" | "error";
  readonly help: string;
  /** Who ends a connection with this fate, unless the other side had ended its half before. By default the balancer does. */
  readonly endedBy?: Exclude<Ender, "balancer">;
}

/** Every fate: the log level of its line, what it means, and who ended the connection. */
export const FATES = {
  done: { level: "debug", help: "both sides finished", endedBy: "client" },
  client_gone: { level: "info", help: "the client reset the connection or vanished", endedBy: "client" },
  server_closed: {
    level: "info",
    help: "the server closed the connection before it had received everything the client sent",
    endedBy: "server",
  },
  server_lost: { level: "info", help: "the server reset the connection or vanished", endedBy: "server" },
  redistribute_refused: {
    level: "info",
    help: "the server was lost, and the connection could not move: too many bytes or replays, TLS, or the server spoke first",
    endedBy: "server",
  },
  connect_failed: { level: "warning", help: "none of the servers tried accepted the connection" },
  no_server: { level: "warning", help: "the pool was empty" },
  refused_limit: { level: "warning", help: "the balancer, or every server, was at its connection limit" },
  hold_timeout: { level: "warning", help: "no server could take the client within --hold" },
  queue_timeout: { level: "warning", help: "the balancer was at --max-connections, and no place was free within --queue-timeout" },
  denied: { level: "debug", help: "the client's address is on the --deny list, or not on the --allow list" },
  client_limit: { level: "debug", help: "clients with the same address or prefix had --client-connections already" },
  client_rate: { level: "debug", help: "too many new connections from the same address or prefix (--client-rate)" },
  first_byte_timeout: { level: "info", help: "neither side had sent anything within --first-byte-timeout" },
  proxy_refused: { level: "warning", help: "the client sent a PROXY header, and its address is not in --accept-proxy" },
  proxy_malformed: {
    level: "warning",
    help: "the client did not begin with a valid PROXY header, and its address is in --accept-proxy",
  },
  proxy_timeout: { level: "warning", help: "the client's PROXY header did not arrive within --proxy-timeout" },
  hello_timeout: { level: "info", help: "the client's first TLS message did not arrive within --hello-timeout" },
  no_service: { level: "info", help: "no service of the listener is for the name and the protocols of the client (--sni, --alpn)" },
  idle_timeout: { level: "info", help: "no data passed in either direction for the idle timeout" },
  removed: { level: "info", help: "the server was removed and the drain time ended" },
  closed: { level: "info", help: "a person ended it: balancerctl close, or balancerctl move --force" },
  stopped: { level: "info", help: "the balancer was stopped and the grace time ended" },
  worker_lost: { level: "error", help: "the worker thread of the connection crashed; the log has the cause" },
  upgrade_lost: { level: "error", help: "one of the two processes of an upgrade ended while the connection was handed over" },
  failed: { level: "error", help: "internal error; the log has the cause" },
} as const satisfies Record<string, FateRow>;

export type Fate = keyof typeof FATES;

/** The names of all fates, in the order of FATES. */
export const FATE_NAMES = Object.keys(FATES) as Fate[];

/** The fate of this name. Throws a `usage` error. */
export function parseFate(text: string): Fate {
  return parseChoice(text, { what: "fate", choices: FATE_NAMES, help: "balancerctl recent" });
}

/**
 * Who ended a connection with this fate. `first` is the side whose FIN was passed on while the other side had not ended; undefined
 * if neither side's was.
 */
export function enderOf(fate: Fate, first: Exclude<Ender, "balancer"> | undefined): Ender {
  const { endedBy }: FateRow = FATES[fate];
  return endedBy === undefined ? "balancer" : first ?? endedBy;
}

/** The record that has `read(fate)` for every fate. */
export function countFates(read: (fate: Fate) => number): Record<Fate, number> {
  return Object.fromEntries(FATE_NAMES.map((fate) => [fate, read(fate)])) as Record<Fate, number>;
}
