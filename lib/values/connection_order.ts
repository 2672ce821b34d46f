/** By what lists of open connections are sorted, as people write it. */

import { parseChoice } from "./choice.ts";

/** The oldest comes first, the one with most bytes, or the one that has been quiet longest. */
export const CONNECTION_ORDERS = ["age", "bytes", "idle"] as const;
export type ConnectionOrder = typeof CONNECTION_ORDERS[number];

/** The order of this name. Throws a `usage` error. */
export function parseConnectionOrder(text: string): ConnectionOrder {
  return parseChoice(text, { what: "order", choices: CONNECTION_ORDERS, help: "balancerctl connections" });
}
