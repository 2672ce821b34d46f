/**
 * A program of `history_test.ts`: changes the state in a folder as fast as it can, until it is killed. Each change is saved and
 * recorded; its services say their generation.
 */

import { History, historyPath } from "../../lib/balancer/history.ts";
import { loadState, saveState } from "../../lib/balancer/state_file.ts";
import type { SavedState } from "../../lib/values/saved_state.ts";

/** The state of a generation. The number of its servers changes, so that a mix of two would be noticed. */
export function stateOf(generation: number): SavedState {
  const servers = Array.from({ length: 200 + generation % 100 }, (_, i) => ({
    server: `10.${generation % 250}.${i >> 8}.${i & 255}:80`,
    weight: 1,
    connectionsMax: null,
  }));
  return { generation, services: [{ name: "default", listeners: [], settings: { fall: String(1 + generation % 9) }, servers }] };
}

if (import.meta.main) {
  const [path] = Deno.args;
  const { state: before } = await loadState(path);
  let { generation } = before;
  const history = await History.open(historyPath(path), generation, () => {});
  if (generation > 0) await history.begin(before, new Date());
  for (;;) {
    const state = stateOf(++generation);
    await saveState(path, state);
    await history.record({ at: new Date(), who: "keeper", what: `change ${generation}`, state });
    await Deno.stdout.write(new TextEncoder().encode("."));
  }
}
