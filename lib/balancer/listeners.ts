/**
 * The listeners of all services: which are open, under which index the engine has them, and for whom. Connections are told of by
 * the index of their listener until they end; until then it is given to no other.
 */

import { type Address, formatAddress } from "../values/address.ts";
import { LIMITS, type ServiceConfig } from "../values/config.ts";
import { messageOf, OperatorError } from "../values/errors.ts";
import { addressesOf, formatListener } from "../values/listener_text.ts";
import type { SavedListener } from "../values/saved_state.ts";
import { compileNameRoutes } from "../routing/name_routes.ts";
import type { EngineKind, Listener, ServiceListener } from "../engine/engine.ts";
import type { AccessPlace } from "../observe/access_line.ts";

/** Where a service listens. */
export interface Listening {
  /** With the real port in place of 0. */
  readonly saved: SavedListener;
  /** One for each port; none where it could not be opened. */
  readonly indexes: readonly number[];
  /** Why it could not be opened, as a sentence; null: it is open. */
  readonly fault: string | null;
}

/** Whose listener it is. */
interface ListeningService {
  readonly index: number;
  readonly name: string;
  readonly config: ServiceConfig;
}

/** An open port, and the services that have it: several where clients are told apart by the names that they ask for. */
interface Port {
  readonly listener: Listener;
  portOffset: number;
  /** By index of the service. */
  readonly services: Map<number, ListeningService>;
}

/** What listeners need of the engine. */
interface ListenersOptions {
  readonly listen: EngineKind["listen"];
  /** Whether no connection is left that came through a listener with this index. */
  readonly isFree: (index: number) => boolean;
  /** Called when an index is taken. */
  readonly onTaken: (index: number) => void;
}

/** The listeners of a balancer. */
export class Listeners {
  /** By index; a hole is free. */
  readonly #ports: (Port | undefined)[] = [];
  /** By index: what the engine is to have; a port without a service is not in it. */
  readonly #published: (ServiceListener | undefined)[] = [];
  /** Opened for changes that are not taken over yet. */
  readonly #pending = new Set<Listening>();
  readonly #free: number[] = [];
  /** Indexes of ports that `publish` must look at: there may be thousands, and a change concerns a few. */
  readonly #changed = new Set<number>();
  /** By index, and by index of the service: what the access log says, kept until the index is used again. */
  readonly #places: Map<number, AccessPlace>[] = [];
  /** By index: the addresses of ports of ranges that were closed. */
  readonly #closedOfRanges = new Map<number, string>();
  readonly #options: ListenersOptions;

  constructor(options: ListenersOptions) {
    this.#options = options;
  }

  /** What the engine is to have, as a new array. */
  get published(): readonly (ServiceListener | undefined)[] {
    return [...this.#published];
  }

  /** The addresses of all listeners. */
  addresses(): Address[] {
    return this.#ports.flatMap((port) => port === undefined ? [] : [port.listener.address]);
  }

  /** The open listeners for the metrics. */
  measured(): { readonly index: number; readonly address: string; readonly service: string }[] {
    return this.#published.flatMap((listener, index) => {
      if (listener === undefined) return [];
      const { listener: address, service } = this.placeOf(index, listener.service);
      return [{ index, address, service }];
    });
  }

  /** Where a client of this service connected; nobody's where the service of the client was not found. */
  placeOf(index: number, service: number): AccessPlace {
    const places = this.#places[index];
    const known = places.get(service);
    if (known !== undefined) return known;
    const [{ listener }] = places.values();
    places.set(service, { listener, service: "" });
    return places.get(service)!;
  }

  /** The indexes of open listeners, and their addresses. */
  places(): (readonly [index: number, address: string])[] {
    return this.#ports.flatMap((port, index) => port === undefined ? [] : [[index, formatAddress(port.listener.address)] as const]);
  }

  /**
   * Closed ports that still have connections which go to another port of a server than the one that it was added with: who knows
   * the listener no more does not know which.
   */
  leavingOfRanges(): string[] {
    return [...this.#closedOfRanges].filter(([index]) => !this.#options.isFree(index)).map(([, address]) => address);
  }

  /** The open listeners as another process is to have them: their addresses and descriptors. */
  descriptors(): { readonly address: Address; readonly descriptor: number }[] {
    return this.#ports.flatMap((port) => {
      const { address, descriptor } = port?.listener ?? {};
      return address === undefined || descriptor === undefined ? [] : [{ address, descriptor }];
    });
  }

  /** The address of the listener with this index, with the real port. */
  addressOf(index: number): Address {
    return this.#ports[index]!.listener.address;
  }

  /**
   * Opens all ports of a listener, or none, for a change that is to be taken over. A port that is open already is shared: another
   * service has it as well, or gives it up in the same change, and then no client is refused meanwhile. Throws `listenError`, or
   * `conflict` at the limit.
   */
  open(saved: SavedListener, service: ListeningService): Listening {
    const indexes: number[] = [];
    try {
      for (const address of addressesOf(saved)) indexes.push(this.#indexOf(address) ?? this.#openPort(address, service));
    } catch (error) {
      this.#closeUnused(indexes);
      throw error;
    }
    const { port } = this.addressOf(indexes[0]);
    const listening = { saved: saved.port === 0 ? { ...saved, port } : saved, indexes, fault: null };
    this.#pending.add(listening);
    return listening;
  }

  /** Like `open`, but an error becomes the fault. */
  tryToOpen(saved: SavedListener, service: ListeningService): Listening {
    try {
      return this.open(saved, service);
    } catch (error) {
      if (!(error instanceof OperatorError)) throw error;
      return { saved, indexes: [], fault: messageOf(error) };
    }
  }

  /** The change that `open` was for is not made. */
  discard(listening: Listening): void {
    this.#pending.delete(listening);
    this.#closeUnused(listening.indexes);
    for (const index of listening.indexes) this.#changed.add(index);
  }

  /** The change is made: the engine is to have these for the service, by its present settings. */
  adopt(listening: Listening, service: ListeningService): void {
    this.#pending.delete(listening);
    for (const [portOffset, index] of listening.indexes.entries()) {
      const port = this.#ports[index]!;
      port.portOffset = portOffset;
      port.services.set(service.index, service);
      this.#changed.add(index);
    }
  }

  /** The service has no listener with these indexes any more. */
  withdraw(indexes: readonly number[], service: number): void {
    for (const index of indexes) {
      this.#ports[index]?.services.delete(service);
      this.#changed.add(index);
    }
  }

  /** Makes what the engine is to have, once all services of a change are adopted; the engine closes what is not in it. */
  publish(): void {
    for (const index of this.#changed) {
      const port = this.#ports[index];
      if (port !== undefined && port.services.size > 0) this.#publishPort(index, port);
      else if (port !== undefined) {
        if (this.#isPending(index)) continue; // whose change is taken over or discarded later
        if (port.portOffset > 0) this.#closedOfRanges.set(index, formatAddress(port.listener.address));
        this.#ports[index] = undefined;
        this.#published[index] = undefined;
        this.#free.push(index);
      }
      this.#changed.delete(index);
    }
  }

  /** Closes everything: there is no engine. */
  closeAll(): void {
    for (const port of this.#ports) port?.listener[Symbol.dispose]();
  }

  /** The same object as before unless something differs: engines take over what differs. */
  #publishPort(index: number, { listener, portOffset, services: all }: Port): void {
    const services = [...all.values()].toSorted((a, b) => a.index - b.index);
    const address = formatAddress(listener.address);
    const claims = services.map(({ index, name, config }) => ({
      service: index,
      title: name,
      names: config.serverNames,
      protocols: config.protocols,
    }));
    const key = JSON.stringify([portOffset, claims]);
    if (this.#published[index] !== undefined && this.#keys[index] === key) return;
    this.#keys[index] = key;
    const routes = compileNameRoutes(claims, address) ?? undefined;
    // For clients whose service is not known yet, the settings of the one that is for everybody hold.
    const [service] = services.toSorted((a, b) => a.config.serverNames.length - b.config.serverNames.length);
    this.#published[index] = { listener, service: service.index, routes, portOffset };
    for (const { index: number, name } of services) this.#places[index].set(number, { listener: address, service: name });
  }

  /** By index: what the published one was made of. */
  readonly #keys: string[] = [];

  #isPending(index: number): boolean {
    return this.#pending.values().some(({ indexes }) => indexes.includes(index));
  }

  #closeUnused(indexes: readonly number[]): void {
    for (const index of indexes) {
      const port = this.#ports[index];
      if (port === undefined || port.services.size > 0 || this.#published[index] !== undefined || this.#isPending(index)) continue;
      port.listener[Symbol.dispose]();
      this.#ports[index] = undefined;
      this.#free.push(index);
    }
  }

  /** The index of the open port with this address. */
  #indexOf(address: Address): number | undefined {
    if (address.port === 0) return undefined;
    const text = formatAddress(address);
    const index = this.#ports.findIndex((port) => port !== undefined && formatAddress(port.listener.address) === text);
    return index < 0 ? undefined : index;
  }

  #openPort(address: Address, { config }: ListeningService): number {
    const { isFree, onTaken, listen } = this.#options;
    const at = this.#free.findIndex(isFree);
    const index = at >= 0 ? this.#free[at] : this.#ports.length;
    if (index >= LIMITS.listenersMax) {
      const why = `the balancer listens on ${LIMITS.listenersMax} ports, which is the limit; give up another first`;
      throw new OperatorError("conflict", `Cannot listen on one more port: ${why}`);
    }
    const listener = listen(address, config);
    if (at >= 0) this.#free.splice(at, 1);
    onTaken(index);
    this.#closedOfRanges.delete(index);
    this.#ports[index] = { listener, portOffset: 0, services: new Map() };
    this.#places[index] = new Map();
    return index;
  }
}

/** Whether both stand for the same ports. */
export function isSameListener(a: SavedListener, b: SavedListener): boolean {
  return formatListener(a) === formatListener(b);
}
