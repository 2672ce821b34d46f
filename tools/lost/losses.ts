/** The ways to lose a server, a row for each: how it comes about, and how the server comes back. */

import type { Address } from "../../lib/values/address.ts";
import { pause } from "./bounds.ts";
import type { ServerProcess } from "./server_process.ts";

/** A balancer as the rounds need it. What it cannot do it does not have. */
export interface Balancer {
  /** Where clients connect. */
  readonly address: Address;
  /** Takes a server out of the pool; resolves when it has no connections any more. */
  remove?(server: Address): Promise<void>;
  /** Puts a server into the pool. */
  add?(server: Address): Promise<void>;
  /** What it has counted. */
  status?(): Promise<Counts>;
}

/** What `balancerctl status --json` says of connections. */
export interface Counts {
  readonly connections: { readonly accepted: number; readonly open: number };
  readonly fates: Readonly<Record<string, number>>;
}

/** Who is lost. */
export interface Scene {
  readonly server: ServerProcess;
  readonly balancer: Balancer;
  readonly signal: AbortSignal;
}

interface Loss {
  readonly summary: string;
  /** It needs a balancer with a pool that can be changed. */
  readonly changesPool?: boolean;
  /** The loss begins before this returns, and is complete when it resolves. */
  lose(scene: Scene): Promise<void>;
  /** Resolves when the server is back, though the balancer may not know it. */
  restore(scene: Scene): Promise<void>;
}

/** Longer than checks take to find a server silent (see contenders.ts), and shorter than any client's patience. */
const PAUSE_MS = 2000;

const ROWS = {
  kill: {
    summary: "its process is killed (SIGKILL)",
    lose: ({ server }) => server.kill(),
    restore: ({ server }) => server.start(),
  },
  stop: {
    summary: "it falls silent without closing anything (SIGSTOP), and is killed later",
    lose: async ({ server }) => await server.stop(),
    restore: async ({ server }) => {
      await server.kill();
      await server.start();
    },
  },
  pause: {
    summary: `it is silent for ${PAUSE_MS / 1000} s and then goes on (SIGSTOP, SIGCONT)`,
    lose: async ({ server, signal }) => {
      server.stop();
      await pause(PAUSE_MS, signal).finally(() => server.goOn());
    },
    restore: () => Promise.resolve(),
  },
  remove: {
    summary: "it is removed from the pool, and is well",
    changesPool: true,
    lose: async ({ server, balancer }) => await balancer.remove?.(server.address),
    restore: async ({ server, balancer }) => await balancer.add?.(server.address),
  },
} as const satisfies Record<string, Loss>;

/** A row of LOSSES. */
export type LossName = keyof typeof ROWS;

/** Every way. */
export const LOSSES: Readonly<Record<LossName, Loss>> = ROWS;

/** The names of all ways. */
export const LOSS_NAMES = Object.keys(ROWS) as LossName[];
