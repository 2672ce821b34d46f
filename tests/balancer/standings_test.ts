// What was known of servers is kept over a restart, for as long as it may be true, and never in the way of anything.

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import type { KnownCondition } from "../../lib/health/admission.ts";
import { type Known, loadStandings, saveStandings, StandingsKeeper, standingsPath } from "../../lib/balancer/standings.ts";

/** Every service has these settings. */
const CONFIG = () => ({ checkIntervalMs: 2000, fall: 3 });
const NOW = new Date("2026-11-28T12:00:00Z");
const SINCE = new Date("2026-11-28T11:59:00Z");

function ago(ms: number): Date {
  return new Date(NOW.getTime() - ms);
}

const SERVERS = new Map<string, KnownCondition>([
  ["10.0.0.1:80", { state: "down", since: SINCE, reason: 'it answered "x"', restMs: 0, restLeftMs: 0 }],
  ["[2001:db8::1]:80", { state: "resting", since: SINCE, reason: "connection refused", restMs: 8000, restLeftMs: 5000 }],
  ["db.example:5432", { state: "draining", since: SINCE }],
]);
/** Two services with a server of the same name. */
const KNOWN = new Map<string, ReadonlyMap<string, KnownCondition>>([
  ["default", SERVERS],
  ["web", new Map<string, KnownCondition>([["10.0.0.1:80", { state: "draining", since: SINCE }]])],
]);

/** A folder that is gone afterwards, and the path of a file of standings in it. */
async function makeFolder(): Promise<AsyncDisposable & { path: string; file: string; names(): Promise<string[]> }> {
  const path = await Deno.makeTempDir({ prefix: "balancer_standings_" });
  return {
    path,
    file: standingsPath(`${path}/a.json`),
    names: async () => (await Array.fromAsync(Deno.readDir(path))).map(({ name }) => name).sort(),
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
}

Deno.test("loadStandings() reads back what saveStandings() writes, a rest shorter by the time between", async () => {
  await using folder = await makeFolder();
  await saveStandings(folder.file, KNOWN, ago(2000));
  const resting = { ...SERVERS.get("[2001:db8::1]:80")!, restLeftMs: 3000 } as KnownCondition;
  const servers = new Map(SERVERS).set("[2001:db8::1]:80", resting);
  assertEquals(await loadStandings(folder.file, CONFIG, NOW), { known: new Map(KNOWN).set("default", servers) });
  assertEquals(await folder.names(), ["a.json.standings"]);
});

for (const agoMs of [18_001, 3_600_000, -1000]) {
  Deno.test(`loadStandings() does not believe what was known ${agoMs} ms ago`, async () => {
    await using folder = await makeFolder();
    await saveStandings(folder.file, KNOWN, ago(agoMs));
    assertEquals(await loadStandings(folder.file, CONFIG, NOW), { known: new Map() });
  });
}

/** What 0.1.0 wrote, which had one service. */
const OLD = `{
 "format": "balancer-standings",
 "version": 1,
 "sha256": "ad6c6e4020688dd3c0a2f2647e14401c5760213b33ba1bb7e2c1ec9257954795",
 "standings": {
  "at": "2026-11-28T11:59:58.000Z",
  "servers": [
   {
    "server": "10.0.0.1:80",
    "state": "down",
    "since": "2026-11-28T11:59:00.000Z",
    "reason": "it answered \\"x\\"",
    "restMs": 0,
    "restLeftMs": 0
   }
  ]
 }
}
`;

Deno.test("a file that 0.1.0 wrote is of the service default, and one service alone is still written so", async () => {
  await using folder = await makeFolder();
  await Deno.writeTextFile(folder.file, OLD);
  const known = new Map([["default", new Map([["10.0.0.1:80", SERVERS.get("10.0.0.1:80")!]])]]);
  assertEquals(await loadStandings(folder.file, CONFIG, NOW), { known });
  await saveStandings(folder.file, known, ago(2000));
  assertEquals(JSON.parse(await Deno.readTextFile(folder.file)), JSON.parse(OLD));
});

Deno.test("what is known of a service is believed by its own settings, and of a service that is gone not at all", async () => {
  await using folder = await makeFolder();
  await saveStandings(folder.file, KNOWN, ago(60_000));
  const patient = { checkIntervalMs: 30_000, fall: 3 };
  const found = await loadStandings(folder.file, (service) => service === "web" ? patient : CONFIG(), NOW);
  assertEquals([...found.known.keys()], ["web"]);
  await saveStandings(folder.file, KNOWN, ago(1000));
  const left = await loadStandings(folder.file, (service) => service === "web" ? undefined : CONFIG(), NOW);
  assertEquals([...left.known.keys()], ["default"]);
});

Deno.test("loadStandings() of a missing file knows nothing, without a warning", async () => {
  await using folder = await makeFolder();
  assertEquals(await loadStandings(folder.file, CONFIG, NOW), { known: new Map() });
});

const BROKEN = [
  ["", "it is empty"],
  ["{", "it is incomplete or not JSON"],
  ['{"format":"balancer-state","version":1}', "another program wrote it"],
  ['{"format":"balancer-standings","version":0}', "this program reads version 1"],
  ['{"format":"balancer-standings","version":1,"standings":{"at":"x","servers":[]}}', "its list of servers is not valid"],
  [
    '{"format":"balancer-standings","version":1,"standings":{"at":"2026-11-28T12:00:00Z","servers":[{"server":"a","state":"up"}]}}',
    "its list of servers is not valid",
  ],
  [
    '{"format":"balancer-standings","version":1,"standings":{"at":"2026-11-28T12:00:00Z","servers":[{"service":7,' +
    '"server":"a:1","state":"draining","since":"2026-11-28T12:00:00Z"}]}}',
    "its list of servers is not valid",
  ],
  [
    '{"format":"balancer-standings","version":1,"sha256":"00","standings":{"at":"2026-11-28T12:00:00Z","servers":[]}}',
    "its checksum",
  ],
] as const;

for (const [text, why] of BROKEN) {
  Deno.test(`a file of standings that is ${JSON.stringify(text.slice(0, 90))} is kept aside, with a warning`, async () => {
    await using folder = await makeFolder();
    await Deno.writeTextFile(folder.file, text);
    const { known, warning = "" } = await loadStandings(folder.file, CONFIG, NOW);
    assertEquals(known, new Map());
    assertStringIncludes(warning, why);
    const [aside, ...others] = await folder.names();
    assertEquals(others, []);
    assertMatch(aside, /^a\.json\.standings\.aside-/);
    assertEquals(await Deno.readTextFile(`${folder.path}/${aside}`), text);
  });
}

Deno.test("a file of standings of a later version is left alone, with a warning", async () => {
  await using folder = await makeFolder();
  await Deno.writeTextFile(folder.file, '{"format":"balancer-standings","version":2}');
  const { known, warning = "" } = await loadStandings(folder.file, CONFIG, NOW);
  assertEquals([known, await folder.names()], [new Map(), ["a.json.standings"]]);
  assertStringIncludes(warning, "it has version 2, and this program reads version 1");
  assertMatch(warning, /; every server begins as up$/);
});

Deno.test("a byte that is changed anywhere makes the file useless, never wrong", async () => {
  await using folder = await makeFolder();
  await saveStandings(folder.file, KNOWN, ago(2000));
  const text = await Deno.readTextFile(folder.file);
  const expected = await loadStandings(folder.file, CONFIG, NOW);
  await fc.assert(
    fc.asyncProperty(fc.nat(text.length - 1), fc.constantFrom(..."a0:}\n"), async (at, letter) => {
      await using folder = await makeFolder();
      await Deno.writeTextFile(folder.file, text.slice(0, at) + letter + text.slice(at + 1));
      const found = await loadStandings(folder.file, CONFIG, NOW);
      if (found.warning === undefined) assertEquals(found, expected);
      else assertEquals(found.known, new Map());
    }),
    { numRuns: 60 },
  );
});

Deno.test("the keeper writes what is known when it is disposed of, once", async () => {
  await using folder = await makeFolder();
  let known: Known = KNOWN;
  const keeper = new StandingsKeeper(folder.file, () => known);
  await keeper[Symbol.asyncDispose]();
  known = new Map();
  await keeper[Symbol.asyncDispose]();
  assertEquals([...(await loadStandings(folder.file, CONFIG, new Date())).known.keys()], [...KNOWN.keys()]);
});

Deno.test("the keeper leaves no file where every server is up", async () => {
  await using folder = await makeFolder();
  await saveStandings(folder.file, KNOWN, new Date());
  await new StandingsKeeper(folder.file, () => new Map([["default", new Map()], ["web", new Map()]]))[Symbol.asyncDispose]();
  assertEquals(await folder.names(), []);
});

Deno.test("a keeper that cannot write does no harm", async () => {
  await new StandingsKeeper("/nowhere/at/all", () => KNOWN)[Symbol.asyncDispose]();
});

Deno.test("a folder in the place of the file is told in a warning, and the balancer starts without it", async () => {
  await using folder = await makeFolder();
  await Deno.mkdir(folder.file);
  const { known, warning } = await loadStandings(folder.file, CONFIG, NOW);
  assertEquals(known.size, 0);
  assertMatch(warning!, /^Cannot .*: it .*; every server begins as up$/);
});
