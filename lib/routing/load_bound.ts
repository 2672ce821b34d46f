/**
 * The load bound: how many connections a server may have before it is passed over for others that have fewer. A formula of its own,
 * without a hash and without memory, so that the dashboard's page draws by the same one as routing decides.
 */

/**
 * With fewer connections per unit of weight a server is never over the load bound. Without this floor the bound would split the few
 * connections of a small pool: with three servers, a browser that opens six connections would find its server full after three.
 */
export const LOAD_BOUND_FLOOR = 8;

/**
 * The bound of a server: `loadBound` times its fair share of `open` connections. `weightHere` is the weight of all servers that get
 * clients, at least this one's.
 */
export function loadBoundOf(loadBound: number, weight: number, weightHere: number, open: number): number {
  const fairShare = Math.max(1, open) * weight / weightHere; // from 1: there may be no bound, and ∞ × 0 is no number
  return Math.max(LOAD_BOUND_FLOOR * weight, Math.ceil(loadBound * fairShare));
}
