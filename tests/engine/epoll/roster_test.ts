import { assertEquals } from "@std/assert";
import { allocateRoster, Roster } from "../../../lib/engine/epoll/roster.ts";

/** A roster of workers that are there, with so many connections each. */
function makeRoster(open: readonly number[]): Roster {
  const roster = new Roster(allocateRoster(open.length));
  for (const [worker, count] of open.entries()) {
    roster.setIncarnation(worker, worker + 1);
    roster.addOpen(worker, count);
  }
  return roster;
}

Deno.test("leastBusy() is the worker with the fewest connections", () => {
  assertEquals(makeRoster([3, 1, 2]).leastBusy(), 1);
  assertEquals(makeRoster([2, 2, 2]).leastBusy(), 0);
  assertEquals(makeRoster([0]).leastBusy(), 0);
});

Deno.test("leastBusy() passes over workers that are not there", () => {
  const roster = makeRoster([3, 0, 2]);
  roster.setIncarnation(1, 0);
  assertEquals(roster.leastBusy(), 2);
});

Deno.test("a roster's columns are each worker's own, and every thread's", () => {
  const shared = allocateRoster(2);
  const [here, there] = [new Roster(shared), new Roster(shared)];
  here.setIncarnation(1, 7);
  here.setGeneration(1, 9);
  here.addOpen(1, 5);
  here.addOpen(1, -2);
  here.setStopped(1);
  const seen = (of: number) => [there.incarnation(of), there.open(of), there.generation(of), there.isStopped(of)];
  assertEquals(there.size, 2);
  assertEquals(seen(0), [0, 0, 0, false]);
  assertEquals(seen(1), [7, 3, 9, true]);
  here.clearOpen(1);
  assertEquals(there.open(1), 0);
});
