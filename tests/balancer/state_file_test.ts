// The services survive a restart whole; a file that is torn or foreign is kept aside and never overwritten, a newer one is refused.

import { assertEquals, assertMatch, assertNotEquals, assertRejects, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { LIMITS } from "../../lib/values/config.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { loadState, saveState } from "../../lib/balancer/state_file.ts";
import { EMPTY_STATE, type SavedServer, type SavedService, type SavedState } from "../../lib/values/saved_state.ts";
import { sha256 } from "../helpers.ts";
import { needing } from "../tools.ts";

const isWindows = Deno.build.os === "windows";

const SERVERS: SavedServer[] = [
  { server: "10.0.0.1:80", weight: 1, connectionsMax: null },
  { server: "[2001:db8::1]:443", weight: LIMITS.weightMax, connectionsMax: LIMITS.serverConnectionsMax },
  { server: "db.example:5432", weight: 3, connectionsMax: 1 },
  { server: "db.example:5433", weight: 1, connectionsMax: null, draining: true },
];

const STATE: SavedState = {
  generation: 41,
  services: [
    { name: "default", listeners: [], settings: {}, servers: SERVERS },
    {
      name: "web",
      listeners: [{ address: "0.0.0.0", port: 80 }, { address: "2001:db8::1", port: 8000, lastPort: 8009 }],
      settings: { redistribute: "idle", check: "http:/health", "limits-dry-run": "", "client-rate": "100/10s" },
      servers: [{ server: "10.0.0.1:80", weight: 2, connectionsMax: null, proxy: "v2", check: "off" }],
    },
  ],
  declaredIn: { path: "/etc/balancer/balancer.yaml", generation: 40 },
};

const LATER: SavedState = { generation: 42, services: [] };

const serviceOf = (servers: readonly SavedServer[]): SavedService => ({ name: "default", listeners: [], settings: {}, servers });
const stateOf = (servers: readonly SavedServer[]): SavedState => ({ generation: 1, services: [serviceOf(servers)] });

/** A folder that is gone afterwards, and the path of a state file in it. */
async function makeFolder(): Promise<AsyncDisposable & { path: string; state: string }> {
  const path = await Deno.makeTempDir({ prefix: "balancer_state_" });
  return { path, state: `${path}/a.json`, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

async function listFolder(path: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(path))).map(({ name }) => name).sort();
}

/** The text of a state file as the program writes it. */
async function savedText(state: SavedState = STATE): Promise<string> {
  await using folder = await makeFolder();
  await saveState(folder.state, state);
  return await Deno.readTextFile(folder.state);
}

/** A whole file of a version, with any content. */
async function sealedText(version: number, field: string, content: unknown): Promise<string> {
  const hash = await sha256(new TextEncoder().encode(JSON.stringify(content)));
  return JSON.stringify({ format: "balancer-state", version, sha256: hash, [field]: content });
}

/** The text is not used, kept aside as it was, and the sentence says why. */
async function assertKeptAside(content: string | Uint8Array, why: string): Promise<void> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  await using folder = await makeFolder();
  await Deno.writeFile(folder.state, bytes);
  const { state, warning = "", migrated } = await loadState(folder.state);
  assertEquals([state, migrated], [EMPTY_STATE, undefined]);
  assertStringIncludes(warning, why);
  const names = await listFolder(folder.path);
  assertEquals(names.length, 1);
  assertMatch(names[0], /^a\.json\.aside-/);
  assertStringIncludes(warning, JSON.stringify(`${folder.path}/${names[0]}`));
  assertEquals(await Deno.readFile(`${folder.path}/${names[0]}`), bytes);
}

/** The text is refused with a sentence that says why, and left alone. */
async function assertRefused(text: string, why: string): Promise<void> {
  await using folder = await makeFolder();
  await Deno.writeTextFile(folder.state, text);
  const error = await assertRejects(() => loadState(folder.state), OperatorError);
  const wayOut = "start the version that wrote it, or move the file away";
  assertEquals([error.kind, error.message], [
    "failed",
    `Cannot use the state file ${JSON.stringify(folder.state)}: ${why}; ${wayOut}`,
  ]);
  assertEquals(await listFolder(folder.path), ["a.json"]);
  assertEquals(await Deno.readTextFile(folder.state), text);
}

Deno.test("loadState() reads back what saveState() writes, without a warning", async () => {
  await using folder = await makeFolder();
  await saveState(folder.state, STATE);
  assertEquals(await loadState(folder.state), { state: STATE });
  assertEquals(await loadState(folder.state), { state: STATE });
});

const octet = fc.nat(255);

const anyServers: fc.Arbitrary<SavedServer[]> = fc.uniqueArray(
  fc.record({
    server: fc.oneof(
      fc.tuple(octet, octet).map(([a, b]) => `10.0.${a}.${b}:80`),
      fc.domain().map((name) => `${name.toLowerCase()}:1`),
    ),
    weight: fc.integer({ min: 1, max: LIMITS.weightMax }),
    connectionsMax: fc.option(fc.integer({ min: 1, max: LIMITS.serverConnectionsMax })),
    draining: fc.boolean(),
    proxy: fc.constantFrom("v1" as const, "v2" as const, "off" as const),
  }, { noNullPrototype: true, requiredKeys: ["server", "weight", "connectionsMax"] }),
  { selector: ({ server }) => server },
);

/** Services with names in order, each listening on ports of its own address. */
const anyServices: fc.Arbitrary<SavedService[]> = fc.array(
  fc.record({
    port: fc.integer({ min: 1, max: 60_000 }),
    more: fc.nat(20),
    settings: fc.record({
      redistribute: fc.constantFrom("new", "unanswered", "idle"),
      "load-bound": fc.constantFrom("off", "1.5"),
      "limits-dry-run": fc.constant("off"),
    }, { noNullPrototype: true, requiredKeys: [] }),
    servers: anyServers,
  }),
  { maxLength: 10 },
).map((services) =>
  services.map(({ port, more, settings, servers }, i) => ({
    name: `s${i}`,
    listeners: [{ address: `10.1.0.${i}`, port, ...(more === 0 ? {} : { lastPort: port + more }) }],
    settings,
    servers,
  }))
);

Deno.test("loadState() reads back any state", async () => {
  await using folder = await makeFolder();
  await fc.assert(
    fc.asyncProperty(fc.maxSafeNat(), anyServices, async (generation, services) => {
      const state = { generation, services };
      await saveState(folder.state, state);
      assertEquals(await loadState(folder.state), { state });
    }),
    { numRuns: 30 },
  );
});

Deno.test("loadState() reads back as many servers, services and listeners as there may be", async () => {
  await using folder = await makeFolder();
  const name = `${"a".repeat(60)}.`.repeat(4) + "example";
  const perService = LIMITS.serversMax / LIMITS.servicesMax;
  const servers = Array.from({ length: perService }, (_, i) => ({ server: `${name}:${i + 1}`, weight: 2, connectionsMax: null }));
  const ports = LIMITS.listenersMax / LIMITS.servicesMax;
  const services = Array.from({ length: LIMITS.servicesMax }, (_, i) => {
    const port = 1 + i * ports;
    return { name: `s${i}`, listeners: [{ address: "::", port, lastPort: port + ports - 1 }], settings: {}, servers };
  });
  const state = { generation: 1, services };
  await saveState(folder.state, state);
  assertEquals(await loadState(folder.state), { state });
});

Deno.test("loadState() of a missing file is the state before the first change, without a warning", async () => {
  await using folder = await makeFolder();
  assertEquals(await loadState(folder.state), { state: EMPTY_STATE });
  assertEquals(await loadState(`${folder.path}/none/a.json`), { state: EMPTY_STATE });
  assertEquals(await listFolder(folder.path), []);
});

Deno.test("saveState() replaces the state before, also by no service", async () => {
  await using folder = await makeFolder();
  await saveState(folder.state, STATE);
  await saveState(folder.state, LATER);
  assertEquals(await loadState(folder.state), { state: LATER });
  await saveState(folder.state, { ...STATE, generation: 43 });
  assertEquals(await loadState(folder.state), { state: { ...STATE, generation: 43 } });
});

Deno.test("saveState() of more than loadState() would read is refused, and the old state stays", async () => {
  await using folder = await makeFolder();
  await saveState(folder.state, STATE);
  const settings = { deny: "10.0.0.1,".repeat(LIMITS.stateFileBytesMax / 9) + "10.0.0.2" };
  const error = await assertRejects(
    () => saveState(folder.state, { ...LATER, services: [{ ...serviceOf([]), settings }] }),
    OperatorError,
    "it would be larger than the limit of 16MiB; use fewer servers or shorter settings",
  );
  assertEquals([error.kind, await loadState(folder.state)], ["tooLarge", { state: STATE }]);
});

Deno.test("saveState() leaves no other file behind", async () => {
  await using folder = await makeFolder();
  await saveState(folder.state, STATE);
  await saveState(folder.state, LATER);
  assertEquals(await listFolder(folder.path), ["a.json"]);
});

Deno.test("saveState() writes over what a crash left of an earlier try", async () => {
  await using folder = await makeFolder();
  await Deno.writeTextFile(`${folder.state}.new`, "x".repeat(100_000));
  await saveState(folder.state, STATE);
  assertEquals(await loadState(folder.state), { state: STATE });
});

for (const earlier of [undefined, 0o644]) {
  const what = earlier === undefined ? "" : ", also over a temporary file that others may read";
  Deno.test({
    name: `saveState() makes a file that only its owner may read${what}`,
    ignore: isWindows,
    async fn() {
      await using folder = await makeFolder();
      if (earlier !== undefined) {
        await Deno.writeTextFile(`${folder.state}.new`, "");
        await Deno.chmod(`${folder.state}.new`, earlier);
      }
      await saveState(folder.state, STATE);
      assertEquals((await Deno.stat(folder.state)).mode! & 0o777, 0o600);
    },
  });
}

Deno.test("saveState() replaces the file and does not write into it", async () => {
  await using folder = await makeFolder();
  await saveState(folder.state, STATE);
  using old = await Deno.open(folder.state);
  const text = await Deno.readTextFile(folder.state);
  await saveState(folder.state, LATER);
  assertEquals(await new Response(old.readable).text(), text);
});

Deno.test("saveState() into a folder that does not exist fails with a sentence", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/none/a.json`;
  const error = await assertRejects(
    () => saveState(path, STATE),
    OperatorError,
    `Cannot save the state to ${JSON.stringify(path)}: `,
  );
  assertEquals(error.kind, "failed");
});

Deno.test("saveState() that fails leaves the old state whole", async () => {
  await using folder = await makeFolder();
  await saveState(folder.state, STATE);
  await Deno.mkdir(`${folder.state}.new/full`, { recursive: true }); // in the place of the temporary file
  const error = await assertRejects(() => saveState(folder.state, LATER), OperatorError, "Cannot save the state");
  assertEquals(error.kind, "failed");
  assertEquals(await loadState(folder.state), { state: STATE });
});

Deno.test({
  // root may write everywhere
  ...await needing(
    "saveState() into a folder that may not be written fails and leaves the old state whole",
    "a user other than root",
  ),
  async fn() {
    await using folder = await makeFolder();
    await saveState(folder.state, STATE);
    await Deno.chmod(folder.path, 0o500);
    try {
      await assertRejects(() => saveState(folder.state, LATER), OperatorError, "Cannot save the state");
    } finally {
      await Deno.chmod(folder.path, 0o700);
    }
    assertEquals(await loadState(folder.state), { state: STATE });
  },
});

Deno.test("loadState() of what is no plain file fails with a sentence, and leaves it where it is", async () => {
  await using folder = await makeFolder();
  await Deno.mkdir(folder.state);
  const error = await assertRejects(
    () => loadState(folder.state),
    OperatorError,
    `Cannot read the state file ${JSON.stringify(folder.state)}: it is a folder and must be a plain file`,
  );
  assertEquals([error.kind, await listFolder(folder.path)], ["failed", ["a.json"]]);
});

Deno.test({
  name: "loadState() reads through a link to a plain file",
  ignore: isWindows,
  async fn() {
    await using folder = await makeFolder();
    await saveState(`${folder.path}/b.json`, STATE);
    await Deno.symlink("b.json", folder.state);
    assertEquals(await loadState(folder.state), { state: STATE });
  },
});

const plainServers = (count: number, weight = 1): SavedServer[] =>
  Array.from({ length: count }, (_, i) => ({ server: `10.0.${i >> 8}.${i & 255}:80`, weight, connectionsMax: null }));

/** Whole files of ours that no pool can be made of. */
const IMPOSSIBLE: readonly [what: string, servers: readonly SavedServer[], why: string][] = [
  ["17,000 servers", plainServers(17_000), "it has 17000 servers, and the limit is 16384"],
  ["33,000 servers", plainServers(33_000), "it has 33000 servers, and the limit is 16384"],
  ["weights that are too much together", plainServers(129, 256), "its weights add up to 33024, and the limit is 32768"],
  [
    "a weight that is too large",
    plainServers(1, 257),
    "server number 1 has the weight 257, which is not a whole number from 1 to 256",
  ],
  [
    "the same server three times",
    [...plainServers(2), ...plainServers(1), ...plainServers(1)],
    'server "10.0.0.0:80" is in it more than once',
  ],
];

for (const [what, servers, why] of IMPOSSIBLE) {
  Deno.test(`loadState() keeps a file of version 1 with ${what} aside`, async () => {
    await assertKeptAside(await sealedText(1, "servers", servers), `its list of servers is not valid: ${why}`);
  });
}

Deno.test("loadState() keeps a file that is torn anywhere aside", async () => {
  const text = await savedText();
  for (let cut = 0; cut < text.length - 3; cut += 10) {
    await assertKeptAside(text.slice(0, cut), cut === 0 ? "it is empty" : "it is incomplete or not JSON");
  }
});

Deno.test("loadState() keeps a file with zeros for an end aside", async () => {
  const bytes = new TextEncoder().encode(await savedText());
  for (let cut = 0; cut < bytes.length - 3; cut += 50) {
    await assertKeptAside(bytes.slice().fill(0, cut), "it is incomplete or not JSON");
  }
});

Deno.test("loadState() keeps a file in which any character of the state changed aside", async () => {
  const text = await savedText(stateOf(SERVERS));
  for (let at = text.indexOf('"state"') + 8; at < text.length; at++) {
    if (!/[0-9a-z]/.test(text[at])) continue;
    await assertKeptAside(`${text.slice(0, at)}${text[at] === "9" ? "8" : "9"}${text.slice(at + 1)}`, "cannot be used");
  }
});

Deno.test("loadState() keeps a file in which a drain was called off by hand aside", async () => {
  await assertKeptAside((await savedText()).replace('"draining":true', '"draining":false'), "its checksum is wrong");
});

const anyServer = { server: "10.0.0.1:80", weight: 1, connectionsMax: null };
const withServers = (servers: unknown) => JSON.stringify({ format: "balancer-state", version: 1, sha256: "0".repeat(64), servers });

const FOREIGN = [
  ["an empty file", "", "it is empty"],
  ["white space", " \n\n", "it is empty"],
  ["a text", "hello\n", "not JSON"],
  ["a list", "[]", "another program wrote it"],
  ["null", "null", "another program wrote it"],
  ["a number", "7", "another program wrote it"],
  ["another program's object", '{"name":"x","version":1}', "another program wrote it"],
  ["another format", '{"format":"other-state","version":1,"servers":[]}', "another program wrote it"],
  [
    "version 0",
    '{"format":"balancer-state","version":0,"servers":[]}',
    "it has version 0, and this program reads versions up to 2",
  ],
  ["half a version", '{"format":"balancer-state","version":2.5}', "it has version 2.5, and this program reads versions up to 2"],
  ["a version that is a text", '{"format":"balancer-state","version":"3"}', 'it has version "3", and this program reads versions'],
  ["no version", '{"format":"balancer-state","servers":[]}', "version"],
  ["no servers", withServers(undefined), "its list of servers is not valid"],
  ["servers that are no list", withServers({ 0: anyServer, length: 1 }), "its list of servers is not valid"],
  ["a server that is null", withServers([null]), "its list of servers is not valid"],
  ["a server without weight", withServers([{ ...anyServer, weight: undefined }]), "its list of servers is not valid"],
  ["a weight of 0", withServers([{ ...anyServer, weight: 0 }]), "its list of servers is not valid"],
  ["a weight of 1.5", withServers([{ ...anyServer, weight: 1.5 }]), "its list of servers is not valid"],
  ["a weight that is too large", withServers([{ ...anyServer, weight: 257 }]), "its list of servers is not valid"],
  ["a weight that is a text", withServers([{ ...anyServer, weight: "1" }]), "its list of servers is not valid"],
  [
    "no limit of connections, not even null",
    withServers([{ server: "10.0.0.1:80", weight: 1 }]),
    "its list of servers is not valid",
  ],
  ["a limit of 0 connections", withServers([{ ...anyServer, connectionsMax: 0 }]), "its list of servers is not valid"],
  [
    "a version of the PROXY protocol that does not exist",
    withServers([{ ...anyServer, proxy: "v3" }]),
    "its list of servers is not valid",
  ],
  ["a server without port", withServers([{ ...anyServer, server: "10.0.0.1" }]), "its list of servers is not valid"],
  ["a server not in canonical form", withServers([{ ...anyServer, server: "DB.example:80" }]), "its list of servers is not valid"],
  ["a draining that is a text", withServers([{ ...anyServer, draining: "yes" }]), "its list of servers is not valid"],
  ["a draining that is null", withServers([{ ...anyServer, draining: null }]), "its list of servers is not valid"],
  ["a draining that is a number", withServers([{ ...anyServer, draining: 1 }]), "its list of servers is not valid"],
  ["a wrong checksum", withServers([anyServer]), "its checksum is wrong"],
  ["no checksum", '{"format":"balancer-state","version":1,"servers":[]}', "its checksum is wrong"],
  ["a checksum that is a number", '{"format":"balancer-state","version":1,"sha256":7,"servers":[]}', "its checksum is wrong"],
  ["a checksum that is too short", '{"format":"balancer-state","version":1,"sha256":"00","servers":[]}', "its checksum is wrong"],
];

for (const [what, text, why] of FOREIGN) {
  Deno.test(`loadState() keeps a file with ${what} aside`, () => assertKeptAside(text, why));
}

/** The state with its second service changed. */
const withWeb = (changed: Readonly<Record<string, unknown>>) => ({
  ...STATE,
  services: [STATE.services[0], { ...STATE.services[1], ...changed }],
});
const WEB = "service number 2 (web)";
const [WEB_SERVER] = STATE.services[1].servers;
const withWebServer = (changed: Readonly<Record<string, unknown>>) => withWeb({ servers: [{ ...WEB_SERVER, ...changed }] });

/** States that no balancer can have saved. */
const BROKEN: readonly [what: string, state: unknown, why: string][] = [
  ["no state", undefined, "its state is not an object"],
  ["a list for a state", [], "its state is not an object"],
  ["no generation", { services: [] }, "its generation none is not a whole number from 0"],
  ["half a generation", { ...STATE, generation: 1.5 }, "its generation 1.5 is not"],
  ["a generation below 0", { ...STATE, generation: -1 }, "its generation -1 is not"],
  ["no services", { generation: 1 }, "its services are not a list"],
  ["services by name", { generation: 1, services: { web: STATE.services[1] } }, "its services are not a list"],
  ["a service that is null", { generation: 1, services: [null] }, "service number 1 is not an object"],
  ["a declaration without a path", { ...STATE, declaredIn: { generation: 1 } }, "its declaration"],
  ["a declaration that is a text", { ...STATE, declaredIn: "a.yaml" }, 'its declaration "a.yaml" is not a path and a generation'],
  ["a service without a name", withWeb({ name: "" }), 'service number 2 has the name "", which is not the name of a service'],
  ["a service whose name is a path", withWeb({ name: "../x" }), 'service number 2 has the name "../x"'],
  ["a service whose name is a number", withWeb({ name: 7 }), "service number 2 has the name 7"],
  ["a service with a long name", withWeb({ name: "a".repeat(300) }), "which is not the name of a service"],
  ["two services of a name", withWeb({ name: "default" }), 'service "default" is in it more than once'],
  ["settings of the daemon that are a list", { ...STATE, daemon: [] }, "its settings of the daemon are not an object"],
  ["settings that are a list", withWeb({ settings: [] }), `${WEB} has settings that are not an object`],
  ["no listeners", withWeb({ listeners: undefined }), `${WEB} has listeners that are not a list`],
  ["a listener that is a text", withWeb({ listeners: ["0.0.0.0:80"] }), `${WEB} has the listener "0.0.0.0:80", which is not`],
  ["a listener without a port", withWeb({ listeners: [{ address: "::" }] }), `${WEB} has the listener`],
  ["a port that is too large", withWeb({ listeners: [{ address: "::", port: 65_536 }] }), `${WEB} has the listener`],
  ["half a port", withWeb({ listeners: [{ address: "::", port: 80.5 }] }), `${WEB} has the listener`],
  ["a range that is none", withWeb({ listeners: [{ address: "::", port: 80, lastPort: 80 }] }), `${WEB} has the listener`],
  ["a range that ends before", withWeb({ listeners: [{ address: "::", port: 80, lastPort: 79 }] }), `${WEB} has the listener`],
  ["a host in capitals", withWeb({ listeners: [{ address: "EXAMPLE", port: 80 }] }), `${WEB} has the listener`],
  [
    "a listener twice",
    withWeb({ listeners: [{ address: "::", port: 80, lastPort: 90 }, { address: "::", port: 85 }] }),
    `${WEB} listens on [::]:85 more than once`,
  ],
  ["servers that are no list", withWeb({ servers: {} }), `${WEB} has servers that are not valid: it is not a list`],
  ["a server without a weight", withWebServer({ weight: undefined }), "server number 1 has the weight none, which is not"],
  ["a server without a port", withWebServer({ server: "10.0.0.1" }), 'server number 1 has the name "10.0.0.1", which is not'],
  ["a draining that is a text", withWebServer({ draining: "yes" }), 'server number 1 has "yes" for draining'],
  ["a server twice", withWeb({ servers: [WEB_SERVER, WEB_SERVER] }), 'server "10.0.0.1:80" is in it more than once'],
  ["weights that are too much", stateOf(plainServers(129, 256)), "its weights add up to 33024, and the limit is 32768"],
  ["17,000 servers", stateOf(plainServers(17_000)), "it has 17000 servers, and the limit is 16384"],
  [
    "17,000 servers of two services",
    { generation: 1, services: ["a", "b"].map((name) => ({ ...serviceOf(plainServers(8500)), name })) },
    "it has 17000 servers, and the limit is 16384",
  ],
  [
    "1,025 services",
    { generation: 1, services: Array.from({ length: 1025 }, (_, i) => ({ ...serviceOf([]), name: `s${i}` })) },
    "it has 1025 services, and the limit is 1024",
  ],
  [
    "5,120 listeners",
    withWeb({ listeners: [1, 2, 3, 4, 5].map((i) => ({ address: "::", port: i * 2000, lastPort: i * 2000 + 1023 })) }),
    "it has 5120 listeners, and the limit is 4096",
  ],
];

for (const [what, state, why] of BROKEN) {
  Deno.test(`loadState() keeps a state with ${what} aside`, async () => assertKeptAside(await sealedText(2, "state", state), why));
}

const UNKNOWN = ", which this program does not know";
const ITS_SERVER = `${WEB} has servers that are not valid: server number 1`;

/** States that a later version may have saved. */
const NEWER: readonly [what: string, state: unknown, why: string][] = [
  ["a field", { ...STATE, policies: [] }, `it has the field "policies"${UNKNOWN}`],
  ["a field of the declaration", { ...STATE, declaredIn: { path: "/a", by: "x" } }, `its declaration has the field "by"${UNKNOWN}`],
  ["a field of a service", withWeb({ sni: [] }), `${WEB} has the field "sni"${UNKNOWN}`],
  [
    "a field of a listener",
    withWeb({ listeners: [{ address: "::", port: 80, tls: true }] }),
    `${WEB} has a listener with the field "tls"${UNKNOWN}`,
  ],
  ["a field of a server", withWebServer({ zone: "a" }), `${ITS_SERVER} has the field "zone"${UNKNOWN}`],
  ["a setting", withWeb({ settings: { warp: "9" } }), `${WEB} has the setting "warp"${UNKNOWN}`],
  ["a setting of a service for the daemon", { ...STATE, daemon: { fall: "3" } }, `its daemon has the setting "fall"${UNKNOWN}`],
  [
    "a value that no setting of the daemon has",
    { ...STATE, daemon: { workers: "no" } },
    `its daemon has settings that do not fit (Number of workers "no" is not a whole number from 1 to 64)${UNKNOWN}`,
  ],
  ["a setting that is the daemon's", withWeb({ settings: { engine: "epoll" } }), `${WEB} has the setting "engine"${UNKNOWN}`],
  ["a setting that is a number", withWeb({ settings: { quiet: 7 } }), `${WEB} has the setting "quiet" with the value 7${UNKNOWN}`],
  [
    "a value of a setting",
    withWeb({ settings: { fall: "0" } }),
    `${WEB} has settings that do not fit (Fall "0" is not a whole number from 1 to 1000)${UNKNOWN}`,
  ],
  [
    "a value of a server's setting",
    withWebServer({ proxy: "v3" }),
    `${ITS_SERVER} has the PROXY protocol version "v3", which is neither null nor one of v1, v2, off`,
  ],
];

for (const [what, state, why] of NEWER) {
  Deno.test(`loadState() refuses a whole file with ${what} that it does not know, and leaves it alone`, async () => {
    await assertRefused(await sealedText(2, "state", state), why);
  });

  Deno.test(`loadState() keeps a file with ${what} that it does not know and a wrong checksum aside`, async () => {
    const text = (await sealedText(2, "state", state)).replace(/"sha256":"[0-9a-f]{4}/, '"sha256":"ffff');
    await assertKeptAside(text, "its checksum is wrong");
  });
}

Deno.test("loadState() refuses a file of a later version, whatever is in it, and leaves it alone", async () => {
  for (const version of [3, 4, 1000]) {
    for (const rest of ["", ',"sha256":"00"', `,"state":${JSON.stringify(STATE)}`]) {
      const why = `it has version ${version}, and this program reads versions up to 2`;
      await assertRefused(`{"format":"balancer-state","version":${version}${rest}}`, why);
    }
  }
});

/** Files as they were written by the programs of their time, and the servers that are in them. */
const GOLDEN: readonly [file: string, servers: readonly SavedServer[]][] = [
  ["version_1_first", [
    { server: "10.0.0.1:80", weight: 1, connectionsMax: null },
    { server: "[2001:db8::1]:443", weight: 256, connectionsMax: 1_000_000 },
    { server: "db.example:5432", weight: 3, connectionsMax: 1 },
  ]],
  ["version_1_last", [
    { server: "10.0.0.1:80", weight: 1, connectionsMax: null },
    { server: "[2001:db8::1]:443", weight: 256, connectionsMax: 1_000_000, draining: true },
    {
      server: "db.example:5432",
      weight: 3,
      connectionsMax: 1,
      proxy: "v2",
      check: "https:/health",
      checkPort: 8443,
      checkHost: "db.example",
      checkCa: "/etc/balancer/ca.pem",
      checkStatus: "200-299,404",
    },
    { server: "db.example:5433", weight: 1, connectionsMax: null, proxy: "off", check: "off", checkCa: "none" },
  ]],
];

function readGolden(file: string): Promise<Uint8Array> {
  return Deno.readFile(`${import.meta.dirname}/states/${file}`);
}

for (const [file, servers] of GOLDEN) {
  Deno.test(`loadState() of ${file} makes it the service "default", and a copy stays after the first save`, async () => {
    await using folder = await makeFolder();
    const old = await readGolden(file);
    await Deno.writeFile(folder.state, old);
    const migrated = { version: 1, copy: `${folder.state}.v1` };
    const state = { generation: 0, services: [serviceOf(servers)] };
    for (let start = 0; start < 2; start++) { // nothing was saved between
      assertEquals(await loadState(folder.state), { state, migrated });
      assertEquals([await Deno.readFile(folder.state), await Deno.readFile(migrated.copy)], [old, old]);
    }
    await saveState(folder.state, { ...state, generation: 1 });
    assertEquals(await loadState(folder.state), { state: { ...state, generation: 1 } });
    assertEquals(await listFolder(folder.path), ["a.json", "a.json.v1"]);
    assertEquals(await Deno.readFile(migrated.copy), old);
    if (!isWindows) assertEquals((await Deno.stat(migrated.copy)).mode! & 0o777, 0o600);
  });
}

Deno.test("loadState() reads version_2, and saveState() writes the same bytes", async () => {
  await using folder = await makeFolder();
  const golden = await readGolden("version_2");
  await Deno.writeFile(folder.state, golden);
  assertEquals(await loadState(folder.state), { state: STATE });
  await saveState(folder.state, STATE);
  assertEquals(await Deno.readFile(folder.state), golden);
});

Deno.test("loadState() puts the servers of version 1 in the order of their names, without what no version has known", async () => {
  await using folder = await makeFolder();
  const servers = [{ ...anyServer, server: "10.0.0.2:80", mood: "good" }, anyServer];
  await Deno.writeTextFile(folder.state, await sealedText(1, "servers", servers));
  const { state } = await loadState(folder.state);
  assertEquals(state.services, [serviceOf([anyServer, { ...anyServer, server: "10.0.0.2:80" }])]);
  await saveState(folder.state, { ...state, generation: 1 });
  assertEquals((await loadState(folder.state)).state.services, state.services);
});

Deno.test("a copy of version 1 that cannot be made stops the start, and the old file stays", async () => {
  await using folder = await makeFolder();
  const old = await readGolden("version_1_last");
  await Deno.writeFile(folder.state, old);
  await Deno.mkdir(`${folder.state}.v1/full`, { recursive: true }); // in the place of the copy
  const cannot = `Cannot keep a copy of the old state file in ${JSON.stringify(`${folder.state}.v1`)}: `;
  const error = await assertRejects(() => loadState(folder.state), OperatorError, cannot);
  assertEquals([error.kind, await Deno.readFile(folder.state)], ["failed", old]);
});

Deno.test("loadState() keeps a file aside that is nested deeply, wherever that is", async () => {
  const deep = "[".repeat(100_000) + "]".repeat(100_000);
  const text = JSON.stringify({
    format: "balancer-state",
    version: 2,
    sha256: "0".repeat(64),
    state: withWeb({ settings: "deep" }),
  });
  await assertKeptAside(text.replace('"deep"', () => deep), `${WEB} has settings that are not an object`);
  await assertKeptAside(text.replace('"listeners":[]', () => `"listeners":[${deep}]`), "has the listener [[[[");
  await assertKeptAside(text.replace('"deep"', () => `{"quiet":${deep}}`), "its checksum is wrong");
  await assertKeptAside(`{"format":"balancer-state","version":1,"servers":${deep}}`, "server number 1 is not an object");
});

Deno.test("loadState() keeps a file aside that is no UTF-8", () => {
  return assertKeptAside(Uint8Array.of(0xff, 0xfe, 0x00, 0x80), "not JSON");
});

Deno.test("loadState() keeps a file aside that is too large, without reading it", async () => {
  await using folder = await makeFolder();
  await Deno.writeTextFile(folder.state, await savedText());
  await Deno.truncate(folder.state, LIMITS.stateFileBytesMax + 1);
  const { state, warning = "" } = await loadState(folder.state);
  assertEquals(state, EMPTY_STATE);
  assertStringIncludes(warning, "larger than the limit of 16MiB");
  const [name] = await listFolder(folder.path);
  assertNotEquals(name, "a.json");
  assertEquals((await Deno.stat(`${folder.path}/${name}`)).size, LIMITS.stateFileBytesMax + 1);
});

Deno.test("saveState() after loadState() kept a file aside leaves that one alone", async () => {
  await using folder = await makeFolder();
  await Deno.writeTextFile(folder.state, "precious");
  await loadState(folder.state);
  await saveState(folder.state, STATE);
  assertEquals(await loadState(folder.state), { state: STATE });
  const aside = (await listFolder(folder.path)).find((name) => name.includes(".aside-"));
  assertEquals(await Deno.readTextFile(`${folder.path}/${aside}`), "precious");
});
