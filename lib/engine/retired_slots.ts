/** Servers that have left the routing table and may still have connections, by their slots. */

import type { RoutingTable } from "../routing/routing_table.ts";

/** The slots that nobody has declared empty yet. */
export class RetiredSlots {
  readonly #slots = new Set<number>();

  /** `next` take the place of `previous`. */
  update(previous: readonly RoutingTable[], next: readonly RoutingTable[]): void {
    for (const { servers } of previous) for (const { slot } of servers) this.#slots.add(slot);
    for (const { servers } of next) for (const { slot } of servers) this.#slots.delete(slot);
  }

  /** The slots that are empty; they are given once. */
  takeEmpty(isEmpty: (slot: number) => boolean): number[] {
    const empty = [...this.#slots].filter(isEmpty);
    for (const slot of empty) this.#slots.delete(slot);
    return empty;
  }
}
