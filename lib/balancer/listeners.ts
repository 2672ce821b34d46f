/**
 * The listeners of all services: which are open, under which index the engine has them, and for whom. Connections are told of by
 * the index of their listener until they end; until then it is given to no other.
 */

import { type Address, formatAddress } from "../values/address.ts";
import { LIMITS, type ServiceConfig } from "../values/config.ts";
import { messageOf, OperatorError } from "../values/errors.ts";
import { addressesOf, formatListener } from "../values/listener_text.ts";
import type { SavedListener } from "../values/saved_state.ts";
import type { EngineKind, ServiceListener } from "../engine/engine.ts";
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
  /** By index; a hole is free or, before the change is taken over, new. */
  readonly #listeners: (ServiceListener | undefined)[] = [];
  /** By index: opened or handed over by a change that is not taken over yet. */
  readonly #pending = new Map<number, ServiceListener>();
  readonly #free: number[] = [];
  /** By index: the address and the service, kept until the index is used again. */
  readonly places: AccessPlace[] = [];
  readonly #options: ListenersOptions;

  constructor(options: ListenersOptions) {
    this.#options = options;
  }

  /** What the engine is to have, as a new array. */
  get published(): readonly (ServiceListener | undefined)[] {
    return [...this.#listeners];
  }

  /** The addresses of all listeners. */
  addresses(): Address[] {
    return this.#listeners.flatMap((one) => one === undefined ? [] : [one.listener.address]);
  }

  /** The open listeners for the metrics. */
  measured(): { readonly index: number; readonly address: string; readonly service: string }[] {
    return this.#listeners.flatMap((listener, index) => {
      const { listener: address, service } = this.places[index] ?? {};
      return listener === undefined ? [] : [{ index, address, service }];
    });
  }

  /** The address of the listener with this index, with the real port. */
  addressOf(index: number): Address {
    return (this.#pending.get(index) ?? this.#listeners[index])!.listener.address;
  }

  /**
   * Opens all ports of a listener, or none, for a change that is to be taken over. A port that is open already, which another
   * listener gives up in the same change, is handed over: no client is refused meanwhile. Throws `listenError`, or `conflict` at
   * the limit.
   */
  open(saved: SavedListener, service: ListeningService): Listening {
    const indexes: number[] = [];
    try {
      for (const [portOffset, address] of addressesOf(saved).entries()) {
        const index = this.#indexOf(address) ?? this.#takeIndex();
        indexes.push(index);
        const listener = this.#listeners[index]?.listener ?? this.#options.listen(address, service.config);
        this.#pending.set(index, { listener, service: service.index, portOffset });
      }
    } catch (error) {
      this.discard(indexes);
      throw error;
    }
    const { port } = this.addressOf(indexes[0]);
    return { saved: saved.port === 0 ? { ...saved, port } : saved, indexes, fault: null };
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
  discard(indexes: readonly number[]): void {
    for (const index of indexes) {
      const pending = this.#pending.get(index);
      this.#pending.delete(index);
      if (this.#listeners[index] !== undefined) continue; // it was to be handed over
      pending?.listener[Symbol.dispose]();
      this.#free.push(index);
    }
  }

  /** The change that `open` was for is made: the engine is to have these. */
  adopt(indexes: readonly number[], name: string): void {
    for (const index of indexes) {
      const pending = this.#pending.get(index);
      if (pending === undefined) continue; // the service had it before
      this.#pending.delete(index);
      this.#listeners[index] = pending;
      this.places[index] = { listener: formatAddress(pending.listener.address), service: name };
    }
  }

  /** Takes listeners out of what the engine is to have, unless they were handed over; the engine closes them. */
  withdraw(indexes: readonly number[], service: number): void {
    for (const index of indexes) {
      if (this.#pending.has(index) || this.#listeners[index]?.service !== service) continue;
      this.#listeners[index] = undefined;
      this.#free.push(index);
    }
  }

  /** Closes everything: there is no engine. */
  closeAll(): void {
    for (const one of [...this.#listeners, ...this.#pending.values()]) one?.listener[Symbol.dispose]();
  }

  /** The index of the open listener with this address. */
  #indexOf(address: Address): number | undefined {
    const isAt = (other: Address) => other.port === address.port && formatAddress(other) === formatAddress(address);
    const index = this.#listeners.findIndex((one, index) =>
      one !== undefined && !this.#pending.has(index) && isAt(one.listener.address)
    );
    return address.port === 0 || index < 0 ? undefined : index;
  }

  #takeIndex(): number {
    const { isFree, onTaken } = this.#options;
    const at = this.#free.findIndex(isFree);
    const index = at >= 0 ? this.#free.splice(at, 1)[0] : this.#listeners.length;
    if (index >= LIMITS.listenersMax) {
      const why = `the balancer listens on ${LIMITS.listenersMax} ports, which is the limit; give up another first`;
      throw new OperatorError("conflict", `Cannot listen on one more port: ${why}`);
    }
    this.#listeners[index] = undefined; // taken
    onTaken(index);
    return index;
  }
}

/** Whether both stand for the same ports. */
export function isSameListener(a: SavedListener, b: SavedListener): boolean {
  return formatListener(a) === formatListener(b);
}
