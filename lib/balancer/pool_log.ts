/** What the log tells of connections that end or move, and of servers and tiers that change. */

import type { ServerCondition } from "../health/admission.ts";
import type { EndedConnection, MovedConnection } from "../observe/connections.ts";
import { logger } from "../observe/log.ts";
import type { TierRange } from "../routing/tiers.ts";
import { formatConnectionId } from "../values/connection_id.ts";
import { type Fate, FATE_NAMES, FATES } from "../values/fates.ts";

const log = logger("pool");
const connectionLog = logger("connection");

/** Logs which tiers are in use from now on. */
export function logTiers({ low, high }: TierRange, usable: readonly number[]): void {
  const servers = usable.slice(low, high + 1).reduce((sum, count) => sum + count, 0);
  const tiers = low === high ? `tier ${low}` : `tiers ${low} to ${high}`;
  const message = "New clients now use {tiers}, which have {servers} usable servers";
  log[low === 0 && high === 0 ? "info" : "warning"](message, { tiers, servers });
}

/** Logs a change of state by health. */
export function logCondition(server: string, { state, reason }: ServerCondition): void {
  if (state === "up") log.info("Server {server} is up again", { server });
  else if (state === "draining") log.info("Server {server} is draining: {reason}", { server, reason });
  else log.warn("Server {server} is {state}: {reason}", { server, state, reason });
}

/** The logger of ended connections. Log levels are looked up once, since thousands of connections may end per second. */
export function endLogger(startId: string): (ended: EndedConnection) => void {
  const wanted = new Set<Fate>(FATE_NAMES.filter((fate) => connectionLog.isEnabledFor(FATES[fate].level)));
  return (ended) => {
    const { fate } = ended;
    if (!wanted.has(fate)) return;
    const { client, server, attempts, moves, sentBytes, receivedBytes, durationMs, reason } = ended;
    const id = formatConnectionId(startId, ended.id);
    const facts = { id, fate, client, server, attempts, moves, sentBytes, receivedBytes, durationMs, reason };
    connectionLog[FATES[fate].level]("Connection from {client} ended: {fate}", facts);
  };
}

/** The logger of connections that moved to another server. */
export function moveLogger(startId: string): (moved: MovedConnection) => void {
  return (moved) => {
    if (!connectionLog.isEnabledFor("info")) return;
    const { client, from, to, loss, state, replayedBytes } = moved;
    const facts = { id: formatConnectionId(startId, moved.id), client, from, to, loss, state, replayedBytes };
    connectionLog.info("Connection from {client} moved from {from} to {to}", facts);
  };
}
