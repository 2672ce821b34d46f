/**
 * What one engine can do and another cannot: a row for each difference that an operator may meet. The docs, the daemon's warnings and the
 * tests read it; an engine names in its `cannot` the rows that it falls short of.
 */

import type { EngineKind } from "./engine.ts";

/** A difference, in words. */
export interface Difference {
  readonly what: string;
  /** What an engine does that can, and one that cannot. */
  readonly can: string;
  readonly cannot: string;
  /** Flags that have no effect, or not all of it, where it cannot. */
  readonly flags?: readonly string[];
}

/** Every ability. */
export const ABILITIES = {
  reset: {
    what: "a reset by one side",
    can: "reaches the other side as a reset",
    cannot: "reaches the other side as an end: Deno has no SO_LINGER",
  },
  cut: {
    what: "a connection that is cut off",
    can: "is reset, so that nobody takes it for complete",
    cannot: "ends, because a Deno connection cannot send a reset",
  },
  lateReset: {
    what: "a server that closes a connection and then resets it",
    can: "is noticed at once",
    cannot: "is noticed when the client sends again, or by the idle timeout",
  },
  stalledReset: {
    what: "a client that resets while its server reads nothing",
    can: "is noticed at once",
    cannot: "is noticed when the server reads again, or by the idle timeout",
  },
  silence: {
    what: "a host that disappears with data unacknowledged",
    can: "it is lost after `--user-timeout` or `--server-timeout`",
    cannot: "it is lost when the kernel gives up, after about 15 minutes; a server earlier, by its checks",
    flags: ["user-timeout", "server-timeout"],
  },
  keepAliveTime: {
    what: "`--keep-alive TIME`",
    can: "sets the time before keep-alive probes start",
    cannot: "keep-alive is on with the system's times (Linux: 2 hours), or off",
    flags: ["keep-alive"],
  },
  threads: {
    what: "`--workers`, `--busy-poll`",
    can: "set the number of threads, and how they wait",
    cannot: "everything runs on one thread",
    flags: ["workers", "busy-poll"],
  },
  urgentData: {
    what: "TCP urgent data",
    can: "arrives in its place among the other bytes",
    cannot: "loses the urgent byte",
  },
} as const satisfies Record<string, Difference>;

/** A row of ABILITIES. */
export type Ability = keyof typeof ABILITIES;

/** Warnings, in sentences, for settings that were given and that the engine cannot honour. `off` always can be. */
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
