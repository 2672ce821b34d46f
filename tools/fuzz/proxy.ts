/**
 * Fuzzes the parser and the writer of PROXY headers. Each attempt checks that the parser does not throw, reads nothing but its
 * bytes, judges a prefix and a continuation as it judges the whole, and reads what the writer makes of what it read.
 */

import { assert, assertEquals } from "@std/assert";
import {
  looksLikeHeader,
  type ParsedHeader,
  parseProxyHeader,
  type ProxyHeader,
  writeProxyHeader,
} from "../../lib/values/proxy_header.ts";
import { Random } from "../random.ts";
import { parseAmidOthers } from "./guarded.ts";
import { anyHeader } from "./headers.ts";

/** How many attempts the parser judged how. */
export type Outcomes = Record<ParsedHeader["kind"], number>;

/** Parses the bytes. Throws if the result depends on what surrounds them. */
export function parseGuarded(bytes: Uint8Array): ParsedHeader {
  return parseAmidOthers(bytes, parseProxyHeader, areAlike);
}

/** So many attempts by chance, the same for the same seed. */
export function fuzzProxyHeaders({ seed, count }: { seed: number; count: number }): Outcomes {
  const random = new Random(seed);
  const outcomes: Outcomes = { complete: 0, incomplete: 0, malformed: 0 };
  for (let attempt = 0; attempt < count; attempt++) {
    const bytes = anyHeader(random);
    try {
      outcomes[checkOne(bytes, random)]++;
    } catch (error) {
      throw new Error(`Attempt ${attempt} of seed ${seed} failed with the bytes ${bytes.toHex()}`, { cause: error });
    }
  }
  return outcomes;
}

function checkOne(bytes: Uint8Array, random: Random): ParsedHeader["kind"] {
  const parsed = parseGuarded(bytes);
  checkLooks(bytes, parsed);
  const cut = random.below(bytes.length + 1);
  const ofBeginning = parseProxyHeader(bytes.subarray(0, cut));
  if (parsed.kind === "complete") {
    assertEquals(ofBeginning.kind, cut < parsed.length ? "incomplete" : "complete", `${cut} bytes`);
    checkRoundTrip(parsed.header);
  } else if (parsed.kind === "incomplete") assertEquals(ofBeginning.kind, "incomplete", `${cut} bytes`);
  else assert(ofBeginning.kind !== "complete", `${cut} bytes`);
  if (ofBeginning.kind === "malformed") assertEquals(parsed.kind, "malformed", `malformed at ${cut} bytes`);
  return parsed.kind;
}

function checkLooks(bytes: Uint8Array, parsed: ParsedHeader): void {
  const looks = looksLikeHeader(bytes);
  if (parsed.kind === "complete") assertEquals(looks, "yes");
  assertEquals(looks === "no", parsed.kind === "malformed" && parsed.reason.includes("neither version"));
}

/** What was read is the same after it was written and read again. */
function checkRoundTrip({ source, destination, tlvs, uniqueId }: ProxyHeader): void {
  if (source === undefined || destination === undefined) return;
  for (const version of ["v1", "v2"] as const) {
    const written = writeProxyHeader(version, { source, destination, tlvs, uniqueId: uniqueId ?? new Uint8Array(0) });
    const again = parseProxyHeader(written);
    assert(again.kind === "complete" && again.length === written.length, `${version}: ${written.toHex()}`);
    const addresses = { ...again.header, tlvs, uniqueId };
    assert(
      areHeadersAlike(version === "v2" ? { ...again.header, uniqueId: again.header.uniqueId ?? uniqueId } : addresses, {
        source,
        destination,
        tlvs,
        uniqueId,
      }),
    );
  }
}

function areAlike(one: ParsedHeader, other: ParsedHeader): boolean {
  if (one.kind === "malformed") return other.kind === one.kind && one.reason === other.reason;
  if (one.kind === "incomplete" || other.kind !== "complete") return one.kind === other.kind;
  return one.length === other.length && areHeadersAlike(one.header, other.header);
}

function areHeadersAlike(one: ProxyHeader, other: ProxyHeader): boolean {
  return one.source?.port === other.source?.port && one.destination?.port === other.destination?.port &&
    areBytesAlike(one.source?.ip, other.source?.ip) && areBytesAlike(one.destination?.ip, other.destination?.ip) &&
    areBytesAlike(one.tlvs, other.tlvs) && areBytesAlike(one.uniqueId, other.uniqueId);
}

function areBytesAlike(one: Uint8Array | undefined, other: Uint8Array | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  return one.length === other.length && one.every((byte, i) => byte === other[i]);
}
