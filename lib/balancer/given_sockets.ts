/**
 * Where services listen by the sockets that a service manager has opened for them: its socket units say where, as an address on the
 * command line does. Pure.
 */

import { type Address, formatAddress } from "../values/address.ts";
import { OperatorError } from "../values/errors.ts";
import { addressesOf } from "../values/listener_text.ts";
import { DEFAULT_SERVICE, type SavedListener, type SavedService, type SavedState } from "../values/saved_state.ts";
import { requireFreeListeners, requireNames } from "./state_changes.ts";

/** A listening socket. */
export interface GivenSocket {
  readonly address: Address;
  /** Whose it is; undefined: its unit does not say. */
  readonly service: string | undefined;
}

/**
 * The state in which services that are given sockets listen there and nowhere else; those that are missing are added. A socket
 * whose unit does not say whose it is belongs to the service that listens there, or to `default`. The same object if that changes
 * nothing. Throws `conflict` if services cannot share an address.
 */
export function withGivenSockets(state: SavedState, sockets: readonly GivenSocket[]): SavedState {
  const byService = Map.groupBy(sockets, (socket) => socket.service ?? whoListens(state, socket)?.name ?? DEFAULT_SERVICE);
  const changed = [...byService].reduce(
    (state, [name, given]) => withListeners(state, name, given.map(({ address }) => address)),
    state,
  );
  if (changed === state) return state;
  requireNames(changed);
  return { ...changed, generation: state.generation + 1 };
}

/**
 * Throws `conflict` for a socket that no service of a declared state listens on: the file says where to listen, and nothing beside
 * it.
 */
export function requireDeclared(state: SavedState, sockets: readonly GivenSocket[], file: string): void {
  for (const socket of sockets) {
    const owner = whoListens(state, socket);
    if (owner !== undefined && (socket.service ?? owner.name) === owner.name) continue;
    const [address, whose] = [textOf(socket), socket.service === undefined ? "no service" : `not service ${quote(socket.service)}`];
    const why = `${whose} of ${file} listens there; write it into the file, or stop the socket unit`;
    throw new OperatorError("conflict", `Cannot use the socket on ${address} from the service manager: ${why}`);
  }
}

function withListeners(state: SavedState, name: string, addresses: readonly Address[]): SavedState {
  const texts = addresses.map(formatAddress);
  const before = state.services.find((service) => service.name === name);
  const kept = (before?.listeners ?? []).filter((listener) => textsOf(listener).some((text) => texts.includes(text)));
  const known = kept.flatMap(textsOf);
  const added = addresses.filter((address) => !known.includes(formatAddress(address)))
    .map(({ host: address, port }) => ({ address, port }));
  if (before !== undefined && added.length === 0 && kept.length === before.listeners.length) return state;
  const service: SavedService = { name, settings: {}, servers: [], ...before, listeners: [...kept, ...added] };
  const others = state.services.filter((other) => other !== before);
  requireFreeListeners({ ...state, services: others }, service.listeners, `Cannot listen for service ${quote(name)}`);
  return { ...state, services: [...others, service].toSorted((a, b) => a.name < b.name ? -1 : 1) };
}

function whoListens({ services }: SavedState, socket: GivenSocket): SavedService | undefined {
  const there = services.filter(({ listeners }) => listeners.some((listener) => textsOf(listener).includes(textOf(socket))));
  return there.find(({ name }) => name === socket.service) ?? there[0];
}

function textOf({ address }: GivenSocket): string {
  return formatAddress(address);
}

function textsOf(listener: SavedListener): string[] {
  return addressesOf(listener).map(formatAddress);
}

function quote(name: string): string {
  return JSON.stringify(name);
}
