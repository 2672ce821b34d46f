/**
 * Whether a request comes from the dashboard's own page or from a person, and not from a page of another site that runs in the same
 * browser: judged by Host (DNS rebinding), Origin and Sec-Fetch-Site. Pure.
 */

import { type Address, formatAddress } from "../values/address.ts";
import { Refused } from "./refused.ts";

/** What a request says of where it comes from; empty where it does not say. */
export interface Provenance {
  readonly method: string;
  readonly host: string;
  readonly origin: string;
  /** Sec-Fetch-Site (Fetch Metadata). */
  readonly fetchSite: string;
  /** Sec-Fetch-Mode. */
  readonly fetchMode: string;
}

/** Methods that change nothing. */
const READS: ReadonlySet<string> = new Set(["GET", "HEAD"]);
/** A person typed it, or the page itself asked. A browser of before 2023, or no browser, says nothing. */
const OWN_SITES: ReadonlySet<string> = new Set(["", "none", "same-origin"]);
/** A browser leaves it out. */
const HTTP_PORT = ":80";
const LOOPBACK = /^(127\.[0-9.]+|::1)$/;
/** Addresses that mean all of a machine's. As a Host they are a way around the rules of browsers, and nothing else. */
const UNSPECIFIED: Readonly<Record<string, string>> = { "0.0.0.0": "127.0.0.1", "::": "::1" };

/** The Host headers by which a dashboard at this address may be asked, in lower case; `names` are others, perhaps with a port. */
export function hostsOf({ host: given, port }: Address, names: readonly string[] = []): ReadonlySet<string> {
  const host = UNSPECIFIED[given] ?? given;
  const own = LOOPBACK.test(host) ? [host, "localhost"] : [host];
  const hosts = [...own.map((host) => formatAddress({ host, port })), ...names].map((host) => host.toLowerCase());
  const short = hosts.filter((host) => host.endsWith(HTTP_PORT)).map((host) => host.slice(0, -HTTP_PORT.length));
  return new Set([...hosts, ...short]);
}

/**
 * Throws `Refused` for a request of another site. One that brings a token may follow a link of any site: who has no token gets
 * nothing by it.
 */
export function refuseForeign(asking: Provenance, hosts: ReadonlySet<string>, hasToken = false): void {
  const { method, host, origin, fetchSite, fetchMode } = asking;
  const asked = host.toLowerCase();
  if (!hosts.has(asked)) {
    throw new Refused("wrongHost", `This is not ${JSON.stringify(host)}: the dashboard answers as ${[...hosts].join(", ")} only`);
  }
  const isFollowed = hasToken && method === "GET" && fetchMode === "navigate";
  if (!isOwnSite(fetchSite) && !isFollowed) {
    throw new Refused("foreign", "A page of another site asked: the dashboard answers its own page only");
  }
  if (READS.has(method) && origin === "") return;
  if (origin === `http://${asked}` || origin === `https://${asked}`) return;
  const said = origin === "" ? "without an Origin header" : `from origin ${JSON.stringify(origin)}`;
  throw new Refused("foreign", `The request came ${said}: the dashboard answers its own page only`);
}

/** Whether requests with this method change nothing. */
export function isRead(method: string): boolean {
  return READS.has(method);
}

/** Whether a browser that says this in Sec-Fetch-Site was not led here by another site. */
export function isOwnSite(fetchSite: string): boolean {
  return OWN_SITES.has(fetchSite);
}
