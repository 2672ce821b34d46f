/**
 * The state that applying a declared state leads to, and what differs. Pure. What does not change stays the same object. Settings
 * of the daemon that only a start can change stay as they are unless a file says another value, which is refused while it runs.
 */

import { OperatorError } from "../values/errors.ts";
import type { DeclaredService, DeclaredState } from "../values/declared_state.ts";
import type { SavedServer, SavedService, SavedState } from "../values/saved_state.ts";
import { type SettingTexts, START_FLAGS } from "../values/config.ts";
import { applyDifference, differenceOf, isSame, type SettingChange, type StateDifference } from "../values/state_difference.ts";
import { faultsOfState } from "../values/state_rules.ts";
import { completeServer } from "../values/declared_state.ts";
import { requireSameStart } from "./state_changes.ts";
import { toSaved } from "./state_file.ts";

/** What applying leads to. */
export interface DeclaredChange {
  readonly state: SavedState;
  readonly difference: StateDifference;
}

/** How a declared state is laid over a state. */
export interface DeclaredOptions {
  /** Whether what is not declared is removed, or reset to its default. */
  readonly prune: boolean;
}

/** The state after applying. Throws `conflict` if it is not allowed. */
export function withDeclared(state: SavedState, declared: DeclaredState, { prune }: DeclaredOptions): DeclaredChange {
  const before = whole(state);
  const { services, daemon } = differenceOf(before, declared, { prune });
  // What a file does not say of these, the command line may have said.
  const isKept = ({ flag, to }: SettingChange) => to === undefined && START_FLAGS.includes(flag);
  const change = changeBy({ services, daemon: daemon.filter((change) => !isKept(change)) }, state);
  requireSameStart(before.daemon, change.state.daemon ?? {});
  return change;
}

/**
 * The state that a start with a declared file begins with; the same object if it is that already. Throws `conflict` if it is not
 * allowed.
 */
export function withDeclaration(state: SavedState, declared: DeclaredState, file: string): SavedState {
  const change = changeBy(differenceOf(whole(state), declared, { prune: true }), state);
  if (isSame(change.difference) && state.declaredIn?.path === file) return state;
  const generation = state.generation + 1;
  return { ...change.state, generation, declaredIn: { path: file, generation } };
}

/** What of a state an earlier one can be returned to by. */
type Earlier = Pick<SavedState, "services" | "daemon">;

/** The state after returning to what this one says. Throws `conflict` if it has no services. */
export function withEarlier(state: SavedState, earlier: Earlier): DeclaredChange {
  requireService(earlier.services);
  const from = whole(state);
  const kept = START_FLAGS.map((flag) => [flag, from.daemon[flag]]);
  const to = whole(earlier);
  const difference = differenceOf(from, { ...to, daemon: { ...to.daemon, ...Object.fromEntries(kept) } }, { prune: true });
  return { difference, state: stateAfter(difference, state) };
}

function whole({ services, daemon = {} }: Earlier): { services: SavedState["services"]; daemon: SettingTexts } {
  return { services, daemon };
}

function changeBy(difference: StateDifference, state: SavedState): DeclaredChange {
  const applied = applyDifference(difference, whole(state));
  requireService(applied.services);
  const [fault] = faultsOfState(applied);
  if (fault !== undefined) throw new OperatorError("conflict", `Cannot apply this: ${fault.sentence}`);
  return { difference, state: stateAfter(difference, state) };
}

function stateAfter(difference: StateDifference, state: SavedState): SavedState {
  const { services, daemon } = applyDifference(difference, whole(state));
  const own = difference.daemon.length === 0 ? {} : { daemon };
  return { ...state, services: savedServices(state, services), ...own };
}

function requireService({ length }: readonly unknown[]): void {
  if (length > 0) return;
  throw new OperatorError("conflict", "Cannot remove every service: stop the balancer with balancerctl stop instead");
}

function savedServices({ services: before }: SavedState, services: readonly DeclaredService[]): SavedService[] {
  const old = new Map<DeclaredService, SavedService>(before.map((service) => [service, service]));
  return services.map((service) => old.get(service) ?? savedService(service, before))
    .toSorted((a, b) => a.name < b.name ? -1 : 1);
}

function savedService({ name, listeners, settings, servers }: DeclaredService, before: readonly SavedService[]): SavedService {
  const old = new Map(before.find((service) => service.name === name)?.servers.map((server) => [server.server, server]));
  const saved = servers.map((server): SavedServer => {
    const { server: address, draining, ...rest } = completeServer(server);
    const made = toSaved(address, rest, draining);
    const kept = old.get(address);
    return kept !== undefined && JSON.stringify(kept) === JSON.stringify(made) ? kept : made;
  });
  return { name, listeners, settings, servers: saved.toSorted((a, b) => a.server < b.server ? -1 : 1) };
}
