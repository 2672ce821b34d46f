/**
 * What must hold of a whole declared state, beyond each value by itself: settings that fit each other, no listener and no server
 * twice, limits on numbers. Pure: it holds for a file and for a running state that a file was laid over.
 */

import { parseAddress, reaches } from "./address.ts";
import { LIMITS, parseDaemonConfig, parseServiceConfig, type SettingTexts } from "./config.ts";
import {
  completeServer,
  type DeclaredListener,
  type DeclaredService,
  type DeclaredState,
  formatListener,
  lastPortOf,
} from "./declared_state.ts";
import { OperatorError } from "./errors.ts";

/** What is wrong, and with what: a service, perhaps one of its listeners or servers (indexes); without a service, the daemon. */
export interface StateFault {
  readonly service?: string;
  readonly listener?: number;
  readonly server?: number;
  readonly sentence: string;
}

/** Everything that is wrong with a state whose values are valid, each by itself. Empty: nothing. */
export function faultsOfState(state: DeclaredState): StateFault[] {
  const { services } = state;
  const counts = countFaults(services);
  return [
    ...services.flatMap(({ name, settings }) =>
      configFaults(settings, parseServiceConfig).map((fault) => ({ service: name, ...fault }))
    ),
    ...configFaults(state.daemon, parseDaemonConfig),
    ...services.flatMap(poolFaults),
    ...(counts.length === 0 ? listenerFaults(services) : []), // which takes a step for each port
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
    const { address, port } = listener;
    const isOwn = server.port >= port && server.port <= lastPortOf(listener) &&
      reaches(server, { host: address, port: server.port });
    if (isOwn) return `Server ${name} is where the service itself listens (${formatListener(listener)}): choose another port`;
    const fault = roomFault(name, listener);
    if (fault !== undefined) return fault;
  }
}

/** Why a server has too few ports for a listener, as a sentence; undefined: it has enough. */
export function roomFault(server: string, listener: DeclaredListener): string | undefined {
  const last = parseAddress(server).port + lastPortOf(listener) - listener.port;
  if (last <= 65_535) return undefined;
  return `Server ${server} would need ports up to ${last} for listener ${formatListener(listener)}: use lower ones`;
}

/** Listeners that would be in each other's way. */
function listenerFaults(services: readonly DeclaredService[]): StateFault[] {
  const byPort = new Map<number, { readonly listener: DeclaredListener; readonly service: string }[]>();
  const faults: StateFault[] = [];
  for (const { name, listeners } of services) {
    for (const [index, listener] of listeners.entries()) {
      const other = conflictOf(listener, byPort);
      if (other !== undefined) {
        const whose = other.service === name ? "this service" : `service "${other.service}"`;
        const sentence = `Listener ${formatListener(listener)} is in the way of ${formatListener(other.listener)} of ${whose}: ` +
          "they share a port";
        faults.push({ service: name, listener: index, sentence });
      }
      for (let port = listener.port; port <= lastPortOf(listener); port++) {
        const own = { listener, service: name };
        if (!byPort.get(port)?.push(own)) byPort.set(port, [own]);
      }
    }
  }
  return faults;
}

function conflictOf<T extends { readonly listener: DeclaredListener }>(
  listener: DeclaredListener,
  byPort: ReadonlyMap<number, readonly T[]>,
): T | undefined {
  for (let port = listener.port; port <= lastPortOf(listener); port++) {
    const other = byPort.get(port)?.find(({ listener: { address } }) => overlaps(address, listener.address));
    if (other !== undefined) return other;
  }
}

/** Whether two sockets with these addresses and one port cannot be bound together. `::` takes IPv4 clients, too (ipv6(7)). */
function overlaps(one: string, other: string): boolean {
  if (one === other || one === "::" || other === "::") return true;
  if (one !== "0.0.0.0" && other !== "0.0.0.0") return false;
  return ![one, other].some((address) => address.includes(":"));
}

function countFaults(services: readonly DeclaredService[]): StateFault[] {
  const listeners = services.flatMap(({ listeners }) => listeners)
    .reduce((sum, listener) => sum + lastPortOf(listener) - listener.port + 1, 0);
  const counts: readonly [what: string, count: number, max: number][] = [
    ["services", services.length, LIMITS.servicesMax],
    ["servers", services.reduce((sum, { servers }) => sum + servers.length, 0), LIMITS.serversMax],
    ["listeners (one for each port)", listeners, LIMITS.listenersMax],
  ];
  return counts.filter(([, count, max]) => count > max)
    .map(([what, count, max]) => ({ sentence: `There are ${count} ${what}, and the limit is ${max}` }));
}
