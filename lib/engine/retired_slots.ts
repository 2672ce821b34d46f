/** The slots of servers that are no longer in any routing table and may still have connections. */

import type { RoutingTable } from "../routing/routing_table.ts";

/** The slots that have not been declared empty yet. */
export class RetiredSlots {
  readonly #slots = new Set<number>();

  /** The tables `next` replace the tables `previous`. */
  update(previous: readonly RoutingTable[], next: readonly RoutingTable[]): void {
    for (const { servers } of previous) for (const { slot } of servers) this.#slots.add(slot);
    for (const { servers } of next) for (const { slot } of servers) this.#slots.delete(slot);
  }

  /** Removes and returns the slots that are empty. */
  takeEmpty(isEmpty: (slot: number) => boolean): number[] {
    const empty = [...this.#slots].filter(isEmpty);
    for (const slot of empty) this.#slots.delete(slot);
    return empty;
  }
}
