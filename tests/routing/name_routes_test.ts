// Services by name and protocol: exact before wildcard before nameless, a protocol before any; a conflict names both services.

import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  chooseService as choose,
  compileNameRoutes,
  type NameRoutes,
  NO_SERVICE,
  SAYS_NOTHING,
} from "../../lib/routing/name_routes.ts";
import type { ClientHello } from "../../lib/values/client_hello.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import type { NameClaim } from "../../lib/values/name_claims.ts";

const ADDRESS = "0.0.0.0:443";

/** Claims such as `api: a.example,*.example h2`; a service's index is its place. */
function claimsOf(...lines: readonly string[]): NameClaim[] {
  return lines.map((line, service) => {
    const [, title, names, protocols] = line.match(/^(\w+):(?: (\S+))?(?: (\S+))?$/)!;
    return { service, title, names: listOf(names), protocols: listOf(protocols) };
  });
}

/** The index of the chosen service. */
function chooseService(routes: NameRoutes, hello: ClientHello): number {
  return choose(routes, hello).service;
}

/** The parts of a list; of `-` and of none, none. */
function listOf(text: string | undefined): string[] {
  return text === undefined || text === "-" ? [] : text.split(",");
}

const SERVICES = claimsOf(
  "exact: api.example.com,www.example.com",
  "exactH2: api.example.com h2",
  "wild: *.example.com",
  "wildMail: *.example.com imap,pop3",
  "onlyH3: only.example.org h3",
  "nameless:",
  "namelessDns: - dot",
);

/** A client's name (`-` for none), its protocols, and the service that it gets. */
const CHOICES: readonly (readonly [name: string, alpn: string, title: string])[] = [
  ["api.example.com", "-", "exact"],
  ["api.example.com", "http/1.1", "exact"],
  ["api.example.com", "http/1.1,h2", "exactH2"],
  ["api.example.com", "imap", "exact"],
  ["www.example.com", "h2", "exact"],
  ["other.example.com", "h2", "wild"],
  ["other.example.com", "h2,pop3", "wildMail"],
  ["example.com", "-", "nameless"],
  ["a.b.example.com", "-", "nameless"],
  ["a.b.example.com", "dot", "namelessDns"],
  ["only.example.org", "h3", "onlyH3"],
  ["only.example.org", "h2", "nameless"],
  ["localhost", "-", "nameless"],
  ["com", "-", "nameless"],
  ["-", "-", "nameless"],
  ["-", "h2,dot", "namelessDns"],
];

for (const [name, alpn, title] of CHOICES) {
  Deno.test(`a client that asks for ${name} and offers ${alpn} gets ${title}`, () => {
    const routes = compileNameRoutes(SERVICES, ADDRESS);
    const hello = { name: name === "-" ? undefined : name, alpn: listOf(alpn) };
    assertEquals(SERVICES[chooseService(routes!, hello)].title, title);
  });
}

Deno.test("of several protocols, the client's preference counts", () => {
  const routes = compileNameRoutes(claimsOf("one: a.example one", "two: a.example two"), ADDRESS)!;
  assertEquals(chooseService(routes, { name: "a.example", alpn: ["three", "two", "one"] }), 1);
  assertEquals(chooseService(routes, { name: "a.example", alpn: ["one", "two"] }), 0);
});

Deno.test("a choice says by which protocol it was made, and routes say which services they lead to", () => {
  const routes = compileNameRoutes(SERVICES, ADDRESS)!;
  const protocolOf = (name: string, ...alpn: string[]) => choose(routes, { name, alpn }).protocol;
  assertEquals(protocolOf("api.example.com", "http/1.1", "h2"), "h2");
  assertEquals(protocolOf("api.example.com", "http/1.1"), undefined);
  assertEquals(protocolOf("only.example.org", "h2"), undefined);
  assertEquals(routes.services, [0, 1, 2, 3, 4, 5, 6]);
});

Deno.test("where no service is without names, a client that says nothing gets none", () => {
  const routes = compileNameRoutes(claimsOf("api: api.example.com", "wild: *.example.com"), ADDRESS)!;
  assertEquals(chooseService(routes, SAYS_NOTHING), NO_SERVICE);
  assertEquals(chooseService(routes, { name: "example.com", alpn: ["h2"] }), NO_SERVICE);
  assertEquals(chooseService(compileNameRoutes(SERVICES, ADDRESS)!, SAYS_NOTHING), 5);
});

Deno.test("one service that takes every client leaves nothing to choose; of one with names or protocols, others are none's", () => {
  assertEquals(compileNameRoutes(claimsOf("default:"), ADDRESS), null);
  const named = compileNameRoutes(claimsOf("api: a.example"), ADDRESS)!;
  assertEquals([chooseService(named, { name: "a.example", alpn: [] }), chooseService(named, SAYS_NOTHING)], [0, NO_SERVICE]);
  const h2 = compileNameRoutes(claimsOf("h2: - h2"), ADDRESS)!;
  assertEquals([chooseService(h2, { name: "a.example", alpn: ["h2"] }), chooseService(h2, SAYS_NOTHING)], [0, NO_SERVICE]);
  assertEquals(chooseService(compileNameRoutes([], ADDRESS)!, SAYS_NOTHING), NO_SERVICE);
});

const WAY_OUT = "; give one of them other names (--sni) or protocols (--alpn), or another address";
/** Claims, and the sentence up to the way out. */
const CONFLICTS: readonly (readonly [claims: readonly string[], sentence: string])[] = [
  [["a: x.example", "b: y.example,x.example"], 'Services "a" and "b" are both for x.example on 0.0.0.0:443'],
  [["a: *.example", "b: x.example", "c: *.example"], 'Services "a" and "c" are both for *.example on 0.0.0.0:443'],
  [
    ["a: x.example h2,h3", "b: x.example", "c: x.example h1,h3"],
    'Services "a" and "c" are both for x.example with the protocol h3 on 0.0.0.0:443',
  ],
  [["a:", "b: x.example", "c:"], 'Services "a" and "c" are both for clients whose name no other service has on 0.0.0.0:443'],
  [
    ["a: - h2", "b:", "c: - h2"],
    'Services "a" and "c" are both for clients whose name no other service has with the protocol h2 on 0.0.0.0:443',
  ],
];

for (const [claims, sentence] of CONFLICTS) {
  Deno.test(`${claims.join("; ")}: a conflict`, () => {
    const error = assertThrows(() => compileNameRoutes(claimsOf(...claims), ADDRESS), OperatorError);
    assertEquals([error.kind, error.message], ["conflict", sentence + WAY_OUT]);
  });
}

Deno.test("routes can be sent to workers", () => {
  const routes = compileNameRoutes(SERVICES, ADDRESS)!;
  assertEquals(structuredClone(routes), routes);
});

/** How much a claim's name is worth for a client; 0: nothing. */
function worthOf(names: readonly string[], asked: string | undefined): number {
  if (names.length === 0) return 1;
  if (asked === undefined) return 0;
  if (names.includes(asked)) return 3;
  return names.some((name) => name.startsWith("*.") && asked.replace(/^[^.]+/, "*") === name) ? 2 : 0;
}

/** The choice by comparing every claim with every other one. */
function chooseSlowly(claims: readonly NameClaim[], { name, alpn }: ClientHello): number {
  const ranked = claims.flatMap(({ service, names, protocols }) => {
    const worth = worthOf(names, name);
    const rank = protocols.length === 0 ? alpn.length : alpn.findIndex((protocol) => protocols.includes(protocol));
    return worth === 0 || rank < 0 ? [] : [{ service, worth, rank }];
  });
  return ranked.sort((a, b) => b.worth - a.worth || a.rank - b.rank)[0]?.service ?? NO_SERVICE;
}

Deno.test("any choice is that of a comparison with all claims, and conflicts are claims of the same name and protocol", () => {
  const name = fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 3 }).map((labels) => labels.join("."));
  const protocol = fc.constantFrom("p", "q", "r");
  const pattern = fc.tuple(fc.boolean(), name).map(([isWildcard, name]) => (isWildcard ? "*." : "") + name);
  const claims = fc.array(
    fc.record({ names: fc.uniqueArray(pattern, { maxLength: 4 }), protocols: fc.uniqueArray(protocol, { maxLength: 2 }) }),
    { maxLength: 5 },
  ).map((list) => list.map((claim, service) => ({ ...claim, service, title: `s${service}` })));
  const hello = fc.record({ name: fc.option(name, { nil: undefined }), alpn: fc.uniqueArray(protocol) });
  let [chosen, conflicts] = [0, 0];
  fc.assert(
    fc.property(claims, fc.array(hello, { minLength: 1, maxLength: 10 }), (claims, hellos) => {
      const parts = claims.flatMap(({ names, protocols }) => {
        const all = (list: readonly string[]) => list.length === 0 ? [""] : list;
        return all(names).flatMap((name) => all(protocols).map((protocol) => `${name} ${protocol}`));
      });
      if (new Set(parts).size < parts.length) {
        conflicts++;
        assertThrows(() => compileNameRoutes(claims, ADDRESS), OperatorError, "are both for");
        return;
      }
      const routes = compileNameRoutes(claims, ADDRESS);
      for (const hello of hellos) {
        const service = routes === null ? 0 : chooseService(routes, hello);
        assertEquals(service, chooseSlowly(claims, hello));
        if (service !== NO_SERVICE) chosen++;
      }
    }),
    { numRuns: 500 },
  );
  assert(chosen > 100 && conflicts > 20, `${chosen} chosen, ${conflicts} conflicts`);
});
