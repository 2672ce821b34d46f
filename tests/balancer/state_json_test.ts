// A state as JSON is what JSON.stringify makes of it, and what stays the same is not put into words again.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { stateJson } from "../../lib/balancer/state_json.ts";
import type { SavedService, SavedState } from "../../lib/values/saved_state.ts";
import { validState } from "../values/declared_states.ts";

const textOf = (state: SavedState) => new TextDecoder().decode(stateJson(state));

Deno.test("stateJson() gives what JSON.stringify() gives, also after changes of some services", async () => {
  const declaredIn = fc.option(fc.record({ path: fc.string({ unit: "binary" }), generation: fc.nat() }), { nil: undefined });
  await fc.assert(fc.asyncProperty(validState, declaredIn, fc.nat(), (declared, declaredIn, generation) => {
    const services = declared.services as unknown as SavedService[];
    const state = { generation, services, declaredIn };
    assertEquals(textOf(state), JSON.stringify(state));
    const [first, ...rest] = services;
    for (const changed of [[...rest, first], rest, [{ ...first, servers: [] }, ...rest]]) {
      const next = { services: changed, generation: generation + 1 };
      assertEquals(textOf(next), JSON.stringify(next));
    }
    return Promise.resolve();
  }));
});

Deno.test("stateJson() reads each service once, however many states it is in", () => {
  let read = 0;
  const service = {
    name: "web",
    listeners: [],
    settings: {},
    get servers() {
      read++;
      return [];
    },
  };
  const state = { generation: 1, services: [service] };
  assert(stateJson(state) === stateJson(state));
  assertEquals(
    textOf({ ...state, generation: 2 }),
    '{"generation":2,"services":[{"name":"web","listeners":[],"settings":{},"servers":[]}]}',
  );
  assertEquals(read, 1);
});
