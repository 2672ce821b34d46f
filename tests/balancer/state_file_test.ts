// The pool survives a restart whole; a file that is torn or foreign is kept aside and never overwritten.

import { assertEquals, assertMatch, assertNotEquals, assertRejects, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { LIMITS } from "../../lib/values/config.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { loadState, type SavedServer, saveState } from "../../lib/balancer/state_file.ts";
import { sha256 } from "../helpers.ts";
import { needing } from "../tools.ts";

const isWindows = Deno.build.os === "windows";

const SERVERS: SavedServer[] = [
  { server: "10.0.0.1:80", weight: 1, connectionsMax: null },
  { server: "[2001:db8::1]:443", weight: LIMITS.weightMax, connectionsMax: LIMITS.serverConnectionsMax },
  { server: "db.example:5432", weight: 3, connectionsMax: 1 },
  { server: "db.example:5433", weight: 1, connectionsMax: null, draining: true },
];

/** A folder that is gone afterwards, and the path of a state file in it. */
async function makeFolder(): Promise<AsyncDisposable & { path: string; state: string }> {
  const path = await Deno.makeTempDir({ prefix: "balancer_state_" });
  return { path, state: `${path}/a.json`, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

async function listFolder(path: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(path))).map(({ name }) => name).sort();
}

/** The text of a state file as the program writes it. */
async function savedText(servers: readonly SavedServer[] = SERVERS): Promise<string> {
  await using folder = await makeFolder();
  await saveState(folder.state, servers);
  return await Deno.readTextFile(folder.state);
}

/** The text is not used, kept aside as it was, and the sentence says why. */
async function assertKeptAside(content: string | Uint8Array, why: string): Promise<void> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  await using folder = await makeFolder();
  await Deno.writeFile(folder.state, bytes);
  const { servers, warning = "" } = await loadState(folder.state);
  assertEquals(servers, []);
  assertStringIncludes(warning, why);
  const names = await listFolder(folder.path);
  assertEquals(names.length, 1);
  assertMatch(names[0], /^a\.json\.aside-/);
  assertStringIncludes(warning, JSON.stringify(`${folder.path}/${names[0]}`));
  assertEquals(await Deno.readFile(`${folder.path}/${names[0]}`), bytes);
}

Deno.test("loadState() reads back what saveState() writes, without a warning", async () => {
  await using folder = await makeFolder();
  await saveState(folder.state, SERVERS);
  assertEquals(await loadState(folder.state), { servers: SERVERS });
  assertEquals(await loadState(folder.state), { servers: SERVERS });
});

Deno.test("loadState() reads back any servers", async () => {
  await using folder = await makeFolder();
  const octet = fc.nat(255);
  const server = fc.record({
    server: fc.oneof(
      fc.tuple(octet, octet).map(([a, b]) => `10.0.${a}.${b}:80`),
      fc.domain().map((name) => `${name.toLowerCase()}:1`),
    ),
    weight: fc.integer({ min: 1, max: LIMITS.weightMax }),
    connectionsMax: fc.option(fc.integer({ min: 1, max: LIMITS.serverConnectionsMax })),
    draining: fc.boolean(),
    proxy: fc.constantFrom("v1", "v2", "off"),
  }, { noNullPrototype: true, requiredKeys: ["server", "weight", "connectionsMax"] });
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(server, { selector: ({ server }) => server }), async (servers) => {
      await saveState(folder.state, servers);
      assertEquals(await loadState(folder.state), { servers });
    }),
    { numRuns: 30 },
  );
});

Deno.test("loadState() reads back as many servers as a pool may have", async () => {
  await using folder = await makeFolder();
  const name = `${"a".repeat(60)}.`.repeat(4) + "example";
  const servers = Array.from(
    { length: LIMITS.serversMax },
    (_, i) => ({ server: `${name}:${i + 1}`, weight: 2, connectionsMax: null }),
  );
  await saveState(folder.state, servers);
  assertEquals((await loadState(folder.state)).servers.length, LIMITS.serversMax);
});

Deno.test("loadState() of a missing file is an empty pool, without a warning", async () => {
  await using folder = await makeFolder();
  assertEquals(await loadState(folder.state), { servers: [] });
  assertEquals(await loadState(`${folder.path}/none/a.json`), { servers: [] });
  assertEquals(await listFolder(folder.path), []);
});

Deno.test("saveState() replaces the servers before, also by none", async () => {
  await using folder = await makeFolder();
  await saveState(folder.state, SERVERS);
  await saveState(folder.state, SERVERS.slice(1));
  assertEquals(await loadState(folder.state), { servers: SERVERS.slice(1) });
  await saveState(folder.state, []);
  assertEquals(await loadState(folder.state), { servers: [] });
});

Deno.test("saveState() leaves no other file behind", async () => {
  await using folder = await makeFolder();
  await saveState(folder.state, SERVERS);
  await saveState(folder.state, []);
  assertEquals(await listFolder(folder.path), ["a.json"]);
});

Deno.test("saveState() writes over what a crash left of an earlier try", async () => {
  await using folder = await makeFolder();
  await Deno.writeTextFile(`${folder.state}.new`, "x".repeat(100_000));
  await saveState(folder.state, SERVERS);
  assertEquals(await loadState(folder.state), { servers: SERVERS });
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
      await saveState(folder.state, SERVERS);
      assertEquals((await Deno.stat(folder.state)).mode! & 0o777, 0o600);
    },
  });
}

Deno.test("saveState() replaces the file and does not write into it", async () => {
  await using folder = await makeFolder();
  await saveState(folder.state, SERVERS);
  using old = await Deno.open(folder.state);
  const text = await Deno.readTextFile(folder.state);
  await saveState(folder.state, []);
  assertEquals(await new Response(old.readable).text(), text);
});

Deno.test("saveState() into a folder that does not exist fails with a sentence", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/none/a.json`;
  const error = await assertRejects(
    () => saveState(path, SERVERS),
    OperatorError,
    `Cannot save the state to ${JSON.stringify(path)}: `,
  );
  assertEquals(error.kind, "failed");
});

Deno.test("saveState() that fails leaves the old state whole", async () => {
  await using folder = await makeFolder();
  await saveState(folder.state, SERVERS);
  await Deno.mkdir(`${folder.state}.new/full`, { recursive: true }); // in the place of the temporary file
  const error = await assertRejects(() => saveState(folder.state, []), OperatorError, "Cannot save the state");
  assertEquals(error.kind, "failed");
  assertEquals(await loadState(folder.state), { servers: SERVERS });
});

Deno.test({
  // root may write everywhere
  ...await needing(
    "saveState() into a folder that may not be written fails and leaves the old state whole",
    "a user other than root",
  ),
  async fn() {
    await using folder = await makeFolder();
    await saveState(folder.state, SERVERS);
    await Deno.chmod(folder.path, 0o500);
    try {
      await assertRejects(() => saveState(folder.state, []), OperatorError, "Cannot save the state");
    } finally {
      await Deno.chmod(folder.path, 0o700);
    }
    assertEquals(await loadState(folder.state), { servers: SERVERS });
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
    await saveState(`${folder.path}/b.json`, SERVERS);
    await Deno.symlink("b.json", folder.state);
    assertEquals(await loadState(folder.state), { servers: SERVERS });
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
  Deno.test(`loadState() keeps a file with ${what} aside`, async () => assertKeptAside(await savedText(servers), why));
}

Deno.test("loadState() keeps a file that is torn anywhere aside", async () => {
  const text = await savedText();
  for (let cut = 0; cut < text.length - 1; cut += 10) {
    await assertKeptAside(text.slice(0, cut), cut === 0 ? "it is empty" : "it is incomplete or not JSON");
  }
});

Deno.test("loadState() keeps a file with zeros for an end aside", async () => {
  const bytes = new TextEncoder().encode(await savedText());
  for (let cut = 0; cut < bytes.length - 1; cut += 50) {
    await assertKeptAside(bytes.slice().fill(0, cut), "it is incomplete or not JSON");
  }
});

Deno.test("loadState() keeps a file in which any character of the servers changed aside", async () => {
  const text = await savedText();
  for (let at = text.indexOf('"servers"') + 12; at < text.length; at++) {
    if (!/[0-9a-z]/.test(text[at])) continue;
    await assertKeptAside(`${text.slice(0, at)}${text[at] === "9" ? "8" : "9"}${text.slice(at + 1)}`, "cannot be used");
  }
});

Deno.test("loadState() reads a pool that was saved before servers could drain", async () => {
  await using folder = await makeFolder();
  const servers = [{ server: "10.0.0.1:80", weight: 2, connectionsMax: null }];
  const bytes = new TextEncoder().encode(JSON.stringify(servers));
  const hash = await sha256(bytes);
  await Deno.writeTextFile(folder.state, JSON.stringify({ format: "balancer-state", version: 1, sha256: hash, servers }));
  assertEquals(await loadState(folder.state), { servers });
});

Deno.test("loadState() keeps a file in which a drain was called off by hand aside", async () => {
  await assertKeptAside((await savedText()).replace('"draining": true', '"draining": false'), "its checksum is wrong");
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
  ["a later version", '{"format":"balancer-state","version":2,"servers":[]}', "it has version 2, and this program reads version 1"],
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

Deno.test("loadState() keeps a file aside that is no UTF-8", () => {
  return assertKeptAside(Uint8Array.of(0xff, 0xfe, 0x00, 0x80), "not JSON");
});

Deno.test("loadState() keeps a file aside that is too large, without reading it", async () => {
  await using folder = await makeFolder();
  await Deno.writeTextFile(folder.state, await savedText());
  await Deno.truncate(folder.state, LIMITS.stateFileBytesMax + 1);
  const { servers, warning = "" } = await loadState(folder.state);
  assertEquals(servers, []);
  assertStringIncludes(warning, "larger than the limit of 16MiB");
  const [name] = await listFolder(folder.path);
  assertNotEquals(name, "a.json");
  assertEquals((await Deno.stat(`${folder.path}/${name}`)).size, LIMITS.stateFileBytesMax + 1);
});

Deno.test("saveState() after loadState() kept a file aside leaves that one alone", async () => {
  await using folder = await makeFolder();
  await Deno.writeTextFile(folder.state, "precious");
  await loadState(folder.state);
  await saveState(folder.state, SERVERS);
  assertEquals(await loadState(folder.state), { servers: SERVERS });
  const aside = (await listFolder(folder.path)).find((name) => name.includes(".aside-"));
  assertEquals(await Deno.readTextFile(`${folder.path}/${aside}`), "precious");
});
