// The last minutes as they come in, answer by answer.

import { assertEquals } from "@std/assert";
import type { Answers } from "../../lib/control/api.ts";
import { MINUTE_S, SERIES_S, Window } from "../../lib/top/window.ts";

const FROM = 1000;

/** An answer of so many seconds from `from` on, with one server. */
function answer(from: number, steps: number, given: Partial<Answers["series"]> = {}): Answers["series"] {
  const values = Array.from({ length: steps }, (_, i) => from + i);
  return {
    startId: "one",
    from,
    step: 1,
    steps,
    services: [{ service: "web", accepted: values.map(() => 2), open: values, fates: {} }],
    servers: [{ service: "web", server: "a", open: values, opened: values.map(() => 3) }],
    flows: [],
    ...given,
  };
}

Deno.test("a window goes on with each answer, and keeps a minute of servers and a quarter of an hour of services", () => {
  const window = new Window();
  assertEquals(window.add(answer(FROM, 10)), true);
  assertEquals(window.add(answer(FROM + 10, 1)), true);
  assertEquals([window.endS, window.server("web", "a")?.open.length], [FROM + 11, 11]);
  assertEquals(window.rate(window.server("web", "a")?.opened), 3);
  assertEquals(window.add(answer(FROM + 11, SERIES_S)), true);
  assertEquals(window.server("web", "a")?.open, Array.from({ length: MINUTE_S }, (_, i) => window.endS - MINUTE_S + i));
  assertEquals([window.judged().steps, window.judged().from], [SERIES_S, window.endS - SERIES_S]);
  assertEquals(window.minute(({ accepted }) => accepted).length, MINUTE_S);
});

Deno.test("an answer without news changes nothing; one that does not go on is not taken", () => {
  const window = new Window();
  window.add(answer(FROM, 10));
  assertEquals(window.add(answer(FROM + 99, 0)), true);
  assertEquals(window.add(answer(FROM + 12, 5)), false); // seconds are missing
  assertEquals(window.add(answer(FROM + 10, 5, { startId: "two" })), false);
  assertEquals(window.add(answer(FROM + 10, 5, { step: 2 })), false);
  assertEquals(window.endS, FROM + 10);
});

Deno.test("a server that comes later stands at the end, and one that goes is forgotten", () => {
  const window = new Window();
  window.add(answer(FROM, 10));
  const servers = (name: string) => [{ service: "web", server: name, open: [7] }];
  window.add(answer(FROM + 10, 1, { servers: servers("b") }));
  assertEquals([window.server("web", "a"), window.server("web", "b")?.open], [undefined, [7]]);
  assertEquals(window.serversMinute("open"), [...new Array(MINUTE_S - 1).fill(0), 7]);
});

Deno.test("flows are summed by server, and go when they are a quarter of an hour old", () => {
  const window = new Window();
  const flow = (at: number, from: string, to: string, count: number) =>
    ({ at, service: "web", from, to, state: "idle", count }) as const;
  window.add(answer(FROM, 100, { flows: [flow(0, "a", "b", 5), flow(99, "b", "a", 2)] }));
  const { away, in: came } = window.movedInMinute("web");
  assertEquals([[...away], [...came]], [[["b", 2]], [["a", 2]]]);
  assertEquals(window.movedInMinute("other").in.size, 0);
  assertEquals(window.judged().flows.map(({ at }) => at), [0, 99]);
  window.add(answer(FROM + 100, SERIES_S - 1));
  assertEquals(window.judged().flows, [{ ...flow(0, "b", "a", 2) }]);
});

Deno.test("states and cuts of servers are known for a quarter of an hour, also from what was asked apart", () => {
  const window = new Window();
  const servers = (
    states: [number, "up" | "down"][],
    cut: [number, number][],
  ) => [{ service: "web", server: "a", open: [1], states, cut }];
  window.add(answer(FROM, 100));
  window.addPasts(answer(FROM, 100, { servers: servers([[0, "up"], [50, "down"]], [[49, 3]]) }));
  window.add(answer(FROM + 100, 1, { servers: servers([[0, "down"]], [[0, 2]]) }));
  const cut = [{ at: FROM + 49, count: 3 }, { at: FROM + 100, count: 2 }];
  const states = [{ at: FROM, state: "up" }, { at: FROM + 50, state: "down" }];
  assertEquals(window.judged().pastOf("web", "a"), { states, cut });
  assertEquals(window.judged().pastOf("web", "b"), null);
  window.add(answer(FROM + 101, SERIES_S - 1, { servers: servers([[0, "down"]], []) }));
  assertEquals(window.judged().pastOf("web", "a"), { states: states.slice(1), cut: cut.slice(1) });
});

Deno.test("a fate that occurs late has zeros before it", () => {
  const window = new Window();
  const service = (fates: Answers["series"]["services"][number]["fates"]) => ({
    services: [{ service: "web", accepted: [1, 1], open: [1, 1], fates }],
  });
  window.add(answer(FROM, 2, service({})));
  window.add(answer(FROM + 2, 2, service({ server_lost: [0, 4] })));
  window.add(answer(FROM + 4, 2, service({})));
  assertEquals(window.judged().services, [{ service: "web", fates: { server_lost: [0, 0, 0, 4, 0, 0] } }]);
  assertEquals(window.minute(({ fates }) => fates.server_lost).slice(-6), [0, 0, 0, 4, 0, 0]);
});

Deno.test("with steps of several seconds, rates are per second", () => {
  const window = new Window();
  window.add(answer(FROM, 3, { step: 5 }));
  assertEquals([window.endS, window.rate([10]), window.rate([null]), window.rate(undefined)], [FROM + 15, 2, null, null]);
  assertEquals(window.minute(({ accepted }) => accepted).length, 12);
});
