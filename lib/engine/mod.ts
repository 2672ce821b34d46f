/** All engines, best first, and the choice of the one that runs here. */

import { OperatorError } from "../values/errors.ts";
import type { EngineKind } from "./engine.ts";
import { epoll } from "./epoll/engine.ts";
import { streams } from "./streams/engine.ts";

/** Every engine. `auto` chooses the first that this machine supports; the last one runs everywhere. */
export const ENGINES = { epoll, streams } satisfies Record<string, EngineKind>;

/** An engine and its name. */
interface ChosenEngine {
  readonly name: string;
  readonly kind: EngineKind;
  /** Better engines that cannot run here, with the reasons, as a sentence; undefined if this is the best engine. */
  readonly passedOver: string | undefined;
}

/** The engine with this name, or the best supported one for `auto`. Throws an operator error if it does not exist or cannot run. */
export function chooseEngine(name: string): ChosenEngine {
  const rows = Object.entries(ENGINES).map(([name, kind]) => ({ name, kind, unsupported: kind.unsupported() }));
  const named = name === "auto" ? rows.find((row) => row.unsupported === undefined) : rows.find((row) => row.name === name);
  if (named === undefined) {
    throw new OperatorError("usage", `Engine ${JSON.stringify(name)} is not one of auto, ${Object.keys(ENGINES).join(", ")}`);
  }
  if (named.unsupported !== undefined) {
    throw new OperatorError("failed", `Engine ${JSON.stringify(name)} cannot run here: ${named.unsupported}`);
  }
  const better = rows.slice(0, rows.indexOf(named)).filter(({ unsupported }) => unsupported !== undefined);
  const reasons = better.map(({ name, unsupported }) => `Engine ${JSON.stringify(name)} cannot run here: ${unsupported}`);
  return { name: named.name, kind: named.kind, passedOver: reasons.length === 0 ? undefined : reasons.join("; ") };
}
