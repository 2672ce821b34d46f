/** A balancer's processes being replaced by new ones: when that is done, and what the old ones still have. */

import { pause } from "./bounds.ts";
import type { Balancer } from "./losses.ts";
import { heldBy } from "./sockets.ts";

/** How a balancer is replaced. */
export interface Replacing {
  /** Where clients connect. */
  readonly port: number;
  /** The processes that serve now. */
  processes(): Promise<readonly number[]>;
  /** Begins it, at least. */
  replace(): Promise<void>;
  /** Whether old processes end by themselves, and not when the last of their clients leaves. */
  readonly endsOld: boolean;
  readonly signal: AbortSignal;
}

/** How long it may take until old processes have ended. */
const RELOAD_MAX_MS = 20_000;
/** Between two looks at them. */
const LOOK_EVERY_MS = 20;

/** What a balancer that can be replaced does, for the rounds. */
export function replaceable(
  { port, processes, replace, endsOld, signal }: Replacing,
): Required<Pick<Balancer, "reload" | "countWithOld">> {
  let old: readonly number[] = [];
  const isDone = async () => {
    const { listens, connections } = await heldBy(old, port);
    return !listens && (!endsOld || connections === 0);
  };
  return {
    reload: async () => {
      old = await processes();
      await replace();
      for (const deadlineMs = performance.now() + RELOAD_MAX_MS; !await isDone(); await pause(LOOK_EVERY_MS, signal)) {
        if (performance.now() > deadlineMs) throw new Error(`The old processes are still at work after ${RELOAD_MAX_MS / 1000} s`);
      }
    },
    countWithOld: async () => (await heldBy(old, port)).connections,
  };
}
