/**
 * What must hold of a whole declared state, beyond each value by itself: settings that fit each other, limits on numbers, and no
 * listener, server or name on a shared address twice. Pure: it holds for a file and for a running state under a file.
 */

import { parseAddress, reaches } from "./address.ts";
import { LIMITS, parseDaemonConfig, parseServiceConfig, SETTINGS, type SettingTexts } from "./config.ts";
import { completeServer, type DeclaredService, type DeclaredState } from "./declared_state.ts";
import { OperatorError } from "./errors.ts";
import { addressesOf, formatListener, overlap } from "./listener_text.ts";
import { describeNameConflict, findNameConflicts, type NameConflict } from "./name_claims.ts";
import type { SavedListener } from "./saved_state.ts";

/**
 * What is wrong, and with what: a service, perhaps one of its settings (by flag), listeners or servers (indexes); without a
 * service, the daemon.
 */
export interface StateFault {
  readonly service?: string;
  readonly setting?: string;
  readonly listener?: number;
  readonly server?: number;
  readonly sentence: string;
}

/** A service that listens on a port. */
interface PortUser {
  readonly service: string;
  readonly listener: SavedListener;
}

/**
 * Everything that is wrong with a state whose values are valid, each by itself. Empty: nothing. `nameless`: services whose names or
 * protocols are not known, and in nobody's way.
 */
export function faultsOfState(state: DeclaredState, nameless: ReadonlySet<string> = new Set()): StateFault[] {
  const { services } = state;
  const counts = countFaults(services);
  return [
    ...services.flatMap(({ name, settings }) =>
      configFaults(settings, parseServiceConfig).map((fault) => ({ service: name, ...fault }))
    ),
    ...configFaults(state.daemon, parseDaemonConfig),
    ...services.flatMap(poolFaults),
    ...(counts.length === 0 ? portFaults(services) : []), // which takes a step for each port
    ...nameFaults(services.filter(({ name }) => !nameless.has(name))),
    ...counts,
  ];
}

/** Settings that exclude or need each other. */
function configFaults(settings: SettingTexts, parse: (texts: SettingTexts) => unknown): StateFault[] {
  try {
    parse(settings);
    return [];
  } catch (error) {
    if (error instanceof OperatorError) return [{ sentence: error.message }];
    throw error;
  }
}

/** Servers that are in a pool twice, that a service would send its own clients to, or that a range of ports has no room for. */
function poolFaults(service: DeclaredService): StateFault[] {
  const seen = new Set<string>();
  const faults = service.servers.flatMap((server, index): StateFault[] => {
    const isTwice = seen.size === seen.add(server.server).size;
    const sentence = isTwice
      ? `Server ${server.server} is in service "${service.name}" more than once`
      : unreachable(server.server, service);
    return sentence === undefined ? [] : [{ service: service.name, server: index, sentence }];
  });
  const weightTotal = service.servers.reduce((sum, server) => sum + completeServer(server).weight, 0);
  if (weightTotal <= LIMITS.weightTotalMax) return faults;
  const sentence = `The weights of service "${service.name}" add up to ${weightTotal}, and the limit is ${LIMITS.weightTotalMax}`;
  return [...faults, { service: service.name, sentence }];
}

/** Why clients of the service cannot be sent to this server. A range of ports leads to as many ports of each server. */
function unreachable(name: string, { listeners }: DeclaredService): string | undefined {
  const server = parseAddress(name);
  for (const listener of listeners) {
    const { address, port, lastPort = port } = listener;
    const isOwn = server.port >= port && server.port <= lastPort &&
      reaches(server, { host: address, port: server.port });
    if (isOwn) return `Server ${name} is where the service itself listens (${formatListener(listener)}): choose another port`;
    const fault = roomFault(name, listener);
    if (fault !== undefined) return fault;
  }
}

/** Why a server has too few ports for a listener, as a sentence; undefined: it has enough. */
export function roomFault(server: string, listener: SavedListener): string | undefined {
  const last = parseAddress(server).port + (listener.lastPort ?? listener.port) - listener.port;
  if (last <= 65_535) return undefined;
  return `Server ${server} would need ports up to ${last} for listener ${formatListener(listener)}: use lower ones`;
}

/** Listeners that would be in each other's way, and servers that are where another service listens. */
function portFaults(services: readonly DeclaredService[]): StateFault[] {
  const byPort = new Map<number, PortUser[]>();
  const faults = services.flatMap((service) => listenerFaults(service, byPort));
  return [...faults, ...services.flatMap((service) => loopFaults(service, byPort))];
}

/** Listeners of a service that are in the way of earlier ones; they are added to them. */
function listenerFaults({ name, listeners }: DeclaredService, byPort: Map<number, PortUser[]>): StateFault[] {
  const faults: StateFault[] = [];
  for (const [index, listener] of listeners.entries()) {
    const ports = addressesOf(listener).map(({ port }) => port);
    // Services that have the very same address share it: their clients are told apart by name.
    const isShared = (other: PortUser) => other.service !== name && formatListener(other.listener) === formatListener(listener);
    const other = ports.flatMap((port) => byPort.get(port) ?? [])
      .find((other) => overlap(other.listener, listener) && !isShared(other));
    if (other !== undefined) {
      const whose = other.service === name ? "this service" : `service "${other.service}"`;
      const sentence = `Listener ${formatListener(listener)} is in the way of ${formatListener(other.listener)} of ${whose}: ` +
        "they share a port";
      faults.push({ service: name, listener: index, sentence });
    }
    const own = { listener, service: name };
    for (const port of ports) if (!byPort.get(port)?.push(own)) byPort.set(port, [own]);
  }
  return faults;
}

/** Servers that are where another service listens: a balancer does not balance to itself. */
function loopFaults({ name, servers }: DeclaredService, byPort: ReadonlyMap<number, readonly PortUser[]>): StateFault[] {
  return servers.flatMap(({ server }, index) => {
    const address = parseAddress(server);
    const { port } = address;
    const user = byPort.get(port)?.find(({ service, listener }) =>
      service !== name && reaches(address, { host: listener.address, port })
    );
    if (user === undefined) return [];
    const where = `service "${user.service}" listens (${formatListener(user.listener)})`;
    return [{ service: name, server: index, sentence: `Server ${server} is where ${where}: choose another port` }];
  });
}

/**
 * Services that are for the same clients of an address that they share: each must have other names (--sni) or protocols (--alpn),
 * but for one. Services whose settings do not fit each other are left out.
 */
export function nameFaults(services: readonly DeclaredService[]): StateFault[] {
  // Most ports have one user, whose address need not be put into words: this is done for each change.
  const users = new Map<number, number>();
  for (const { listeners } of services) for (const { port } of listeners) users.set(port, (users.get(port) ?? 0) + 1);
  const shared = Map.groupBy(
    services.flatMap((service) =>
      service.listeners.flatMap((listener, index) =>
        users.get(listener.port) === 1 ? [] : [{ service, listener: index, address: formatListener(listener) }]
      )
    ),
    ({ address }) => address,
  );
  return [...shared].flatMap(([address, all]) => {
    const members = all.filter(({ service }, i) => all[i - 1]?.service !== service); // an address twice is said elsewhere
    if (members.length === 1) return [];
    const claims = members.flatMap(({ service: { name: title, settings } }, index) => {
      if (configFaults(settings, parseServiceConfig).length > 0) return [];
      const { serverNames: names, protocols } = parseServiceConfig(settings);
      return [{ service: index, title, names, protocols }];
    });
    return [...findNameConflicts(claims)].map((conflict): StateFault => {
      const { service, listener } = members[conflict.claim.service];
      const setting = settingOf(conflict);
      const place = setting === undefined ? { listener } : { setting };
      return { service: service.name, ...place, sentence: describeNameConflict(conflict, address) };
    });
  });
}

/** The flag of the setting by which a service claims what another one has; undefined: it claims all that no other service has. */
function settingOf({ name, protocol }: NameConflict): string | undefined {
  if (name !== undefined) return SETTINGS.serverNames.flag;
  return protocol === undefined ? undefined : SETTINGS.protocols.flag;
}

function countFaults(services: readonly DeclaredService[]): StateFault[] {
  const listeners = services.flatMap(({ listeners }) => listeners)
    .reduce((sum, listener) => sum + (listener.lastPort ?? listener.port) - listener.port + 1, 0);
  const counts: readonly [what: string, count: number, max: number][] = [
    ["services", services.length, LIMITS.servicesMax],
    ["servers", services.reduce((sum, { servers }) => sum + servers.length, 0), LIMITS.serversMax],
    ["listeners (one for each port)", listeners, LIMITS.listenersMax],
  ];
  return counts.filter(([, count, max]) => count > max)
    .map(([what, count, max]) => ({ sentence: `There are ${count} ${what}, and the limit is ${max}` }));
}
