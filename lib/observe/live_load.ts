/** The load that `route()` decides by, read live from the shared counters and availabilities. */

import type { AvailabilityTable } from "../routing/availability.ts";
import type { Load } from "../routing/route.ts";
import type { Counters } from "./counters.ts";

/**
 * A view of the current load of a service. `extraClients` are added to the open connections, for a client that is only being
 * explained.
 */
export function liveLoad(counters: Counters, availabilities: AvailabilityTable, service: number, extraClients = 0): Load {
  return {
    get open() {
      return counters.getOfService(service, "serviceOpen") + extraClients;
    },
    get unavailableWeight() {
      return availabilities.unavailableWeightOf(service);
    },
    openOf: (slot) => counters.getOf(slot, "serverOpen"),
    availabilityOf: (slot) => availabilities.get(slot),
  };
}
