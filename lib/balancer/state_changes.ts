/**
 * Changes of a state, one at a time: from the state before to the state after, or an operator error that says why it cannot be.
 * Pure. What did not change stays the same object.
 */

import { type Address, formatAddress } from "../values/address.ts";
import { DEFAULT_TEXT, LIMITS, type SettingTexts, START_FLAGS } from "../values/config.ts";
import { DAEMON_ROWS, meansSame } from "../values/declared_state.ts";
import { didYouMean } from "../values/did_you_mean.ts";
import { OperatorError } from "../values/errors.ts";
import { formatListener, overlap } from "../values/listener_text.ts";
import {
  DEFAULT_SERVICE,
  type SavedListener,
  type SavedServer,
  type SavedService,
  type SavedState,
} from "../values/saved_state.ts";
import { nameFaults, roomFault } from "../values/state_rules.ts";
import { DEFAULT_SERVER_SETTINGS, type ServerSettings } from "../values/server_settings.ts";
import { toSaved } from "./state_file.ts";

/** What `change` of a server may change. */
export type ServerChange = Partial<ServerSettings & { draining: boolean }>;

/** A change of one service. */
export type ServiceEdit = (service: SavedService) => SavedService;

/** The state with a service changed. Throws `unknown` if there is no service with this name. */
export function withService(state: SavedState, name: string, edit: ServiceEdit): SavedState {
  const before = findService(state, name, "change");
  const after = edit(before);
  return { ...state, services: state.services.map((service) => service === before ? after : service) };
}

/** The state with one more service. Throws `conflict` if there is one with this name. */
export function withNewService(state: SavedState, service: SavedService): SavedState {
  const cannot = `Cannot add service ${JSON.stringify(service.name)}`;
  if (state.services.some(({ name }) => name === service.name)) {
    const wayOut = "choose another name, or change it with balancerctl service set";
    throw new OperatorError("conflict", `${cannot}: there is one with this name; ${wayOut}`);
  }
  if (state.services.length >= LIMITS.servicesMax) {
    const why = `the balancer is at its limit of ${LIMITS.servicesMax} services; remove one first`;
    throw new OperatorError("conflict", `${cannot}: ${why}`);
  }
  requireFreeListeners(state, service.listeners, cannot);
  return { ...state, services: [...state.services, service].toSorted(byName) };
}

/** The state without a service. Throws `unknown` if there is none with this name, `conflict` if it is the last. */
export function withoutService(state: SavedState, name: string): SavedState {
  const service = findService(state, name, "remove");
  if (state.services.length === 1) {
    const why = "it is the last one; stop the balancer with balancerctl stop, or add another service first";
    throw new OperatorError("conflict", `Cannot remove service ${JSON.stringify(name)}: ${why}`);
  }
  return { ...state, services: state.services.filter((other) => other !== service) };
}

/** The service with this name. Throws `unknown`. */
export function findService({ services }: SavedState, name: string, verb: string): SavedService {
  const found = services.find((service) => service.name === name);
  if (found !== undefined) return found;
  throw unknownService(name, services.map((service) => service.name), verb);
}

/** The error for a service that does not exist. */
export function unknownService(name: string, names: readonly string[], verb = "use"): OperatorError {
  const wayOut = didYouMean(name, names) ?? "balancerctl service list shows the services";
  return new OperatorError("unknown", `Cannot ${verb} service ${JSON.stringify(name)}: there is none with this name; ${wayOut}`);
}

/** A service with one more server. Throws `conflict` if the server is in its pool. */
export function withServer(address: Address, settings: Partial<ServerSettings>): ServiceEdit {
  const name = formatAddress(address);
  return (service) => {
    if (service.servers.some(({ server }) => server === name)) {
      throw new OperatorError("conflict", `Cannot add server ${JSON.stringify(name)}: it is already in the pool`);
    }
    requireRoom([name], service.listeners, `Cannot add server ${JSON.stringify(name)}`);
    const server = toSaved(name, { ...DEFAULT_SERVER_SETTINGS, ...settings }, false);
    return { ...service, servers: [...service.servers, server].toSorted(byServer) };
  };
}

/** A service with a server changed. The caller has made sure that it is in the pool. */
export function withChangedServer(name: string, { draining, ...changed }: ServerChange): ServiceEdit {
  return (service) => ({
    ...service,
    servers: service.servers.map((server) => {
      if (server.server !== name) return server;
      return toSaved(name, { ...settingsOf(server), ...changed }, draining ?? server.draining ?? false);
    }),
  });
}

/** A service without a server. */
export function withoutServer(name: string): ServiceEdit {
  return (service) => ({ ...service, servers: service.servers.filter(({ server }) => server !== name) });
}

/** A service with these settings changed; `DEFAULT_TEXT` takes a setting back to its default. */
export function withSettings(texts: SettingTexts): ServiceEdit {
  return (service) => ({ ...service, settings: mergeSettings(service.settings, texts) });
}

/**
 * The state with these settings of the daemon changed; `DEFAULT_TEXT` takes one back to its default. Throws `conflict` for one that
 * only a start can change.
 */
export function withDaemon(state: SavedState, texts: SettingTexts): SavedState {
  const daemon = mergeSettings(state.daemon ?? {}, texts);
  requireSameStart(state.daemon ?? {}, daemon);
  return { ...state, daemon };
}

/** Throws `conflict` if settings of the daemon differ that only a start can change. */
export function requireSameStart(before: SettingTexts, after: SettingTexts): void {
  for (const flag of START_FLAGS) {
    const row = DAEMON_ROWS.get(flag)!;
    if (meansSame(row, before[flag], after[flag])) continue;
    const [from, to] = [before, after].map((texts) => texts[flag] ?? row.default);
    const wayOut = `that takes a restart: balancerctl stop, then balancerctl start --${flag} ${to}`;
    throw new OperatorError("conflict", `Cannot change --${flag} from ${from} to ${to} while the balancer runs; ${wayOut}`);
  }
}

/**
 * The state that a start with this address and these settings begins with: service `default` listens there in place of its first
 * address, and the settings that are given, of that service and of the daemon, replace earlier ones. The same object if that
 * changes nothing. Throws a `usage` error if there is nothing to serve.
 */
export function withStart(
  before: SavedState,
  listener: SavedListener | undefined,
  settings: SettingTexts,
  daemon: SettingTexts = {},
): SavedState {
  const state = withDaemonStart(before, daemon);
  if (listener !== undefined) return withServiceStart(state, before.generation + 1, listener, settings);
  if (state.services.length > 0) return state;
  throw new OperatorError("usage", "There is no service to start: give an address and a port");
}

function withDaemonStart(state: SavedState, texts: SettingTexts): SavedState {
  const daemon = mergeSettings(state.daemon ?? {}, texts);
  if (JSON.stringify(daemon) === JSON.stringify(state.daemon ?? {})) return state;
  return { ...state, generation: state.generation + 1, daemon };
}

function withServiceStart(state: SavedState, generation: number, listener: SavedListener, settings: SettingTexts): SavedState {
  const before = state.services.find(({ name }) => name === DEFAULT_SERVICE);
  const others = (before?.listeners ?? []).slice(1).filter((other) => !overlap(other, listener));
  const service = {
    name: DEFAULT_SERVICE,
    servers: [],
    ...before,
    listeners: [listener, ...others],
    settings: mergeSettings(before?.settings ?? {}, settings),
  };
  if (before !== undefined && JSON.stringify(before) === JSON.stringify(service)) return state;
  const without = { ...state, services: state.services.filter((other) => other !== before) };
  requireFreeListeners(without, [listener], `Cannot listen on ${formatListener(listener)}`);
  const next = { ...state, generation, services: [...without.services, service].toSorted(byName) };
  requireNames(next);
  return next;
}

/** Settings over earlier ones. */
export function mergeSettings(before: SettingTexts, texts: SettingTexts): SettingTexts {
  const given = Object.entries({ ...before, ...texts }).filter(([, text]) => text !== undefined && text !== DEFAULT_TEXT);
  return Object.fromEntries(given.toSorted(([a], [b]) => a < b ? -1 : 1));
}

/** The state with one more listener of a service. Throws `conflict` if a port of it is taken by a service. */
export function withListener(state: SavedState, name: string, listener: SavedListener): SavedState {
  const cannot = `Cannot listen on ${formatListener(listener)}`;
  requireFreeListeners(state, [listener], cannot);
  return withService(state, name, (service) => {
    if (service.listeners.some((other) => overlap(other, listener))) {
      throw new OperatorError("conflict", `${cannot}: the service listens there already`);
    }
    requireRoom(service.servers.map(({ server }) => server), [listener], cannot);
    return { ...service, listeners: [...service.listeners, listener] };
  });
}

/**
 * The state without this listener of a service. Throws `unknown` if the service does not listen there, `conflict` if it is the
 * last.
 */
export function withoutListener(state: SavedState, name: string, listener: SavedListener): SavedState {
  const text = formatListener(listener);
  const { listeners } = findService(state, name, "change");
  const left = listeners.filter((other) => formatListener(other) !== text);
  if (left.length === listeners.length) {
    const wayOut = didYouMean(text, listeners.map(formatListener)) ?? "balancerctl service list shows where it listens";
    throw new OperatorError("unknown", `Service ${JSON.stringify(name)} does not listen on ${text}: ${wayOut}`);
  }
  if (left.length === 0) {
    const why = "it is the last address of the service; add another first, or remove the service";
    throw new OperatorError("conflict", `Cannot stop listening on ${text}: ${why}`);
  }
  return withService(state, name, (service) => ({ ...service, listeners: left }));
}

/**
 * Throws `conflict` if two services of the state are for the same clients of an address that they share: each must have other names
 * (--sni) or protocols (--alpn), but for one.
 */
export function requireNames({ services }: SavedState): void {
  for (const { sentence } of nameFaults(services)) throw new OperatorError("conflict", sentence);
}

/**
 * Throws `conflict` if a port of these listeners is one of a service in the state, or of another of them. The same address as
 * another service's is shared with it, and no conflict here.
 */
export function requireFreeListeners({ services }: SavedState, listeners: readonly SavedListener[], cannot: string): void {
  const taken = services.flatMap(({ name, listeners }) => listeners.map((listener) => ({ name, listener })));
  for (const [index, wanted] of listeners.entries()) {
    const isOther = (listener: SavedListener) => formatListener(listener) !== formatListener(wanted);
    const other = taken.find(({ listener }) => overlap(listener, wanted) && isOther(listener));
    const twice = listeners.slice(0, index).find((listener) => overlap(listener, wanted));
    const who = other === undefined ? "another address of the same service" : `service ${JSON.stringify(other.name)}`;
    const where = other?.listener ?? twice;
    if (where === undefined) continue;
    const why = `${who} listens on ${formatListener(where)}; choose another port`;
    throw new OperatorError("conflict", `${cannot}: ${why}`);
  }
}

/** Throws `conflict` if a server has too few ports for a range of a listener. */
function requireRoom(servers: readonly string[], listeners: readonly SavedListener[], cannot: string): void {
  for (const listener of listeners) {
    const fault = servers.map((server) => roomFault(server, listener)).find((fault) => fault !== undefined);
    if (fault !== undefined) throw new OperatorError("conflict", `${cannot}: ${fault.charAt(0).toLowerCase()}${fault.slice(1)}`);
  }
}

/** The settings of a saved server. */
export function settingsOf({ server: _, draining: __, ...settings }: SavedServer): ServerSettings {
  return { ...DEFAULT_SERVER_SETTINGS, ...settings };
}

function byName(a: SavedService, b: SavedService): number {
  return a.name < b.name ? -1 : 1;
}

function byServer(a: SavedServer, b: SavedServer): number {
  return a.server < b.server ? -1 : 1;
}
