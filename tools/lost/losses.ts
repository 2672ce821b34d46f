/** The ways to lose a server, or the balancer's own process, a row for each: how it comes about, and how all comes back. */

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
  /**
   * Puts a new process into its own place; resolves when that accepts in the old one's place, and, where old processes end by
   * themselves, when those have ended.
   */
  reload?(): Promise<void>;
  /** Clients' connections that processes from before the last reload still have. */
  countWithOld?(): Promise<number>;
  /** What it has counted. */
  status?(): Promise<Counts>;
}

/** What `balancerctl status --json` says of connections. */
export interface Counts {
  readonly connections: { readonly accepted: number; readonly open: number };
  readonly fates: Readonly<Record<string, number>>;
}

/** Where it happens. */
export interface Scene {
  /** The server that is lost, if a server is. */
  readonly server: ServerProcess;
  readonly balancer: Balancer;
  readonly signal: AbortSignal;
}

/** A way. */
export interface Loss {
  readonly summary: string;
  /** What is lost: a server, which concerns its clients, or the balancer's process, which concerns everybody. */
  readonly what: "server" | "balancer";
  /** The loss begins before this returns, and is complete when it resolves. */
  lose(scene: Scene): Promise<void>;
  /** Resolves when the server is back, though the balancer may not know it. */
  restore(scene: Scene): Promise<void>;
}

/** Longer than checks take to find a server silent (see contenders.ts), and shorter than any client's patience. */
const PAUSE_MS = 2000;

const ROWS = {
  kill: {
    summary: "the server's process is killed (SIGKILL)",
    what: "server",
    lose: ({ server }) => server.kill(),
    restore: ({ server }) => server.start(),
  },
  stop: {
    summary: "the server falls silent without closing anything (SIGSTOP), and is killed later",
    what: "server",
    lose: async ({ server }) => await server.stop(),
    restore: async ({ server }) => {
      await server.kill();
      await server.start();
    },
  },
  pause: {
    summary: `the server is silent for ${PAUSE_MS / 1000} s and then goes on (SIGSTOP, SIGCONT)`,
    what: "server",
    lose: async ({ server, signal }) => {
      server.stop();
      await pause(PAUSE_MS, signal).finally(() => server.goOn());
    },
    restore: () => Promise.resolve(),
  },
  remove: {
    summary: "the server is removed from the pool, and is well",
    what: "server",
    lose: async ({ server, balancer }) => await balancer.remove?.(server.address),
    restore: async ({ server, balancer }) => await balancer.add?.(server.address),
  },
  reload: {
    summary: "the balancer itself is replaced by a new process, and the servers are well",
    what: "balancer",
    lose: async ({ balancer }) => await balancer.reload?.(),
    restore: () => Promise.resolve(),
  },
} as const satisfies Record<string, Loss>;

/** A row of LOSSES. */
export type LossName = keyof typeof ROWS;

/** Every way. */
export const LOSSES: Readonly<Record<LossName, Loss>> = ROWS;

/** The names of all ways. */
export const LOSS_NAMES = Object.keys(ROWS) as LossName[];
