/**
 * The listening sockets that a service manager has opened for this process (systemd.socket(5)): which services they are for, and
 * how the engine gets them. Descriptors that are no such sockets are refused by name.
 */

import type { GivenSocket } from "../balancer/given_sockets.ts";
import type { EngineKind, Listener, ListenerConfig } from "../engine/engine.ts";
import { openLibc } from "../engine/system/libc.ts";
import { Sockets } from "../engine/system/sockets.ts";
import { type Address, formatAddress, formatIp } from "../values/address.ts";
import { failWith, OperatorError } from "../values/errors.ts";
import { parseServiceName } from "../values/paths.ts";
import { type GivenDescriptor, serviceOfSocket } from "../values/supervision.ts";

/** A listening socket and its descriptor. */
interface Given extends GivenSocket {
  readonly descriptor: number;
}

/** The sockets of one process. */
export class GivenListeners {
  readonly sockets: readonly GivenSocket[];
  /** By address: those that no listener has yet. */
  readonly #left: Map<string, number>;

  private constructor(given: readonly Given[]) {
    this.sockets = given.map(({ address, service }) => ({ address, service }));
    this.#left = new Map(given.map(({ address, descriptor }) => [formatAddress(address), descriptor]));
  }

  /** Looks at what was given. Throws an operator error if it is no listening TCP socket. */
  static take(descriptors: readonly GivenDescriptor[]): GivenListeners {
    if (descriptors.length === 0) return new GivenListeners([]);
    try {
      using libc = openLibc();
      const sockets = new Sockets(libc);
      return new GivenListeners(descriptors.map((given) => socketOf(given, sockets)));
    } catch (error) {
      return failWith("Cannot take sockets from the service manager")(error);
    }
  }

  /** Throws an operator error if this engine cannot use what was given. */
  requireEngine(name: string, { adopt }: Pick<EngineKind, "adopt">): void {
    if (this.sockets.length === 0 || adopt !== undefined) return;
    const why = "use engine epoll, or stop the socket unit and say where to listen";
    throw new OperatorError("failed", `Engine ${name} cannot take sockets from the service manager: ${why}`);
  }

  /** The listener for this address; undefined: it was not given, or is in use. */
  inherit({ adopt }: Pick<EngineKind, "adopt">, address: Address, config: ListenerConfig): Listener | undefined {
    const descriptor = this.#left.get(formatAddress(address));
    if (descriptor === undefined) return undefined;
    this.#left.delete(formatAddress(address));
    return adopt!(address, descriptor, config);
  }
}

function socketOf({ descriptor, name }: GivenDescriptor, sockets: Sockets): Given {
  if (!sockets.isListening(descriptor)) {
    const wayOut = "its unit needs ListenStream= with an address and a port, and Accept=no";
    const what = `Descriptor ${descriptor} (${JSON.stringify(name)}) from the service manager`;
    throw new OperatorError("failed", `${what} is no TCP socket that listens: ${wayOut}`);
  }
  const service = serviceOfSocket(name);
  const { ip, port } = sockets.ownEndpoint(descriptor);
  return { descriptor, address: { host: formatIp(ip), port }, service: service && parseServiceName(service) };
}
