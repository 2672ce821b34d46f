// Where a request comes from: the dashboard's own page or a person, and nobody else.

import { assertEquals, assertThrows } from "@std/assert";
import { hostsOf, type Provenance, refuseForeign } from "../../lib/dashboard/origin.ts";
import { Refused } from "../../lib/dashboard/refused.ts";

const HOSTS = hostsOf({ host: "127.0.0.1", port: 8090 });
const OWN: Provenance = { method: "GET", host: "127.0.0.1:8090", origin: "", fetchSite: "same-origin", fetchMode: "cors" };
const WRITE: Provenance = { ...OWN, method: "POST", origin: "http://127.0.0.1:8090" };

const NAMES: readonly [what: string, args: Parameters<typeof hostsOf>, hosts: readonly string[]][] = [
  ["loopback", [{ host: "127.0.0.1", port: 8090 }], ["127.0.0.1:8090", "localhost:8090"]],
  ["IPv6 loopback", [{ host: "::1", port: 1 }], ["[::1]:1", "localhost:1"]],
  ["an address", [{ host: "10.0.0.1", port: 8090 }], ["10.0.0.1:8090"]],
  ["the usual port", [{ host: "10.0.0.1", port: 80 }], ["10.0.0.1:80", "10.0.0.1"]],
  ["all addresses: not the address that means them", [{ host: "0.0.0.0", port: 1 }], ["127.0.0.1:1", "localhost:1"]],
  ["all IPv6 addresses", [{ host: "::", port: 1 }], ["[::1]:1", "localhost:1"]],
  ["names", [{ host: "10.0.0.1", port: 1 }, ["Lb.Example", "x:8443"]], ["10.0.0.1:1", "lb.example", "x:8443"]],
];

for (const [what, args, hosts] of NAMES) {
  Deno.test(`hostsOf() ${what}`, () => assertEquals([...hostsOf(...args)], hosts));
}

const TAKEN: readonly [what: string, asking: Partial<Provenance>, hasToken?: boolean][] = [
  ["the page's own request", {}],
  ["what a person typed", { fetchSite: "none", fetchMode: "navigate" }],
  ["a program that says nothing", { fetchSite: "", fetchMode: "" }],
  ["the other name of loopback", { host: "localhost:8090", origin: "http://localhost:8090" }],
  ["a host in upper case", { host: "LOCALHOST:8090" }],
  ["a change by the page", WRITE],
  ["a change through TLS in front", { ...WRITE, origin: "https://127.0.0.1:8090" }],
  ["a link with a token on another site", { fetchSite: "cross-site", fetchMode: "navigate" }, true],
];

for (const [what, asking, hasToken] of TAKEN) {
  Deno.test(`refuseForeign() takes ${what}`, () => refuseForeign({ ...OWN, ...asking }, HOSTS, hasToken));
}

const REFUSED: readonly [what: string, status: number, asking: Partial<Provenance>, hasToken?: boolean][] = [
  ["a name that was bound to loopback (DNS rebinding)", 421, { host: "evil.example:8090" }],
  ["a name of loopback without the port", 421, { host: "localhost" }],
  ["another port", 421, { host: "127.0.0.1:80" }],
  ["no host", 421, { host: "" }],
  ["two hosts", 421, { host: "127.0.0.1:8090, evil.example" }],
  ["a name with our own in it", 421, { host: "127.0.0.1:8090.evil.example" }],
  ["a name with a dot at its end", 421, { host: "localhost.:8090" }],
  ["the address that means all", 421, { host: "0.0.0.0:8090" }],
  ["a page of another site", 403, { fetchSite: "cross-site" }],
  ["a page on another port of the machine", 403, { fetchSite: "same-site" }],
  ["a link on another site", 403, { fetchSite: "cross-site", fetchMode: "navigate" }],
  ["a picture on another site, with a token", 403, { fetchSite: "cross-site", fetchMode: "no-cors" }, true],
  ["a form on another site, with a token", 403, { ...WRITE, fetchSite: "cross-site", fetchMode: "navigate" }, true],
  ["a read by another origin", 403, { origin: "http://evil.example" }],
  ["a change by another origin", 403, { ...WRITE, origin: "http://evil.example" }],
  ["a change by another port", 403, { ...WRITE, origin: "http://127.0.0.1:8091" }],
  ["a change by the other name of loopback", 403, { ...WRITE, origin: "http://localhost:8090" }],
  ["a change by an origin that begins like ours", 403, { ...WRITE, origin: "http://127.0.0.1:8090.evil.example" }],
  ["a change by an origin that hides itself", 403, { ...WRITE, origin: "null" }],
  ["a change that does not say from where", 403, { ...WRITE, origin: "" }],
  ["a change by another scheme", 403, { ...WRITE, origin: "file://127.0.0.1:8090" }],
];

for (const [what, status, asking, hasToken] of REFUSED) {
  Deno.test(`refuseForeign() refuses ${what}`, () => {
    assertEquals(assertThrows(() => refuseForeign({ ...OWN, ...asking }, HOSTS, hasToken), Refused).status, status);
  });
}
