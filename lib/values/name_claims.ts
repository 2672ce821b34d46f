/**
 * What services that share an address claim of its clients: names (SNI) and protocols (ALPN); and where two of them claim the
 * same. Which client gets which service is in `routing/name_routes.ts`.
 */

/** What one service of a listener is for. */
export interface NameClaim {
  /** The index of the service. */
  readonly service: number;
  /** What its operator calls it. */
  readonly title: string;
  /** As `parseServerNames` gives them; none: every name that no other service of the listener has. */
  readonly names: readonly string[];
  /** As `parseProtocols` gives them; none: every protocol that no other service of the name has. */
  readonly protocols: readonly string[];
}

/** What two services claim. */
export interface NameConflict {
  /** The one that has it. */
  readonly other: NameClaim;
  readonly claim: NameClaim;
  /** Undefined: every name that no other service has. */
  readonly name: string | undefined;
  /** Undefined: every protocol that no other service has. */
  readonly protocol: string | undefined;
}

/** Each claim that an earlier one has already, in their order: the first conflict of each. */
export function* findNameConflicts(claims: readonly NameClaim[]): Generator<NameConflict, void, undefined> {
  const byName = new Map<string | undefined, NameClaim[]>();
  for (const claim of claims) {
    const names = claim.names.length === 0 ? [undefined] : claim.names;
    const conflict = firstConflict(claim, names, byName);
    if (conflict !== undefined) yield conflict;
    for (const name of names) if (!byName.get(name)?.push(claim)) byName.set(name, [claim]);
  }
}

/** A conflict as a sentence; `address`: what the services share. */
export function describeNameConflict({ other, claim, name, protocol }: NameConflict, address: string): string {
  const clients = name ?? "clients whose name no other service has";
  const what = protocol === undefined ? clients : `${clients} with the protocol ${protocol}`;
  return `Services ${JSON.stringify(other.title)} and ${JSON.stringify(claim.title)} are both for ${what} on ${address}; ` +
    "give one of them other names (--sni) or protocols (--alpn), or another address";
}

function firstConflict(
  claim: NameClaim,
  names: readonly (string | undefined)[],
  byName: ReadonlyMap<string | undefined, readonly NameClaim[]>,
): NameConflict | undefined {
  const disjoint = new Set<NameClaim>(); // services that share a name often share many
  for (const name of names) {
    for (const other of byName.get(name) ?? []) {
      if (disjoint.has(other)) continue;
      const protocol = claim.protocols.find((protocol) => other.protocols.includes(protocol));
      if (protocol !== undefined || claim.protocols.length + other.protocols.length === 0) return { other, claim, name, protocol };
      disjoint.add(other);
    }
  }
}
