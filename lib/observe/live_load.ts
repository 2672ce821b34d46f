/** The load that `route()` decides by, read live from the shared counters and availabilities. */

import type { AvailabilityTable } from "../routing/availability.ts";
import { newTurns } from "../routing/candidates.ts";
import type { Load } from "../routing/route.ts";
import type { Counters } from "./counters.ts";

/**
 * A view of the current load, with turns of its own: an engine has one for each thread. `extraClients` are added to the open
 * connections, for a client that is only being explained.
 */
export function liveLoad(counters: Counters, availabilities: AvailabilityTable, extraClients = 0): Load {
  return {
    get open() {
      return counters.get("open") + extraClients;
    },
    get unavailableWeight() {
      return availabilities.unavailableWeight;
    },
    get tiersInUse() {
      return availabilities.tiersInUse;
    },
    turns: newTurns(),
    openOf: (slot) => counters.getOf(slot, "serverOpen"),
    availabilityOf: (slot) => availabilities.get(slot),
  };
}
