/**
 * What one engine can do and another cannot: one row for each difference that an operator can notice. The docs, the daemon's
 * warnings and the tests read this table; each engine lists in its `cannot` the rows that it does not support.
 */

import type { EngineKind } from "./engine.ts";

/** A difference, in words. */
interface Difference {
  readonly what: string;
  /** What happens in an engine that has the ability, and in one that does not. */
  readonly can: string;
  readonly cannot: string;
  /** Flags that have no effect, or only part of it, in an engine without the ability. */
  readonly flags?: readonly string[];
}

/** Every ability. */
export const ABILITIES = {
  reset: {
    what: "a reset by one side",
    can: "reaches the other side as a reset",
    cannot: "reaches the other side as a FIN: Deno has no SO_LINGER",
  },
  cut: {
    what: "a connection that the balancer cuts",
    can: "is reset, so the peer can tell that its data is incomplete",
    cannot: "ends with a FIN, because a Deno connection cannot send a reset",
  },
  lateReset: {
    what: "a server that closes a connection and then resets it",
    can: "is noticed at once",
    cannot: "is noticed when the client next sends, or at the idle timeout",
  },
  stalledReset: {
    what: "a client that resets while its server reads nothing",
    can: "is noticed at once",
    cannot: "is noticed when the server reads again, or at the idle timeout",
  },
  silence: {
    what: "a host that disappears with data unacknowledged",
    can: "the connection is lost after `--user-timeout` or `--server-timeout`",
    cannot:
      "the connection is lost when the kernel gives up, after about 15 minutes; a server's earlier, when its health checks fail",
    flags: ["user-timeout", "server-timeout"],
  },
  keepAliveTime: {
    what: "`--keep-alive TIME`",
    can: "sets the time before keep-alive probes start",
    cannot: "keep-alive is on with the system's times (Linux: 2 hours), or off",
    flags: ["keep-alive"],
  },
  deferAccept: {
    what: "`--defer-accept`",
    can: "accepts a client when its first bytes arrive",
    cannot: "a client is accepted when it connects: Deno has no TCP_DEFER_ACCEPT",
    flags: ["defer-accept"],
  },
  threads: {
    what: "`--workers`, `--busy-poll`, `--batch`",
    can: "set the number of threads, and how they wait",
    cannot: "everything runs on one thread",
    flags: ["workers", "busy-poll", "batch"],
  },
  refusal: {
    what: "a client that is refused after it has sent something",
    can: "gets a FIN",
    cannot: "gets a reset: Deno cannot discard what it has sent",
  },
  waitingEnd: {
    what: "a client that leaves while it waits for a place (`--queue`), or for a server (`--hold`) after it has sent 16 KiB",
    can: "is noticed at once",
    cannot: "is noticed when its turn comes, or its time is over: Deno notices an end only by reading up to it",
    flags: ["queue"],
  },
  sources: {
    what: "`--source`",
    can: "server connections come from these addresses in turn",
    cannot: "the kernel chooses the address: Deno cannot bind a connection",
    flags: ["source"],
  },
  transparent: {
    what: "`--transparent`",
    can: "servers see the client's own address as the source",
    cannot: "servers see an address of the balancer: Deno has no IP_TRANSPARENT",
    flags: ["transparent"],
  },
  handover: {
    what: "`balancerctl upgrade`, and `restart`",
    can: "the listeners and all open connections go to the new process",
    cannot: "`upgrade` is refused, and `restart` stops and starts: Deno cannot be given a listener",
  },
  urgentData: {
    what: "TCP urgent data",
    can: "arrives in order with the other bytes",
    cannot: "loses the urgent byte",
  },
} as const satisfies Record<string, Difference>;
export type Ability = keyof typeof ABILITIES;

/** Warnings, in sentences, for settings that the engine cannot honour. Every engine honours `off`. */
export function warnOfSettings(
  name: string,
  { cannot }: Pick<EngineKind, "cannot">,
  given: Readonly<Record<string, string | undefined>>,
): string[] {
  return cannot.flatMap((ability) => {
    const { flags = [], cannot }: Difference = ABILITIES[ability];
    const asked = flags.filter((flag) => given[flag] !== undefined && given[flag] !== "off");
    return asked.map((flag) => `Engine ${name} cannot fully honour --${flag} ${given[flag]}: ${cannot}`);
  });
}
