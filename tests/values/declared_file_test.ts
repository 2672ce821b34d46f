// A declared file becomes the state that it says; every fault of a bad one has its place, however bad it is.

import { assert, assertEquals, assertLess, assertMatch, assertRejects } from "@std/assert";
import fc from "fast-check";
import { LIMITS } from "../../lib/values/config.ts";
import { parseDeclared, readDeclared } from "../../lib/values/declared_file.ts";
import type { DeclaredState } from "../../lib/values/declared_state.ts";
import { formatDeclared } from "../../lib/values/declared_text.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { formatFaults, YAML_LIMITS } from "../../lib/values/yaml_tree.ts";
import { validState } from "./declared_states.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);

async function faultsOf(content: string | Uint8Array<ArrayBuffer>): Promise<string[]> {
  const result = await parseDeclared(typeof content === "string" ? bytesOf(content) : content);
  return "faults" in result ? formatFaults("f", result).map((line) => line.slice(2)) : [];
}

async function stateOf(text: string): Promise<DeclaredState> {
  const result = await parseDeclared(bytesOf(text));
  assert("state" in result, JSON.stringify(result));
  return result.state;
}

/** A service with these lines, indented by four spaces; they begin on line 4. */
const service = (...lines: string[]) =>
  ["services:", "  a:", '    listen: "[::1]:80"', ...lines.map((line) => `    ${line}`)].join("\n");
const servers = (...lines: string[]) => service("servers:", ...lines.map((line) => `  ${line}`));

Deno.test("a file becomes the state that it says", async () => {
  const text = `# a comment
services:
  web:
    listen: [0.0.0.0:80, "[2001:DB8::1]:8000-8009"]
    redistribute: idle
    transparent: true
    limits-dry-run: on
    client-connections: 20
    replay-buffer: 4096
    load-bound: 1.50
    check: 'expect:a # b'
    servers:
      - 10.0.0.1:8001
      - server: DB.example.:8001
        weight: 2
        max-connections: off
        check-port: 8080
        drain: true
      - {server: "[::1]:1", drain: off}
  "80": { listen: "127.0.0.1:81" }
daemon:
  workers: 2
  access-log-start: false
`;
  assertEquals(await stateOf(text), {
    services: [
      {
        name: "web",
        listeners: [{ address: "0.0.0.0", port: 80 }, { address: "2001:db8::1", port: 8000, lastPort: 8009 }],
        settings: {
          redistribute: "idle",
          transparent: "on",
          "limits-dry-run": "on",
          "client-connections": "20",
          "replay-buffer": "4096",
          "load-bound": "1.50",
          check: "expect:a # b",
        },
        servers: [
          { server: "10.0.0.1:8001" },
          { server: "db.example:8001", weight: 2, connectionsMax: null, checkPort: 8080, draining: true },
          { server: "[::1]:1", draining: false },
        ],
      },
      { name: "80", listeners: [{ address: "127.0.0.1", port: 81 }], settings: {}, servers: [] },
    ],
    daemon: { workers: "2", "access-log-start": "off" },
  });
});

Deno.test("JSON is read, with tabs, a byte order mark and CRLF, too", async () => {
  const text =
    '\ufeff{\r\n\t"services": {\r\n\t\t"a": {"listen": "[::1]:80", "rise": 3, "transparent": false, "servers": ["b:1"]}}}\r\n';
  assertEquals((await stateOf(text)).services, [
    {
      name: "a",
      listeners: [{ address: "::1", port: 80 }],
      settings: { rise: "3", transparent: "off" },
      servers: [{ server: "b:1" }],
    },
  ]);
});

Deno.test("an alias stands for what its anchor has", async () => {
  const text = 'services:\n  a: {listen: "[::1]:80", servers: &pool [b:1, c:1]}\n  d: {listen: "[::1]:81", servers: *pool}\n';
  const [a, d] = (await stateOf(text)).services;
  assertEquals([a.servers.length, d.servers], [2, a.servers]);
});

Deno.test("words that JavaScript knows are names like others", async () => {
  const { services } = await stateOf('services:\n  constructor: {listen: "[::1]:80"}\n  toString: {listen: "[::1]:81"}\n');
  assertEquals(services.map(({ name }) => name), ["constructor", "toString"]);
  assertEquals(await faultsOf(service("constructor: 1")), ['4:5: Unknown setting "constructor"']);
  assertMatch((await faultsOf('services:\n  __proto__: {listen: "[::1]:80"}'))[0], /^2:3: Name "__proto__" is not/);
});

/** Services `a`, `b` and so on of one address, each with a setting; they begin on line 3. */
const shared = (...settings: string[]) =>
  ["# one address", "services:", ...settings.map((setting, i) => `  ${"abcd"[i]}: {listen: "[::1]:80", ${setting}}`)].join("\n");
const OTHER_NAMES = "give one of them other names (--sni) or protocols (--alpn), or another address";

/** Files with all their faults. */
const FAULTY: readonly [what: string, text: string, faults: readonly (string | RegExp)[]][] = [
  // one value
  ["a misspelt word", service("redistribute: idel"), [
    '4:19: "redistribute" must be one of new, unanswered, idle; did you mean "idle"?',
  ]],
  ["a word of no list", service("redistribute: x"), ['4:19: "redistribute" must be one of new, unanswered, idle']],
  ["a misspelt setting", service("redistribte: idle"), ['4:5: Unknown setting "redistribte": did you mean "redistribute"?']],
  ["a misspelt part", service("serves:"), ['4:5: Unknown setting "serves": did you mean "servers"?']],
  ["a number that is no time", service("quiet: 5"), [/^4:12: Quiet time "5" is not a time such as 250ms/]],
  ["a number that is octal elsewhere", service("rise: 0x10"), ['4:11: Rise "0x10" is not a whole number from 1 to 1000']],
  ["an empty value", service("quiet:"), ['4:11: "quiet" must be one value: TIME, not empty']],
  ["a quoted empty value", service('quiet: ""'), [/^4:12: Quiet time ""/]],
  ["a list for a value", service("allow: [10.0.0.0/8]"), ['4:12: "allow" must be one value: PREFIX,…|@FILE|off, not a list']],
  ["a relative path", service("check-ca: ca.pem"), [
    '4:15: "check-ca" must be an absolute path or one of system, none, default, not "ca.pem"',
  ]],
  ["a setting of the daemon in a service", service("workers: 2"), [
    '4:5: "workers" is a setting of the daemon (under "daemon"), not of a service',
  ]],
  ["a setting of a service in the daemon", `${service()}\ndaemon:\n  quiet: 5s`, [
    '5:3: "quiet" is a setting of a service, not of the daemon (under "daemon")',
  ]],
  ["a setting of a service in a server", servers("- server: b:1", "  quiet: 5s"), [
    '6:9: "quiet" is a setting of a service, not of a server',
  ]],
  ["a truth value where none can be", service("rise: true"), [/^4:11: Rise "true"/]],
  ["a long value", service(`quiet: ${"x".repeat(1000)}`), [/^4:12: Quiet time "x{80}…" is not/]],
  // services
  ["no service", "services: {}", ['1:11: "services" has none: a balancer needs at least one']],
  ["a list of services", "services:\n  - web", ['2:3: "services" must be a map (lines of "key: value"), not a list']],
  ["no services", "daemon: {}", ['1:1: The file has no "services"']],
  ["a bad name", "services:\n  ../x: {listen: a:1}", [/^2:3: Name "\.\.\/x" is not 1 to 32 letters/]],
  ["a long name", `services:\n  ${"x".repeat(300)}: {listen: a:1}`, [/^2:3: Name "x{60}…" is not 1 to 32 letters/]],
  ["an empty name", 'services:\n  "": {listen: a:1}', [/^2:3: Name "" is not/]],
  ["an empty service", "services:\n  a:", ['2:5: Service "a" must be a map (lines of "key: value"), not empty']],
  ["a service without listeners", "services:\n  a: {rise: 2}", ['2:3: Service "a" has no "listen": say where clients connect']],
  ["a service twice", 'services:\n  a: {listen: "[::1]:1"}\n  a: {listen: "[::1]:2"}', [
    '3:3: Key "a" stands here again: it is on line 2 already',
  ]],
  ["another part", `${service()}\nservice: {}`, [
    '4:1: Unknown part "service": a file has "services" and "daemon"; did you mean "services"?',
  ]],
  // listeners
  ["a listener without a port", "services:\n  a: {listen: localhost}", [
    '2:15: Listen address "localhost" has no port: write it as 0.0.0.0:80',
  ]],
  ["a listener on any port", "services:\n  a: {listen: localhost:0}", ['2:15: Port "0" is not a whole number from 1 to 65535']],
  ["a range that runs backwards", "services:\n  a: {listen: 0.0.0.0:90-80}", [
    '2:15: Port range "90-80" ends before it begins; write 80-90',
  ]],
  ["a range beyond all ports", "services:\n  a: {listen: 0.0.0.0:65000-70000}", [/^2:15: Port "70000"/]],
  ["a listener twice", "services:\n  a:\n    listen: [b:1, b:1]", [
    "3:19: Listener b:1 is in the way of b:1 of this service: they share a port",
  ]],
  ["ranges that overlap", "services:\n  a: {listen: 10.0.0.1:80-90}\n  b: {listen: 10.0.0.1:90-95}", [
    '3:15: Listener 10.0.0.1:90-95 is in the way of 10.0.0.1:80-90 of service "a": they share a port',
  ]],
  ["an address and all addresses", "services:\n  a: {listen: 0.0.0.0:80}\n  b: {listen: 10.0.0.1:80}", [
    '3:15: Listener 10.0.0.1:80 is in the way of 0.0.0.0:80 of service "a": they share a port',
  ]],
  ["an IPv4 address and all of both families", 'services:\n  a: {listen: 10.0.0.1:80}\n  b: {listen: "[::]:80"}', [
    '3:15: Listener [::]:80 is in the way of 10.0.0.1:80 of service "a": they share a port',
  ]],
  // servers
  ["a map of servers", service("servers: {b: 1}"), ['4:14: "servers" must be a list (lines of "- address:port"), not a map']],
  ["a server without a port", servers("- 10.0.0.1"), ['5:9: Server "10.0.0.1" is not of the form address:port']],
  ["an empty server", servers("-"), [/^5:8: A server must be address:port, or a map/]],
  ["a server without a name", servers("- weight: 2"), ['5:9: This server has no "server": give its address:port']],
  ["a weight that is too large", servers("- server: b:1", "  weight: 257"), [
    '6:17: Weight "257" is not a whole number from 1 to 256',
  ]],
  ["a drain that is neither", servers("- server: b:1", "  drain: maybe"), ['6:16: "drain" must be one of on, off']],
  ["a server twice, spelt otherwise", servers("- B.:1", "- server: b:1"), ['6:9: Server b:1 is in service "a" more than once']],
  ["a server that is the service itself", servers('- "[::1]:80"'), [
    "5:9: Server [::1]:80 is where the service itself listens ([::1]:80): choose another port",
  ]],
  ["a range that a server has no room for", "services:\n  a:\n    listen: 0.0.0.0:1-9\n    servers: [b:65530]", [
    "4:15: Server b:65530 would need ports up to 65538 for listener 0.0.0.0:1-9: use lower ones",
  ]],
  [
    "a server that is where another service listens",
    [
      'services:\n  a: {listen: "127.0.0.1:80", servers: [10.0.0.1:1, "localhost:81"]}',
      '  b: {listen: "127.0.0.1:81-82"}\n',
    ].join("\n"),
    ['2:53: Server localhost:81 is where service "b" listens (127.0.0.1:81-82): choose another port'],
  ],
  // services that share an address
  ["two services for the same name", shared("sni: a.example", "sni: [b.example]", 'sni: "b.example,A.example"'), [
    '4:32: "sni" must be one value: NAME,...|off, not a list',
    `5:32: Services "a" and "c" are both for a.example on [::1]:80; ${OTHER_NAMES}`,
  ]],
  ["two services for the same wildcard", shared('sni: "*.a.example"', "sni: x.a.example", 'sni: "*.a.example"'), [
    `5:32: Services "a" and "c" are both for *.a.example on [::1]:80; ${OTHER_NAMES}`,
  ]],
  ["two services for the same protocol", shared("alpn: h2", 'alpn: "h3,h2"', "quiet: 5s"), [
    '4:33: Services "a" and "b" are both for clients whose name no other service has with the protocol h2 on [::1]:80; ' +
    OTHER_NAMES,
  ]],
  ["three services for everybody", shared("quiet: 5s", "sni: a.example", "quiet: 5s", "quiet: 6s"), [
    `5:15: Services "a" and "c" are both for clients whose name no other service has on [::1]:80; ${OTHER_NAMES}`,
    `6:15: Services "a" and "d" are both for clients whose name no other service has on [::1]:80; ${OTHER_NAMES}`,
  ]],
  ["a name that cannot be read, and no fault that follows from it", shared("quiet: 5s", "sni: a..example"), [
    '4:32: Name "a..example" is not a host name such as api.example.com or *.example.com',
  ]],
  // the whole
  ["settings that exclude each other", service("transparent: on", "source: 10.0.0.1"), [
    "2:3: --source and --transparent exclude each other: a connection has one source address",
  ]],
  ["settings of the daemon that need another", `${service()}\ndaemon:\n  access-log-start: on`, [
    "4:1: --access-log-start needs an access log; add --access-log PATH, or turn --access-log-start off",
  ]],
  ["several faults, in the order of the file", service("transparent: on", "source: 10.0.0.1", "rise: x", "fall: y"), [
    /^2:3: --source/,
    /^6:11: Rise/,
    /^7:11: Fall/,
  ]],
  // YAML
  ["nothing", "", ['1:1: The file says nothing: it needs "services"']],
  ["comments alone", "# a\n\n# b\n", ['1:1: The file says nothing: it needs "services"']],
  ["a word", "hello", ['1:1: The file must be a map (lines of "key: value"), not "hello"']],
  ["tabs", "services:\n\ta: 1", ["2:1: A tab is used for indentation: use spaces"]],
  ["an IPv6 address without quotes", "services:\n  a:\n    listen: [::1]:80", [
    "3:18: Invalid YAML: unexpected scalar at node end",
  ]],
  ["two keys in a line", "services: a: b", [/^1:11: Invalid YAML: a second key on the same line/]],
  ["a value that begins with @", service("allow: @/x"), [
    /^4:12: Invalid YAML: a value that begins with this character needs quotes/,
  ]],
  ["an open quote", service("quiet: 'x"), [/^4:\d+: Invalid YAML: missing closing 'quote/]],
  ["a second document", `${service()}\n---\n{}`, ["4:1: A second document begins here: a file has one"]],
  ["a tag", service("rise: !!int 3"), ["4:11: Tag !!int has no meaning here: leave it out"]],
  ["a merge key", service("<<: {rise: 3}"), ["4:5: Merge keys (<<) are not supported: write the settings out"]],
  ["a list for a key", service("? [a]", ": 1"), ["4:7: A key must be a word, not a list, a map or an alias"]],
  ["an alias without an anchor", service("quiet: *x"), [
    "4:12: Alias *x has no anchor &x before it",
  ]],
  ["an alias of itself", "services: &a\n  b: *a", [/^\d+:\d+: Maps and lists are nested more than 16 deep here/]],
  ["a zero byte", "services:\0", ["1:10: A control character (0x00) stands here: this is no text file"]],
  ["an escape", "a:\n  b\x1b[2J", ["2:4: A control character (0x1b) stands here: this is no text file"]],
];

for (const [what, text, expected] of FAULTY) {
  Deno.test(`a file with ${what} is refused with ${expected.length === 1 ? "a place" : "places"}`, async () => {
    const faults = await faultsOf(text);
    assertEquals(faults.length, expected.length, faults.join("\n"));
    for (const [i, fault] of expected.entries()) {
      if (typeof fault === "string") assertEquals(faults[i], fault);
      else assertMatch(faults[i], fault);
    }
  });
}

Deno.test("bytes that are not UTF-8 have a place", async () => {
  const fault = "The file is not valid UTF-8 here: save it as UTF-8 text";
  for (const rest of [[0xff], [0xc3, 0x28], [0xed, 0xa0, 0x80]]) {
    assertEquals(await faultsOf(new Uint8Array([...bytesOf("a:\n  é�: "), ...rest, 0x0a])), [`2:7: ${fault}`]);
  }
  assertEquals(await faultsOf(new Uint8Array([0xff, 0xfe, 0x61, 0])), [`1:1: ${fault}`]); // UTF-16
  assertEquals(await faultsOf(new Uint8Array([0x61, 0xc3])), [`1:2: ${fault}`]); // cut off
});

Deno.test("twenty faults are shown, the first of the file, and the others counted", async () => {
  const many = Array.from({ length: 5000 }, (_, i) => `x${i}: 1`);
  const faults = await faultsOf(service("transparent: on", "source: 10.0.0.1", ...many));
  assertEquals(faults.length, 21);
  assertMatch(faults[0], /^6:5: Unknown setting "x0"/);
  assertEquals(faults.at(-1), " and 4981 more");
});

/** Small files that would be large in memory, and what stops them. */
const BOMBS: readonly [what: string, text: () => string, fault: RegExp][] = [
  ["brackets", () => "[".repeat(1_000_000), /^1:\d+: Maps and lists are nested more than 16 deep/],
  ["maps in maps", () => "{a: ".repeat(100_000), /^1:\d+: Maps and lists are nested more than 16 deep/],
  ["lists in lists", () => "- ".repeat(100_000), /^1:\d+: Maps and lists are nested more than 16 deep/],
  ["indentation", () => Array.from({ length: 1000 }, (_, i) => `${" ".repeat(i)}a:\n`).join(""), /nested more than 16 deep/],
  ["a billion laughs", () => laughs(), /^\d+:\d+: The file has more than 64 aliases: write some of them out/],
  ["many anchors", () => service(...Array.from({ length: 1000 }, (_, i) => `x${i}: &a${i} 1`)), /^4:5: Unknown setting "x0"/],
];

function laughs(): string {
  const levels = [..."bcdefghi"].map((name, i) => `${name}: &${name} [${Array(9).fill(`*${"abcdefgh"[i]}`).join(", ")}]`);
  return ["a: &a [x, x, x, x, x, x, x, x, x]", ...levels, ""].join("\n");
}

for (const [what, text, fault] of BOMBS) {
  Deno.test(`a file full of ${what} is refused before it takes memory`, async () => {
    const before = performance.now();
    assertMatch((await faultsOf(text()))[0], fault);
    assertLess(performance.now() - before, 30_000); // minutes, without a limit
  });
}

Deno.test("a file with more words than any state needs is not read to its end", async () => {
  const faults = await faultsOf(`k: [${"a,".repeat(YAML_LIMITS.lexemesMax / 2)}]`);
  assertMatch(faults.join(), /^1:\d+: The file has too many words and signs/);
});

Deno.test("limits on numbers hold over all services", async () => {
  const pool = (name: string, port: number, count: number, weight: number) => ({
    name,
    listeners: [{ address: "127.0.0.1", port }],
    settings: {},
    servers: Array.from({ length: count }, (_, i) => ({ server: `10.${port}.${i >> 8}.${i & 255}:80`, weight })),
  });
  const half = LIMITS.serversMax / 2;
  const fits = formatDeclared({ services: [pool("a", 1, half, 1), pool("b", 2, half, 1)], daemon: {} });
  assertEquals((await stateOf(fits)).services.map(({ servers }) => servers.length), [half, half]);
  const [a, b] = [pool("a", 1, half, 1), pool("b", 2, half + 1, 1)];
  assertEquals(await faultsOf(formatDeclared({ services: [a, b], daemon: {} })), [
    "1:1: There are 16385 servers, and the limit is 16384",
  ]);
  const heavy = formatDeclared({ services: [pool("a", 1, 129, 256)], daemon: {} });
  assertEquals(await faultsOf(heavy), ['2:3: The weights of service "a" add up to 33024, and the limit is 32768']);
  const ranges = Array.from({ length: 5 }, (_, i) => `0.0.0.0:${i * 1024 + 1}-${(i + 1) * 1024}`);
  const wide = `services:\n  a: {listen: [${ranges.join(", ")}]}`;
  assertEquals(await faultsOf(wide), ["1:1: There are 5120 listeners (one for each port), and the limit is 4096"]);
  const services = Array.from({ length: LIMITS.servicesMax + 1 }, (_, i) => pool(`s${i}`, 1 + i, 0, 1));
  assertEquals(await faultsOf(formatDeclared({ services, daemon: {} })), ["1:1: There are 1025 services, and the limit is 1024"]);
});

Deno.test("a fault of YAML is told without words of the file at its end", async () => {
  for (const text of [">.", "a: |x.", 'a: "\\."', "a: !b. c"]) {
    const faults = await faultsOf(text);
    for (const fault of faults) assert(/^1:\d+: [A-Z][^\n]*[^.]$/.test(fault), fault);
    assert(faults.length > 0);
  }
});

Deno.test("any text is either a state or faults with places in it", async () => {
  const written = validState.map(formatDeclared);
  const torn = fc.tuple(written, fc.nat(), fc.nat(8), fc.string({ unit: "binary", maxLength: 4 })).map(
    ([text, at, length, other]) => {
      const start = at % (text.length + 1);
      return text.slice(0, start) + other + text.slice(start + length);
    },
  );
  await fc.assert(fc.asyncProperty(fc.oneof(torn, fc.string()), async (text) => {
    const result = await parseDeclared(bytesOf(text));
    if ("state" in result) return;
    const lines = text.split("\n");
    assert(result.faults.length > 0);
    for (const { place: { line, column }, sentence } of result.faults) {
      assert(
        line >= 1 && line <= lines.length && column >= 1 && column <= lines[line - 1].length + 1,
        `${line}:${column} ${sentence}`,
      );
      assert(!/[.\n]$/.test(sentence), sentence);
    }
  }));
});

Deno.test("any bytes are either a state or faults", async () => {
  await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), async (bytes) => {
    assert("faults" in await parseDeclared(new Uint8Array(bytes)));
  }));
});

Deno.test("readDeclared() reads plain files up to the limit, and says so before it reads a larger one", async () => {
  const folder = await Deno.makeTempDir({ prefix: "balancer_declared_" });
  try {
    const path = `${folder}/a.yaml`;
    await Deno.writeTextFile(path, "services: {}\n");
    assertEquals(new TextDecoder().decode(await readDeclared(path)), "services: {}\n");
    await Deno.truncate(path, 50 * 1024 ** 2); // takes no room on disk
    const error = await assertRejects(() => readDeclared(path), OperatorError, 'a.yaml": it is larger than 16MiB');
    assertEquals(error.kind, "tooLarge");
    await assertRejects(() => readDeclared(folder), OperatorError, "it is a folder and must be a plain file");
    await assertRejects(() => readDeclared(`${folder}/none`), OperatorError, 'none": No such file');
    if (Deno.build.os !== "windows") {
      await assertRejects(() => readDeclared("/dev/null"), OperatorError, "it is a character device");
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
