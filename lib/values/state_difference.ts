/**
 * What differs between two states, as data and as lines of a plan, and the state that a difference leads to. Pure: what a change
 * does to clients is told elsewhere.
 *
 * With `prune`, the second state is all that there shall be. Without it, what the second state does not mention stays: services,
 * listeners, servers, settings, drains. The order of services, listeners and servers is no difference.
 */

import {
  type CompleteServer,
  completeServer,
  DAEMON_ROWS,
  type DeclaredServer,
  type DeclaredService,
  type DeclaredState,
  fileText,
  meansSame,
  SERVER_ROWS,
  SERVICE_ROWS,
  type SettingRow,
} from "./declared_state.ts";
import type { SettingTexts } from "./config.ts";
import { formatListener } from "./listener_text.ts";
import type { SavedListener } from "./saved_state.ts";
import { DEFAULT_SERVER_SETTINGS } from "./server_settings.ts";

/** A setting whose text changes. Undefined: none is given, so that the default holds. */
export interface SettingChange {
  readonly flag: string;
  readonly from: string | undefined;
  readonly to: string | undefined;
}

/** A server that changes: its settings as text, and whether it is drained. */
export type ServerDifference =
  | { readonly kind: "added"; readonly server: CompleteServer }
  | { readonly kind: "removed"; readonly server: CompleteServer }
  | { readonly kind: "changed"; readonly from: CompleteServer; readonly to: CompleteServer };

/** A service that changes. */
export type ServiceDifference =
  | { readonly kind: "added"; readonly service: DeclaredService }
  | { readonly kind: "removed"; readonly service: DeclaredService }
  | ChangedService;

/** A service that stays and is not what it was. */
export interface ChangedService {
  readonly kind: "changed";
  readonly name: string;
  readonly settings: readonly SettingChange[];
  readonly listenersAdded: readonly SavedListener[];
  readonly listenersRemoved: readonly SavedListener[];
  readonly servers: readonly ServerDifference[];
}

/** Everything that differs. */
export interface StateDifference {
  readonly services: readonly ServiceDifference[];
  readonly daemon: readonly SettingChange[];
}

/** Whether what the second state does not mention is removed, or reset to its default. */
export interface DifferenceOptions {
  readonly prune: boolean;
}

/** What must change so that `from` becomes `to`. */
export function differenceOf(from: DeclaredState, to: DeclaredState, options: DifferenceOptions): StateDifference {
  const before = new Map(from.services.map((service) => [service.name, service]));
  const after = new Set(to.services.map(({ name }) => name));
  const gone = options.prune ? from.services.filter(({ name }) => !after.has(name)) : [];
  const services = to.services.flatMap((service): ServiceDifference[] => {
    const old = before.get(service.name);
    if (old === undefined) return [{ kind: "added", service: { ...service, servers: service.servers.map(completeServer) } }];
    const changed = changesOf(old, service, options);
    return isEmptyChange(changed) ? [] : [changed];
  });
  return {
    services: [...services, ...gone.map((service): ServiceDifference => ({ kind: "removed", service }))],
    daemon: settingChanges(from.daemon, to.daemon, DAEMON_ROWS, options),
  };
}

/** Whether nothing differs. */
export function isSame({ services, daemon }: StateDifference): boolean {
  return services.length === 0 && daemon.length === 0;
}

/** The state that a difference from this state leads to. What is new comes last. */
export function applyDifference({ services, daemon }: StateDifference, state: DeclaredState): DeclaredState {
  const changes = new Map(services.map((change) => [change.kind === "changed" ? change.name : change.service.name, change]));
  const kept = state.services.flatMap((service) => {
    const change = changes.get(service.name);
    if (change === undefined) return [service];
    return change.kind === "changed" ? [changedService(service, change)] : [];
  });
  const added = services.flatMap((change) => change.kind === "added" ? [change.service] : []);
  return { services: [...kept, ...added], daemon: changedTexts(state.daemon, daemon) };
}

function changesOf(from: DeclaredService, to: DeclaredService, { prune }: DifferenceOptions): ChangedService {
  const missingIn = (listeners: readonly SavedListener[]) => {
    const names = new Set(listeners.map(formatListener));
    return (listener: SavedListener) => !names.has(formatListener(listener));
  };
  return {
    kind: "changed",
    name: to.name,
    settings: settingChanges(from.settings, to.settings, SERVICE_ROWS, { prune }),
    listenersAdded: to.listeners.filter(missingIn(from.listeners)),
    listenersRemoved: prune ? from.listeners.filter(missingIn(to.listeners)) : [],
    servers: serverChanges(from.servers, to.servers, { prune }),
  };
}

function isEmptyChange({ settings, listenersAdded, listenersRemoved, servers }: ChangedService): boolean {
  return settings.length + listenersAdded.length + listenersRemoved.length + servers.length === 0;
}

function settingChanges(
  from: SettingTexts,
  to: SettingTexts,
  rows: ReadonlyMap<string, SettingRow>,
  { prune }: DifferenceOptions,
): SettingChange[] {
  return [...rows.values()].filter((row) => (prune || to[row.flag] !== undefined) && !meansSame(row, from[row.flag], to[row.flag]))
    .map(({ flag }) => ({ flag, from: from[flag], to: to[flag] }));
}

function serverChanges(
  from: readonly DeclaredServer[],
  to: readonly DeclaredServer[],
  { prune }: DifferenceOptions,
): ServerDifference[] {
  const before = new Map(from.map((server) => [server.server, completeServer(server)]));
  const after = new Set(to.map(({ server }) => server));
  const differences = to.flatMap((said): ServerDifference[] => {
    const old = before.get(said.server);
    if (old === undefined) return [{ kind: "added", server: completeServer(said) }];
    const server = completeServer(prune ? said : { ...old, ...definedIn(said) });
    return isSameServer(old, server) ? [] : [{ kind: "changed", from: old, to: server }];
  });
  const gone = prune ? [...before.values()].filter(({ server }) => !after.has(server)) : [];
  return [...differences, ...gone.map((server): ServerDifference => ({ kind: "removed", server }))];
}

function definedIn(server: DeclaredServer): DeclaredServer {
  return Object.fromEntries(Object.entries(server).filter(([, value]) => value !== undefined)) as DeclaredServer;
}

function isSameServer(one: CompleteServer, other: CompleteServer): boolean {
  return one.draining === other.draining && [...SERVER_ROWS.values()].every(({ name }) => one[name] === other[name]);
}

function changedService(service: DeclaredService, change: ChangedService): DeclaredService {
  const gone = new Set(change.listenersRemoved.map(formatListener));
  const listeners = service.listeners.filter((listener) => !gone.has(formatListener(listener)));
  const settings = changedTexts(service.settings, change.settings);
  return {
    name: service.name,
    listeners: [...listeners, ...change.listenersAdded],
    settings,
    servers: changedServers(service, change),
  };
}

function changedServers({ servers }: DeclaredService, change: ChangedService): DeclaredServer[] {
  const changes = new Map(change.servers.flatMap((server) => server.kind === "changed" ? [[server.to.server, server.to]] : []));
  const gone = new Set(change.servers.flatMap((server) => server.kind === "removed" ? [server.server.server] : []));
  const kept = servers.filter(({ server }) => !gone.has(server)).map((server) => changes.get(server.server) ?? server);
  return [...kept, ...change.servers.flatMap((server) => server.kind === "added" ? [server.server] : [])];
}

function changedTexts(texts: SettingTexts, changes: readonly SettingChange[]): SettingTexts {
  const changed = { ...texts, ...Object.fromEntries(changes.map(({ flag, to }) => [flag, to])) };
  return Object.fromEntries(Object.entries(changed).filter(([, text]) => text !== undefined));
}

/** The difference in lines, as a plan shows it: `+` what comes, `~` what changes, `-` what goes. None where nothing differs. */
export function formatDifference({ services, daemon }: StateDifference): string[] {
  return [
    ...services.flatMap(serviceLines),
    ...(daemon.length === 0 ? [] : [`~ daemon: ${formatSettings(daemon, DAEMON_ROWS)}`]),
  ];
}

/** The settings of the daemon that differ, a line for each. */
export function daemonLines({ daemon }: StateDifference): string[] {
  return daemon.map((change) => formatSettings([change], DAEMON_ROWS));
}

function serviceLines(change: ServiceDifference): string[] {
  if (change.kind === "removed") return [`- service ${change.service.name}: ${amountOf(change.service)}`];
  if (change.kind === "added") return addedLines(change.service);
  const { name, settings, listenersAdded, listenersRemoved, servers } = change;
  const changed = settings.length === 0 ? "" : `: ${formatSettings(settings, SERVICE_ROWS)}`;
  return [
    `~ service ${name}${changed}`,
    ...listenersAdded.map((listener) => `  + listener ${formatListener(listener)}`),
    ...listenersRemoved.map((listener) => `  - listener ${formatListener(listener)}`),
    ...servers.map((server) => `  ${serverLine(server)}`),
  ];
}

function addedLines(service: DeclaredService): string[] {
  const { name, listeners, settings, servers } = service;
  const own = [...SERVICE_ROWS.values()].filter((row) => !meansSame(row, settings[row.flag], undefined))
    .map((row) => `${row.flag} ${fileText(row, settings[row.flag]!)}`);
  const first = [`+ service ${name}`, own.join(", ")].filter((part) => part !== "").join(": ");
  return [
    first,
    ...listeners.map((listener) => `  + listener ${formatListener(listener)}`),
    ...servers.map((server) => `  ${serverLine({ kind: "added", server: completeServer(server) })}`),
  ];
}

function amountOf({ listeners, servers }: DeclaredService): string {
  const count = servers.length === 1 ? "1 server" : `${servers.length} servers`;
  return [...listeners.map(formatListener), count].join(", ");
}

function serverLine(change: ServerDifference): string {
  if (change.kind === "removed") return `- server ${change.server.server}`;
  const isNew = change.kind === "added";
  const to = isNew ? change.server : change.to;
  const from = isNew ? { ...DEFAULT_SERVER_SETTINGS, draining: false } : change.from;
  const settings = [...SERVER_ROWS.values()].filter(({ name }) => from[name] !== to[name]).map(({ flag, name, format }) =>
    isNew ? `${flag} ${format(to[name])}` : `${flag} ${format(from[name])} → ${format(to[name])}`
  );
  const drain = from.draining === to.draining ? [] : [to.draining ? "drained" : "no longer drained"];
  const details = [...settings, ...drain].join(", ");
  return `${isNew ? "+" : "~"} server ${to.server}${details === "" ? "" : `: ${details}`}`;
}

function formatSettings(changes: readonly SettingChange[], rows: ReadonlyMap<string, SettingRow>): string {
  return changes.map(({ flag, from, to }) => {
    const row = rows.get(flag)!;
    const [before, after] = [from ?? row.default, to ?? row.default].map((text) => fileText(row, text));
    return `${flag} ${before} → ${after}`;
  }).join(", ");
}
