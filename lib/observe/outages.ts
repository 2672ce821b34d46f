/**
 * Outages: from when a server's connections began to leave it until it is up again, and what became of them. The verdict and the
 * page's labels are made of the same outages, so that their figures are the same. Pure, and imports nothing that runs, so that a
 * browser can load it. Times are Unix seconds.
 */

/** So many connections in a second. */
export interface Count {
  readonly at: number;
  readonly count: number;
}

/** What is known of a server, each list in the order of time. */
export interface ServerPast {
  /** Each change, and the state from then on; null: it was not there. */
  readonly states: readonly { readonly at: number; readonly state: string | null }[];
  /** Connections that moved away from it. */
  readonly moved: readonly Count[];
  /** Connections of it that were cut. */
  readonly cut: readonly Count[];
}

/** An outage, and what became of the server's connections in it. */
export interface Outage {
  /** The second in which the first one left it, or in which it was no longer up. */
  readonly from: number;
  /** The second in which it was up again; Infinity while it is not. */
  readonly to: number;
  readonly moved: number;
  readonly cut: number;
}

/** Connections leave as soon as a server fails, before its checks have found it down: how long before that is searched. */
const BEFORE_S = 60;
/** Connections that left with longer pauses between them did not leave for the same cause. */
const PAUSE_S = 5;
/** States that nobody has asked for. In the others connections leave once the server has the state. */
const UNWANTED: readonly (string | null)[] = ["down", "resting"];

/** The outages of a server, in the order of time. */
export function outagesOf({ states, moved, cut }: ServerPast): Outage[] {
  const outages: Outage[] = [];
  const times = [...moved, ...cut].map(({ at }) => at).sort((a, b) => a - b);
  for (let i = 0; i < states.length; i++) {
    const { at, state } = states[i];
    const isOver = (state: string | null) => state === "up" || state === null;
    if (isOver(state) || at < (outages.at(-1)?.to ?? -Infinity)) continue;
    const to = states.slice(i).find(({ state }) => isOver(state))?.at ?? Infinity;
    const from = UNWANTED.includes(state) ? beginOf(times, at, outages.at(-1)?.to ?? -Infinity) : at;
    outages.push({ from, to, moved: countWithin(moved, from, to), cut: countWithin(cut, from, to) });
  }
  return outages;
}

/** When connections began to leave a server that was found in trouble at `at`, but not before `earliest`. */
function beginOf(times: readonly number[], at: number, earliest: number): number {
  let begin = at;
  for (let i = times.length - 1; i >= 0; i--) {
    const time = times[i];
    if (time >= at) continue;
    if (time < earliest || begin - time > (begin === at ? BEFORE_S : PAUSE_S)) break;
    begin = time;
  }
  return begin;
}

/** Connections from one second to another, which is not among them. */
function countWithin(counts: readonly Count[], from: number, to: number): number {
  return counts.reduce((sum, { at, count }) => at >= from && at < to ? sum + count : sum, 0);
}
