/** Which servers' connections were reset, second by second, as the series counts them. Pure. */

import type { History } from "./history.ts";

/** Connections of a server that were cut. */
export interface Reset {
  readonly at: number;
  readonly server: string;
  readonly count: number;
}

/** The resets from one second to another, both included, server by server and in the order of time. */
export function resetsOf(history: History, from: number, to: number): Reset[] {
  return history.servers.flatMap((server) =>
    history.cutsOf(server).filter(({ at }) => at >= from && at <= to).map((cut) => ({ ...cut, server }))
  );
}
