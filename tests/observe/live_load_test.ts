import { assertEquals } from "@std/assert";
import { allocateCounters, Counters } from "../../lib/observe/counters.ts";
import { liveLoad } from "../../lib/observe/live_load.ts";
import { allocateAvailabilities, AVAILABILITY, AvailabilityTable } from "../../lib/routing/availability.ts";

Deno.test("liveLoad() gives what is so at the moment of each question", () => {
  const counters = new Counters(allocateCounters(0, 4));
  const availabilities = new AvailabilityTable(allocateAvailabilities(4));
  const load = liveLoad(counters, availabilities, 3);
  const withOneMore = liveLoad(counters, availabilities, 3, 1);
  assertEquals([load.open, withOneMore.open, load.openOf(2), load.availabilityOf(2), load.unavailableWeight], [0, 1, 0, 0, 0]);
  counters.addAccepted(3, 0);
  counters.addAccepted(2, 0); // of another service

  counters.raiseOf(2, "serverOpen");
  availabilities.set(2, AVAILABILITY.draining);
  availabilities.setUnavailableWeight(3, 7);
  availabilities.setUnavailableWeight(2, 9);
  const now = [load.open, withOneMore.open, load.openOf(2), load.availabilityOf(2), load.unavailableWeight];
  assertEquals(now, [1, 2, 1, AVAILABILITY.draining, 7]);
});
