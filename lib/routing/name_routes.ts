/**
 * Which service of a listener a client asks for, by the name and the protocols in its ClientHello: an exact name before a wildcard,
 * a wildcard before the services without names; at each of these steps a protocol, in the client's order of preference, before a
 * service for any protocol. Where nothing matches at a step, the next one is tried.
 */

import type { ClientHello } from "../values/client_hello.ts";
import { OperatorError } from "../values/errors.ts";
import { describeNameConflict, findNameConflicts, type NameClaim } from "../values/name_claims.ts";
import { WILDCARD } from "../values/server_names.ts";

/** The services of one name, by their indexes. */
interface NamedServices {
  readonly byProtocol: ReadonlyMap<string, number>;
  /** The service for any other protocol, or NO_SERVICE. */
  readonly any: number;
}

/** The claims of all services of a listener, compiled. Plain data that never changes and may be sent to workers. */
export interface NameRoutes {
  /** Every service that a client may get by them. */
  readonly services: readonly number[];
  readonly exact: ReadonlyMap<string, NamedServices>;
  /** By what follows the star and its dot. */
  readonly wildcard: ReadonlyMap<string, NamedServices>;
  readonly nameless: NamedServices;
}

/** No service is for the client, or it is not known yet which one is. */
export const NO_SERVICE = -1;

/** The service that is for a client. */
export interface ServiceChoice {
  /** Its index, or NO_SERVICE. */
  readonly service: number;
  /** The protocol by which it was chosen; undefined: it was not chosen by one. */
  readonly protocol: string | undefined;
}

const NO_CHOICE: ServiceChoice = { service: NO_SERVICE, protocol: undefined };
/** What a client asks for that says nothing: it does not speak TLS, or not as it should. */
export const SAYS_NOTHING: ClientHello = { name: undefined, alpn: [] };

const NOBODY: NamedServices = { byProtocol: new Map(), any: NO_SERVICE };

/**
 * Compiles the claims of the services of one listener, which `address` names in errors. Null if there is nothing to choose: one
 * service takes every client. Throws a `conflict` error where two services claim the same.
 */
export function compileNameRoutes(claims: readonly NameClaim[], address: string): NameRoutes | null {
  const [first] = claims;
  if (claims.length === 1 && first.names.length === 0 && first.protocols.length === 0) return null;
  for (const conflict of findNameConflicts(claims)) throw new OperatorError("conflict", describeNameConflict(conflict, address));
  const steps: Record<Step, Map<string, NamedServices>> = { exact: new Map(), wildcard: new Map(), nameless: new Map() };
  for (const claim of claims) {
    const own = servicesOf(claim); // one object for all names of the service that no other one has
    for (const name of claim.names.length === 0 ? [undefined] : claim.names) {
      const { step, key } = placeOf(name);
      const others = steps[step].get(key);
      steps[step].set(key, others === undefined ? own : join(others, own));
    }
  }
  const services = claims.map(({ service }) => service);
  return { services, exact: steps.exact, wildcard: steps.wildcard, nameless: steps.nameless.get("") ?? NOBODY };
}

/** The steps of a choice. */
type Step = "exact" | "wildcard" | "nameless";

/** Where the services of a name are. */
function placeOf(name: string | undefined): { readonly step: Step; readonly key: string } {
  if (name === undefined) return { step: "nameless", key: "" };
  return name.startsWith(WILDCARD) ? { step: "wildcard", key: name.slice(WILDCARD.length) } : { step: "exact", key: name };
}

/** The service that the client asks for. */
export function chooseService({ exact, wildcard, nameless }: NameRoutes, { name, alpn }: ClientHello): ServiceChoice {
  const dot = name?.indexOf(".") ?? -1;
  return chooseByProtocol(name === undefined ? undefined : exact.get(name), alpn) ??
    chooseByProtocol(dot < 0 ? undefined : wildcard.get(name!.slice(dot + 1)), alpn) ??
    chooseByProtocol(nameless, alpn) ?? NO_CHOICE;
}

function chooseByProtocol(services: NamedServices | undefined, alpn: readonly string[]): ServiceChoice | undefined {
  if (services === undefined) return undefined;
  if (services.byProtocol.size > 0) {
    for (const protocol of alpn) {
      const service = services.byProtocol.get(protocol);
      if (service !== undefined) return { service, protocol };
    }
  }
  return services.any === NO_SERVICE ? undefined : { service: services.any, protocol: undefined };
}

function servicesOf({ service, protocols }: NameClaim): NamedServices {
  if (protocols.length === 0) return { byProtocol: NOBODY.byProtocol, any: service };
  return { byProtocol: new Map(protocols.map((protocol) => [protocol, service])), any: NO_SERVICE };
}

function join(some: NamedServices, others: NamedServices): NamedServices {
  return {
    byProtocol: new Map([...some.byProtocol, ...others.byProtocol]),
    any: some.any === NO_SERVICE ? others.any : some.any,
  };
}
