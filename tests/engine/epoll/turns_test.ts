import { assertEquals } from "@std/assert";
import { COMMAND } from "../../../lib/engine/epoll/mailbox.ts";
import { Turns } from "../../../lib/engine/epoll/turns.ts";
import { allocateWorkerTable, WorkerTable } from "../../../lib/engine/epoll/worker_table.ts";

/** Workers that a test lets turn: each keeps what it was told until then. */
function makeWorkers(count: number) {
  const table = new WorkerTable(allocateWorkerTable(count));
  const workers = Array.from({ length: count }, (_, index) => {
    table.setEpoch(index, index + 1);
    const told: number[] = [];
    return {
      index,
      told,
      tell(kind: number, a: number) {
        assertEquals(kind, COMMAND.turn);
        told.push(a);
      },
      turn() {
        for (const a of told.splice(0)) table.setTurn(index, a);
      },
    };
  });
  const turns = new Turns(table);
  return { table, workers, look: () => turns.look(workers) };
}

Deno.test("Turns.look() is true when every worker has turned since it was asked", () => {
  const { workers, look } = makeWorkers(2);
  assertEquals(look(), false, "nobody was asked");
  for (const worker of workers) worker.turn();
  assertEquals(look(), true);
  assertEquals(look(), false, "nobody has turned since");
});

Deno.test("Turns.look() asks a worker that hangs once, and the others again and again", () => {
  const { workers: [hanging, turning], look } = makeWorkers(2);
  for (let i = 0; i < 100; i++) {
    assertEquals(look(), false);
    turning.turn();
  }
  assertEquals(hanging.told.length, 1);
  hanging.turn();
  assertEquals(look(), true);
});

Deno.test("Turns.look() asks a replacement anew, and is false while there is none", () => {
  const { table, workers: [worker], look } = makeWorkers(1);
  look();
  worker.turn();
  table.setEpoch(0, 0);
  assertEquals(look(), false);
  assertEquals(worker.told, []);
  table.setEpoch(0, 7);
  assertEquals(look(), false, "what its predecessor has answered does not count");
  worker.turn();
  assertEquals(look(), true);
});
