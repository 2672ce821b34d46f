import { assertEquals } from "@std/assert";
import { allocateWorkerTable, WorkerTable } from "../../../lib/engine/epoll/worker_table.ts";

/** A workerTable of workers that are there, with so many connections each. */
function makeRoster(open: readonly number[]): WorkerTable {
  const workerTable = new WorkerTable(allocateWorkerTable(open.length));
  for (const [worker, count] of open.entries()) {
    workerTable.setEpoch(worker, worker + 1);
    workerTable.addOpen(worker, count);
  }
  return workerTable;
}

Deno.test("leastBusy() is the worker with the fewest connections", () => {
  assertEquals(makeRoster([3, 1, 2]).leastBusy(), 1);
  assertEquals(makeRoster([2, 2, 2]).leastBusy(), 0);
  assertEquals(makeRoster([0]).leastBusy(), 0);
});

Deno.test("leastBusy() passes over workers that are not there", () => {
  const workerTable = makeRoster([3, 0, 2]);
  workerTable.setEpoch(1, 0);
  assertEquals(workerTable.leastBusy(), 2);
});

Deno.test("a workerTable's columns are each worker's own, and every thread's", () => {
  const shared = allocateWorkerTable(2);
  const [here, there] = [new WorkerTable(shared), new WorkerTable(shared)];
  here.setEpoch(1, 7);
  here.setGeneration(1, 9);
  here.addOpen(1, 5);
  here.addOpen(1, -2);
  here.setStopped(1);
  const seen = (of: number) => [there.epoch(of), there.open(of), there.generation(of), there.isStopped(of)];
  assertEquals(there.size, 2);
  assertEquals(seen(0), [0, 0, 0, false]);
  assertEquals(seen(1), [7, 3, 9, true]);
  here.clearOpen(1);
  assertEquals(there.open(1), 0);
});
