/**
 * The story of the live demo: a pool under clients that come and go. A server is killed and comes back, one is drained and put
 * back, one is added and removed; then the same again with other servers, until the signal.
 */

import { abortable, delay } from "@std/async";
import { type Address, formatAddress } from "../values/address.ts";
import type { Answers } from "../control/api.ts";
import { failWith } from "../values/errors.ts";
import type { ControlClient } from "../control/client.ts";
import { clientAddresses, DemoServer } from "./cast.ts";
import { gatherCrowd } from "./crowd.ts";
import { startPrivateBalancer } from "./private_balancer.ts";
import type { Stage } from "./stage.ts";

const CLIENTS = 240;
const LETTERS = ["a", "b", "c", "d", "e"] as const;
/** The one that is added. */
const NEWCOMER = "f";
/** Where servers listen if nobody else does: ports that a person recognizes again. */
const FIRST_PORT = 7001;
/** Time after which a connection counts as idle, and the time between two checks. */
const SETTINGS = ["--redistribute=idle", "--quiet=150ms", "--check-interval=1s"];
/** Connections that a rebalance brings home in a second: slow enough to be watched. */
const REBALANCE_RATE = 10;
const DRAIN = { text: "10s", ms: 10_000 } as const;
/** How long each scene stands. */
export const SCENE_MS = 20_000;

/** The pool of the live demo, with clients. */
export interface LivePool {
  readonly address: Address;
  readonly control: ControlClient;
  /** What XDG_RUNTIME_DIR must be for `balancerctl --name demo` to find the balancer. */
  readonly folder: string;
  readonly servers: Map<string, DemoServer>;
}

/** A server's figures. */
type Figures = Answers["server"];

/** One thing that happens. */
interface Scene {
  readonly title: (letter: string, address: string) => string;
  /** How many places after the round's first server its own is; undefined: the newcomer. */
  readonly place?: number;
  readonly act: (part: Part) => Promise<unknown>;
  /** What is worth saying when the scene has stood for a while. */
  readonly outcome?: (before: Figures, after: Figures) => string;
}

/** A server in its scene. */
interface Part {
  readonly pool: LivePool;
  readonly stack: AsyncDisposableStack;
  readonly letter: string;
  readonly server: DemoServer;
  readonly address: string;
}

/** What happens in a round. */
const ROUND: readonly Scene[] = [
  {
    title: () => "All servers are up, and clients come and go",
    place: 0,
    act: () => Promise.resolve(),
  },
  {
    title: (letter, address) => `Server ${letter}, ${address}, is killed`,
    place: 2,
    act: ({ server }) => server.kill(),
    outcome: (before, after) =>
      `Of its connections ${after.movedAway - before.movedAway} moved to other servers; ` +
      `${(after.fates.server_lost ?? 0) - (before.fates.server_lost ?? 0)} were in the middle of an answer and were reset`,
  },
  {
    title: (letter) => `Server ${letter} comes back; clients that connect again return to it`,
    place: 2,
    act: revive,
  },
  {
    title: () => "Open connections go home, too: balancerctl rebalance",
    place: 2,
    act: ({ pool }) => pool.control.startRebalance(REBALANCE_RATE),
  },
  {
    title: (_, address) => `Another one is drained for maintenance: balancerctl drain ${address}`,
    place: 3,
    act: ({ pool, address }) => pool.control.change(address, { draining: true }),
  },
  {
    title: (_, address) => `It is put back: balancerctl undrain ${address}`,
    place: 3,
    act: ({ pool, address }) => pool.control.change(address, { draining: false }),
  },
  {
    title: (_, address) => `A server is added: balancerctl add ${address.replace(":", " ")}`,
    act: async ({ pool, server }) => {
      const { host, port } = server.address;
      await pool.control.add({ address: host, port });
      await pool.control.startRebalance(REBALANCE_RATE);
    },
  },
  {
    title: (_, address) => `It is removed: balancerctl remove ${address.replace(":", " ")}`,
    act: ({ pool, address }) => pool.control.remove(address, DRAIN.text, DRAIN.ms),
  },
];

/** Starts the balancer and its servers. The stack ends them. Throws an operator error. */
export async function startLivePool(stack: AsyncDisposableStack, over: AbortSignal): Promise<LivePool> {
  const balancer = await startPrivateBalancer(SETTINGS, stack, over);
  const servers = new Map((await startServers(stack)).map((server) => [server.letter, server]));
  for (const { letter, address } of servers.values()) {
    if (letter !== NEWCOMER) await balancer.control.add({ address: address.host, port: address.port });
  }
  return { ...balancer, servers };
}

/** All on their ports of choice; where somebody has one of these, perhaps another demo, all on free ones. */
async function startServers(stack: AsyncDisposableStack): Promise<DemoServer[]> {
  const letters = [...LETTERS, NEWCOMER];
  const started = await Promise.allSettled(letters.map((letter, i) => DemoServer.start(letter, FIRST_PORT + i)));
  const servers = started.flatMap((one) => one.status === "fulfilled" ? [stack.use(one.value)] : []);
  if (servers.length === letters.length) return servers;
  await Promise.all(servers.map((server) => server.kill()));
  return await Promise.all(letters.map(async (letter) => stack.use(await DemoServer.start(letter))));
}

/** Where and when a story is played. */
export interface Play {
  readonly pool: LivePool;
  readonly stage: Stage;
  /** Ends the servers that come back. */
  readonly stack: AsyncDisposableStack;
  /** How long clients come and go before anything happens. */
  readonly steadyMs: number;
  readonly over: AbortSignal;
}

/** Lets clients come and the story happen until the signal. Resolves when all clients have left. Throws what fails. */
export async function playStory(play: Play): Promise<void> {
  const { pool, over } = play;
  const end = new AbortController();
  const ends = AbortSignal.any([over, end.signal]);
  const crowd = gatherCrowd(await clientAddresses(CLIENTS), pool.address, ends);
  try {
    await delay(Math.max(0, play.steadyMs - SCENE_MS), { signal: over });
    for (let round = 0;; round++) await playRound(round, play);
  } catch (error) {
    if (!over.aborted) throw error;
  } finally {
    end.abort();
    await crowd;
  }
}

async function playRound(round: number, play: Play): Promise<void> {
  for (const scene of ROUND) {
    const letter = scene.place === undefined ? NEWCOMER : LETTERS[(round + scene.place) % LETTERS.length];
    const server = play.pool.servers.get(letter)!;
    await playScene(scene, { pool: play.pool, stack: play.stack, letter, server, address: formatAddress(server.address) }, play);
  }
}

async function playScene({ title, act, outcome }: Scene, part: Part, { stage, over }: Play): Promise<void> {
  const { control } = part.pool;
  const before = outcome && await control.server(part.address);
  stage.scene(`${clock()}  ${title(part.letter, part.address)}`);
  await abortable(act(part), over);
  await delay(SCENE_MS / 2, { signal: over });
  if (before !== undefined) stage.say(outcome!(before, await control.server(part.address)));
  await delay(SCENE_MS / 2, { signal: over });
}

/** Starts a killed server where it was. Throws an operator error if it cannot. */
async function revive({ pool, stack, letter, server: { address } }: Part): Promise<void> {
  const taken = `Cannot bring server ${letter} back: port ${address.port} has been taken; start the demo again`;
  pool.servers.set(letter, stack.use(await DemoServer.start(letter, address.port).catch(failWith(taken))));
}

function clock(): string {
  return new Date().toISOString().slice(11, 19);
}
