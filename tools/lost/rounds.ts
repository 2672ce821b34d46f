/**
 * Rounds: in each of them a server, or the balancer's process, is lost at a random moment while all clients are at work, what that
 * was to every client is written down, and everything is put back. Then the books are checked: the servers' logs, and the
 * balancer's fates. No state but its own.
 */

import { pause } from "./bounds.ts";
import { type Client, type Manner, type State, STATES } from "./client.ts";
import { Clients, type Outcome, OUTCOMES, type Sighting } from "./clients.ts";
import { Ledger } from "./ledger.ts";
import { type Balancer, type Counts, type Loss, LOSSES, type LossName } from "./losses.ts";
import { Newcomers, type Visits } from "./newcomers.ts";
import { Random } from "../random.ts";
import type { ServerProcess } from "./server_process.ts";

/** What rounds are played with. */
export interface RoundsOptions {
  /** It has all of the servers in its pool. */
  readonly balancer: Balancer;
  /** They listen. */
  readonly servers: readonly ServerProcess[];
  readonly loss: LossName;
  readonly rounds: number;
  readonly clients: number;
  readonly manner: Manner;
  readonly seed: number;
  /** Whether a request may be delivered twice; `false` makes it a fault. */
  readonly mayRepeat: boolean;
  readonly signal: AbortSignal;
  /** Called after each round. */
  readonly onRound?: (round: Round) => void;
}

/** How many clients had which outcome. */
export type Outcomes = Readonly<Record<Outcome, number>>;

/** What one round, or several, came to. */
export interface Round {
  /** Those whom the loss concerned, by what they were doing then: who had the server that was lost, or everybody. */
  readonly lost: Readonly<Record<State, Outcomes>>;
  /** All others. */
  readonly others: Outcomes;
  /** Connections that ended by no wish of the client's after its outcome was known. */
  readonly strays: number;
  /** Deliveries of a request that had been delivered before. */
  readonly repeated: number;
  /** Clients without a connection that connected again. */
  readonly reconnected: number;
  /** Those who came during the loss of a balancer's process, which concerns them as well. */
  readonly newcomers: Visits;
  /** Connections that processes of before the loss still had once every outcome was known. */
  readonly withOld: number;
  /** How long the slowest of those who moved waited for its answer, in ms. */
  readonly slowestMs: number;
  /** What must not be, in sentences. */
  readonly faults: readonly string[];
}

/** So many clients have connections on which they have said nothing when the server is lost. */
const FRESH_SHARE = 0.08;
/** So many of those who moved go home by a new connection; the others stay, and may be moved again and again. */
const HOMING_SHARE = 0.5;
/** So many come and go while a balancer's process is lost: somebody connects at every moment of it. */
const NEWCOMERS = 8;
/** When in a round the server is lost: long enough to spread the clients over what they may be doing. */
const MOMENT_MS = [100, 500] as const;
/** How long a balancer may take to give a server clients that has come back. */
const RETURN_MAX_MS = 15_000;
/** Counters of several threads are read one after the other: they may need another look, for so long at the most. */
const BOOKS_MAX_MS = 3000;
/** Between two looks. */
const BOOKS_LOOK_MS = 50;

const OUTCOME_NAMES = Object.keys(OUTCOMES) as Outcome[];
const STATE_NAMES = Object.keys(STATES) as State[];
const BAD_OUTCOMES = ["reset", "ended", "wrong", "missing"] as const satisfies readonly Outcome[];

/** Plays rounds, and gives what each of them came to. Rejects if one cannot be finished, or the signal is aborted. */
export async function runRounds(options: RoundsOptions): Promise<Round[]> {
  const { balancer, servers, clients: count, manner, seed, signal } = options;
  using clients = new Clients(count, balancer.address, manner, seed, signal);
  using newcomers = new Newcomers({ count: NEWCOMERS, firstId: count, balancer: balancer.address, manner, seed, signal });
  const play = { ...options, clients, newcomers, random: new Random(seed), ledger: new Ledger(servers) };
  await clients.ready();
  const rounds: Round[] = [];
  while (rounds.length < options.rounds) {
    const round = await playRound(play);
    rounds.push(round);
    options.onRound?.(round);
  }
  return rounds;
}

interface Play extends Omit<RoundsOptions, "clients"> {
  readonly clients: Clients;
  readonly newcomers: Newcomers;
  readonly random: Random;
  readonly ledger: Ledger;
}

async function playRound(play: Play): Promise<Round> {
  const { clients, random, signal } = play;
  const reconnected = await clients.ready();
  await clients.renew(random.some(clients.list, FRESH_SHARE));
  await pause(random.between(MOMENT_MS), signal);
  // The server of some client: one with many is lost often, so that none runs empty.
  const server = random.pick(clients.list.filter((client) => client.isOpen)).server!;
  const { concerned, others, newcomers, withOld } = await lose(play, server);
  const repeated = await play.ledger.countRepeated();
  const round = {
    lost: Object.fromEntries(
      STATE_NAMES.map((state) => [state, outcomesOf(concerned.filter((sighting) => sighting.state === state))]),
    ) as Record<State, Outcomes>,
    others: outcomesOf(others),
    strays: clients.takeStrays(),
    repeated,
    reconnected,
    newcomers,
    withOld,
    slowestMs: Math.max(0, ...concerned.map(({ outcome, waitedMs = 0 }) => outcome === "moved" ? waitedMs : 0)),
  };
  return { ...round, faults: [...faultsOf(round, play), ...await bookFaults(play.balancer, signal)] };
}

/** What a loss was to everybody. */
interface Seen extends Pick<Round, "newcomers" | "withOld"> {
  readonly concerned: readonly Sighting[];
  readonly others: readonly Sighting[];
}

/** Loses the server of that name, or the balancer's process, waits for everybody's outcome, and puts all back as it was. */
async function lose(play: Play, name: string): Promise<Seen> {
  const { clients, newcomers, servers, balancer, loss, signal } = play;
  const { what, lose, restore } = LOSSES[loss];
  const { newcomers: count, concerns, recover } = SCOPES[what];
  const scene = { server: servers.find((server) => server.name === name)!, balancer, signal };
  newcomers.begin(count);
  const watch = clients.watch(); // nothing may come between this and the loss
  await lose(scene);
  watch.completeLoss();
  await clients.settled(watch);
  const visits = await newcomers.end();
  const withOld = await balancer.countWithOld?.() ?? 0;
  await restore(scene);
  const [concerned, others] = [true, false].map((is) =>
    [...watch.sightings].filter(([, sighting]) => is === concerns(sighting, name))
  );
  await recover(play, concerned, name);
  const sightingsOf = (list: typeof concerned) => list.map(([, sighting]) => sighting);
  return { concerned: sightingsOf(concerned), others: sightingsOf(others), newcomers: visits, withOld };
}

interface Scope {
  readonly newcomers: number;
  /** Whether a client is concerned, if the server of this name was picked. */
  concerns(sighting: Sighting, name: string): boolean;
  /** Has the next round begin as this one did. */
  recover(play: Play, concerned: readonly (readonly [Client, Sighting])[], name: string): Promise<void>;
}

/** Whom a loss concerns, by what is lost. */
const SCOPES: Readonly<Record<Loss["what"], Scope>> = {
  server: {
    newcomers: 0,
    concerns: ({ server }, name) => server === name,
    recover: async ({ clients, random }, concerned, name) => {
      await clients.untilServedBy(concerned.map(([client]) => client), name, RETURN_MAX_MS);
      const moved = concerned.filter(([client, { outcome }]) => outcome === "moved" && client.isOpen).map(([client]) => client);
      for (const client of random.some(moved, HOMING_SHARE)) client.close();
    },
  },
  balancer: {
    newcomers: NEWCOMERS,
    concerns: () => true,
    /** The next loss is to concern everybody as this one did, and not only those who have come since. */
    recover: (_, concerned) => Promise.resolve(concerned.forEach(([client]) => client.close())),
  },
};

function outcomesOf(sightings: readonly Sighting[]): Outcomes {
  const counts = OUTCOME_NAMES.map((name) => [name, sightings.filter(({ outcome }) => outcome === name).length]);
  return Object.fromEntries(counts) as Record<Outcome, number>;
}

/** The sum of outcomes, by their names; of several counts. */
export function sumOutcomes(list: readonly Outcomes[]): Outcomes {
  const sums = OUTCOME_NAMES.map((name) => [name, list.reduce((sum, outcomes) => sum + outcomes[name], 0)]);
  return Object.fromEntries(sums) as Record<Outcome, number>;
}

/** Clients whose connection did not live or did not serve. */
export function countLost(outcomes: Outcomes): number {
  return BAD_OUTCOMES.reduce((sum, name) => sum + outcomes[name], 0);
}

/** Several rounds as one. */
export function sumRounds(rounds: readonly Round[]): Round {
  const sum = (of: (round: Round) => number) => rounds.reduce((sum, round) => sum + of(round), 0);
  const lost = STATE_NAMES.map((state) => [state, sumOutcomes(rounds.map(({ lost }) => lost[state]))]);
  return {
    lost: Object.fromEntries(lost) as Record<State, Outcomes>,
    others: sumOutcomes(rounds.map(({ others }) => others)),
    strays: sum(({ strays }) => strays),
    repeated: sum(({ repeated }) => repeated),
    reconnected: sum(({ reconnected }) => reconnected),
    newcomers: {
      served: sum(({ newcomers: { served } }) => served),
      turnedAway: sum(({ newcomers: { turnedAway } }) => turnedAway),
    },
    withOld: sum(({ withOld }) => withOld),
    slowestMs: Math.max(0, ...rounds.map(({ slowestMs }) => slowestMs)),
    faults: rounds.flatMap(({ faults }, i) => faults.map((fault) => `round ${i + 1}: ${fault}`)),
  };
}

function faultsOf({ lost, others, strays, repeated }: Omit<Round, "faults">, { mayRepeat }: Play): string[] {
  const wrong = sumOutcomes([...Object.values(lost), others]).wrong;
  const harmed = countLost(others) + strays;
  return [
    ...(wrong > 0 ? [`${wrong} answers did not fit`] : []),
    ...(harmed > 0 ? [`${harmed} connections were lost that the loss did not concern`] : []),
    ...(repeated > 0 && !mayRepeat ? [`${repeated} requests were delivered again`] : []),
  ];
}

/** A sentence if the fates do not add up to the connections that have ended. */
async function bookFaults(balancer: Balancer, signal: AbortSignal): Promise<string[]> {
  if (balancer.status === undefined) return [];
  const deadlineMs = performance.now() + BOOKS_MAX_MS;
  while (true) {
    const missing = missingFates(await balancer.status());
    if (missing === 0) return [];
    if (performance.now() > deadlineMs) return [`accepted minus open is ${missing} more than the sum of the fates`];
    await pause(BOOKS_LOOK_MS, signal);
  }
}

/** Connections that have ended without a fate; below 0: fates without a connection. */
export function missingFates({ connections: { accepted, open }, fates }: Counts): number {
  return accepted - open - Object.values(fates).reduce((sum, count) => sum + count, 0);
}
