/**
 * The state that applying a declared state leads to, and what differs. Pure. What does not change stays the same object. Settings
 * of the daemon cannot change while it runs: a declared one must be what the daemon was started with.
 */

import { OperatorError } from "../values/errors.ts";
import type { DeclaredService, DeclaredState } from "../values/declared_state.ts";
import type { SavedServer, SavedService, SavedState } from "../values/saved_state.ts";
import type { SettingTexts } from "../values/config.ts";
import { applyDifference, differenceOf, isSame, type StateDifference } from "../values/state_difference.ts";
import { faultsOfState } from "../values/state_rules.ts";
import { completeServer } from "../values/declared_state.ts";
import { requireNames } from "./state_changes.ts";
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
  /** The settings that the daemon was started with. */
  readonly daemon: SettingTexts;
}

/** The state after applying. Throws `conflict` if it is not allowed. */
export function withDeclared(state: SavedState, declared: DeclaredState, { prune, daemon }: DeclaredOptions): DeclaredChange {
  const from = { services: state.services, daemon };
  const difference = differenceOf(from, declared, { prune });
  // What a file does not say of the daemon, the command line may have said.
  const changed = difference.daemon.filter(({ to }) => to !== undefined);
  if (changed.length > 0) {
    const [{ flag, from = "its default", to }] = changed;
    const wayOut = "start the balancer anew with the file, or take the setting out of it";
    throw new OperatorError("conflict", `Cannot change --${flag} from ${from} to ${to} while the balancer runs: ${wayOut}`);
  }
  const applied = applyDifference({ ...difference, daemon: [] }, from);
  requireService(applied.services);
  const [fault] = faultsOfState(applied);
  if (fault !== undefined) throw new OperatorError("conflict", `Cannot apply this: ${fault.sentence}`);
  const next = { ...state, services: savedServices(state, applied.services) };
  requireNames(next);
  return { difference: { ...difference, daemon: [] }, state: next };
}

/**
 * The state that a start with a declared file begins with; the same object if it is that already. Throws `conflict` if it is not
 * allowed.
 */
export function withDeclaration(
  state: SavedState,
  declared: DeclaredState,
  { file, ...options }: DeclaredOptions & { readonly file: string },
): SavedState {
  const change = withDeclared(state, declared, options);
  if (isSame(change.difference) && state.declaredIn?.path === file) return state;
  const generation = state.generation + 1;
  return { ...change.state, generation, declaredIn: { path: file, generation } };
}

/** The state after returning to these services. Throws `conflict` if there are none. */
export function withEarlier(state: SavedState, services: readonly SavedService[]): DeclaredChange {
  requireService(services);
  const [from, to] = [state.services, services].map((services) => ({ services, daemon: {} }));
  const difference = differenceOf(from, to, { prune: true });
  return { difference, state: { ...state, services: savedServices(state, applyDifference(difference, from).services) } };
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
