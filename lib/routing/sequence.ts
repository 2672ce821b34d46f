/**
 * The sequence in which a policy goes through the servers of a tier, made once for each table. Weighted round robin as a sequence
 * of turns: each server is in it as often as its weight says, its turns spread evenly.
 */

import { formatAddress } from "../values/address.ts";
import type { Policy } from "../values/config.ts";
import type { TableServer } from "./routing_table.ts";

/** Compares addresses with the numbers in them by their values: 10.0.0.2 comes before 10.0.0.10. */
const collator = new Intl.Collator("en", { numeric: true });

type SequenceServer = Pick<TableServer, "address" | "weight">;

/** The indexes of these servers in the order of the policy; empty for `ring`. */
export function sequenceOf(servers: readonly SequenceServer[], policy: Policy): Uint32Array {
  if (policy === "ring") return new Uint32Array();
  return policy === "first" ? byAddress(servers) : turnsOf(servers.map(({ weight }) => weight));
}

function byAddress(servers: readonly SequenceServer[]): Uint32Array {
  const texts = servers.map(({ address }) => formatAddress(address));
  return Uint32Array.from(servers.keys()).sort((a, b) => collator.compare(texts[a], texts[b]));
}

/**
 * The turns of servers with these weights. The k-th of w turns is due at (k + ½)/w of the round, and turns due at the same time
 * come in the order of the servers. The weights are divided by their greatest common divisor.
 */
function turnsOf(weights: readonly number[]): Uint32Array {
  const divisor = weights.reduce(greatestDivisor, 0);
  const turns: { readonly index: number; readonly due: number }[] = [];
  for (const [index, weight] of weights.entries()) {
    const count = weight / divisor;
    for (let k = 0; k < count; k++) turns.push({ index, due: (k + 0.5) / count });
  }
  return Uint32Array.from(turns.sort((a, b) => a.due - b.due), ({ index }) => index); // stable
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b);
}
