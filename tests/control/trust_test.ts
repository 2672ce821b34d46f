// balancerctl trusts nobody: not whoever listens, not what is answered.

import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { ControlClient } from "../../lib/control/client.ts";
import { peerUid } from "../../lib/control/peer.ts";
import { findTrustedSocket, isGivenByRoot } from "../../lib/control/socket.ts";
import { misfitOf } from "../../lib/control/shapes.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { NO_HOLD, serverAnswer } from "../answers.ts";
import { soon } from "../helpers.ts";
import { makePlace, type Place } from "../programs.ts";
import { needing } from "../tools.ts";

const OTHER_UID = 65_534;

/** A place where something else listens on the control socket: what it answers to every request, as it is. */
async function makeImpostor(answer: string): Promise<Place & { readonly heard: string[] }> {
  const place = await makePlace();
  await Deno.mkdir(`${place.folder}/run/balancer`, { mode: 0o700 });
  const listener = Deno.listen({ transport: "unix", path: place.socket() });
  const heard: string[] = [];
  const serving = (async () => {
    for await (const socket of listener) void talk(socket, answer, heard).catch(() => {});
  })();
  return {
    ...place,
    heard,
    async [Symbol.asyncDispose]() {
      listener.close();
      await serving;
      await Deno.remove(place.folder, { recursive: true });
    },
  };
}

async function talk(socket: Deno.Conn, answer: string, heard: string[]): Promise<void> {
  using _socket = socket;
  const buffer = new Uint8Array(65_536);
  const count = await socket.read(buffer);
  if (count === null) return;
  heard.push(new TextDecoder().decode(buffer.subarray(0, count)));
  const bytes = new TextEncoder().encode(answer);
  for (let sent = 0; sent < bytes.length;) sent += await socket.write(bytes.subarray(sent));
}

const http = (body: string, status = "200 OK") =>
  `HTTP/1.1 ${status}\r\nContent-Length: ${new TextEncoder().encode(body).length}\r\nConnection: close\r\n\r\n${body}`;

const FOREIGN: readonly [what: string, make: (place: Place) => Promise<void>, says: string][] = [
  [
    "a socket folder of another user's",
    (place) => Deno.chown(`${place.folder}/run/balancer`, OTHER_UID, OTHER_UID),
    `its folder belongs to user ${OTHER_UID}, and this is user 0; run as that user`,
  ],
  [
    "a socket of another user's",
    (place) => Deno.chown(place.socket(), OTHER_UID, OTHER_UID),
    `it belongs to user ${OTHER_UID}, and this is user 0; run as that user`,
  ],
];

for (const [what, make, says] of FOREIGN) {
  Deno.test({
    ...await needing(`${what} is refused before anything is sent`, "root"),
    async fn() {
      await using place = await makeImpostor(http("{}"));
      await make(place);
      for (const words of [["list"], ["stop"], ["add", "192.0.2.1", "80"], ["start", "127.0.0.1", "0"]]) {
        const { code, stdout, stderr } = await place.ctl(...words);
        assertEquals([code, stdout, stderr], [
          1,
          "",
          `balancerctl: Cannot use control socket ${JSON.stringify(place.socket())}: ${says}\n`,
        ]);
      }
      assertEquals(place.heard, []);
    },
  });
}

Deno.test({
  name: "a socket folder that others can write to is refused before anything is sent",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using place = await makeImpostor(http("{}"));
    await Deno.chmod(`${place.folder}/run/balancer`, 0o770);
    const { code, stderr } = await place.ctl("list");
    assertEquals([code, place.heard], [1, []]);
    assertStringIncludes(stderr, "its folder has mode 770: other users can write to it; run chmod 700 on it\n");
  },
});

Deno.test({
  ...await needing("what another user's program listens on is refused, whoever's the socket is", "root", "Linux", "python3"),
  async fn() {
    await using place = await makePlace();
    const folder = `${place.folder}/run/balancer`;
    await Deno.mkdir(folder, { mode: 0o700 });
    const script = `
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.setuid(${OTHER_UID})
listener.listen()
print("listening", flush=True)
while True:
    connection, _ = listener.accept()
    if connection.recv(1): print("heard", flush=True)
`;
    const command = new Deno.Command("python3", {
      args: ["-c", script, place.socket()],
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    });
    const python = command.spawn();
    const lines = python.stdout.pipeThrough(new TextDecoderStream()).getReader();
    try {
      assertMatch((await soon(lines.read(), "the listener")).value ?? "", /^listening/);
      assertEquals(peerUid(place.socket()), OTHER_UID);
      const { code, stderr } = await place.ctl("list");
      assertEquals(code, 1);
      assertStringIncludes(stderr, `user ${OTHER_UID} listens on it, and this is user 0; run as that user\n`);
    } finally {
      python.kill("SIGKILL");
      await python.status;
    }
    assertEquals(((await lines.read()).value ?? "").trim(), "", "it heard something");
    await Deno.remove(place.socket());
  },
});

Deno.test({
  ...await needing("peerUid() is the user who listens, and unknown where nobody does", "Linux"),
  async fn() {
    await using place = await makePlace();
    const path = `${place.folder}/a.sock`;
    assertEquals(peerUid(path), undefined);
    using _listener = Deno.listen({ transport: "unix", path });
    assertEquals(peerUid(path), Deno.uid() ?? undefined);
  },
});

const COMMANDS: readonly (readonly string[])[] = [
  ["list"],
  ["status"],
  ["list", "--json"],
  ["add", "192.0.2.1", "80"],
  ["remove", "192.0.2.1", "80"],
  ["drain", "192.0.2.1", "80"],
  ["set", "192.0.2.1", "80", "--weight", "2"],
  ["plan", "remove", "192.0.2.1", "80"],
  ["explain", "192.0.2.7"],
  ["last"],
  ["rebalance"],
  ["stop"],
];

/** What is no HTTP or no JSON is refused before a command sees it, so a few commands tell. */
const FEW = COMMANDS.filter((_, i) => i % 4 === 0);

const ANSWERS: readonly [what: string, answer: string, commands?: typeof COMMANDS][] = [
  ["an object without fields", http("{}")],
  ["null", http("null")],
  ["a list", http("[]")],
  ["an error without a sentence", http('{"error":{}}', "500 Internal Server Error")],
  ["not JSON", http("<html>"), FEW],
  ["nothing", "", FEW],
  ["no HTTP", "220 smtp.example ESMTP\r\n", FEW],
  [
    "a redirection",
    "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/v1/status\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    FEW,
  ],
  ["less than it says", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", FEW],
];

for (const [what, answer, commands = COMMANDS] of ANSWERS) {
  Deno.test(`every command that is answered ${what} ends with a sentence`, async () => {
    await using place = await makeImpostor(answer);
    for (const words of commands) {
      const { code, stdout, stderr } = await place.ctl(...words);
      assertEquals([code, stdout], [1, ""], `${words.join(" ")}: ${stderr}`);
      // on a busy machine it may say first what it waits for
      assertMatch(stderr.replace(/^[^\n]*; waiting up to [^\n]*\n/, ""), /^balancerctl: [^\n]+\n$/, words.join(" "));
      assert(!/Internal error|NaN|undefined|\bat file:/.test(stderr), `${words.join(" ")}: ${stderr}`);
    }
  });
}

const SERVER = { ...serverAnswer({ server: "192.0.2.1:80", state: "down", reason: "refused" }), fates: {} };
const LIST = { servers: [SERVER], ring: { fingerprint: "00000000", points: 256, peakToMean: 1 }, hold: NO_HOLD };

const MISFITS: readonly [what: string, change: object, says: string][] = [
  ["a share that is missing", { share: undefined }, "it.servers[0].share is not a number from 0"],
  ["a share that is a text", { share: "1" }, "it.servers[0].share is not a number from 0"],
  ["negative bytes", { sentBytes: -1 }, "it.servers[0].sentBytes is not a number from 0"],
  ["a reason that is a number", { reason: 7 }, "it.servers[0].reason is not text"],
  ["fates that are a list", { fates: [] }, "it.servers[0].fates is not an object"],
  ["a fate that is a text", { fates: { done: "1" } }, "it.servers[0].fates.done is not a number from 0"],
  ["a last failure without a time", { lastFailure: { reason: "x" } }, "it.servers[0].lastFailure.at is not text"],
];

for (const [what, change, says] of MISFITS) {
  Deno.test(`misfitOf() finds ${what}`, () => {
    const answer = JSON.parse(JSON.stringify({ ...LIST, servers: [{ ...SERVER, ...change }] }));
    assertEquals(misfitOf("servers", answer), says);
  });
}

Deno.test("misfitOf() takes an answer with more fields, and words that are new", () => {
  assertEquals(misfitOf("servers", { ...LIST, servers: [{ ...SERVER, state: "asleep", colour: "red" }], more: 1 }), undefined);
});

const EVIL = "\x1b]0;title\x07\r\n\x9b31m\x7f\x85";

Deno.test("no control character of an answer reaches a terminal", async () => {
  const evil = { ...SERVER, server: `a${EVIL}`, reason: `b${EVIL}`, fates: { [`c${EVIL}`]: 1 } };
  await using place = await makeImpostor(http(JSON.stringify({ ...LIST, servers: [evil] })));
  const shown = "\\x1b]0;title\\x07\\x0d\\x0a\\x9b31m\\x7f\\x85";
  const list = await place.do("list");
  assertStringIncludes(list, `a${shown}: down since 2026-11-22T08:30:00Z: b${shown}\n`);
  assert(!/[^\P{Cc}\n]/u.test(list));
  const json = await place.do("list", "--json");
  assert(!/[^\P{Cc}\n]/u.test(json), json);
  assertEquals(JSON.parse(json).servers, [evil]);
  await using failing = await makeImpostor(http(JSON.stringify({ error: { kind: "conflict", message: EVIL } }), "409 Conflict"));
  assertEquals(await failing.ctl("list"), { code: 1, stdout: "", stderr: `balancerctl: ${shown}\n` });
});

Deno.test("an answer that has no end is not read to it", async () => {
  await using place = await makeImpostor(http(" ".repeat(65 * 1024 ** 2)));
  using client = new ControlClient("default", place.socket());
  await assertRejects(() => soon(client.list(), "the refusal"), OperatorError, "is longer than the limit of 64MiB");
});

Deno.test("isGivenByRoot() wants root's folders all the way, also where links lead", () => {
  const folder = (uid: number, mode: number) => ({ uid, mode: 0o40000 | mode, isSymlink: false });
  const link = { uid: 0, mode: 0o120777, isSymlink: true };
  const links: Record<string, string> = {
    "/run/balancer": "private/balancer",
    "/run/trap": "/tmp/trap",
    "/run/over": "/tmp/hop",
    "/tmp/hop": "/run/private/other",
    "/run/up": "private/../private/other",
    "/run/round": "round",
    "/var/run": "../run",
  };
  const files: Record<string, ReturnType<typeof folder>> = {
    "/": folder(0, 0o755),
    "/run": folder(0, 0o755),
    "/run/private": folder(0, 0o700),
    "/run/private/balancer": folder(1234, 0o700),
    "/run/private/other": folder(1234, 0o700),
    "/run/user": folder(0, 0o755),
    "/run/user/1000": folder(1000, 0o700),
    "/run/user/1000/balancer": folder(1000, 0o700),
    "/tmp": folder(0, 0o1777),
    "/tmp/balancer": folder(1234, 0o700),
    "/tmp/trap": folder(1234, 0o700),
    "/shared": folder(0, 0o775),
    "/shared/balancer": folder(1234, 0o700),
    "/var": folder(0, 0o755),
  };
  const world = {
    lstatSync: (path: string) => Object.hasOwn(links, path) ? link : files[path],
    readLinkSync: (path: string) => links[path],
  };
  const given = (path: string) => isGivenByRoot(path, world);
  for (const path of ["/run/balancer", "/run/private/other", "/run/up", "/var/run/balancer", "/run/./private//other"]) {
    assert(given(path), path);
  }
  // A link over a folder that everybody may write to is refused, wherever it leads now.
  const refused = [
    "/tmp/balancer",
    "/run/trap",
    "/run/over",
    "/run/user/1000/balancer",
    "/shared/balancer",
    "/run/round",
    "run/balancer",
  ];
  for (const path of refused) assert(!given(path), path);
});

Deno.test(await needing("root uses another user's socket in root's folders, and no other", "root", "Linux"), async () => {
  await using place = await makePlace();
  await Deno.mkdir(`${place.folder}/run/balancer`, { mode: 0o700 });
  await Deno.chown(`${place.folder}/run/balancer`, OTHER_UID, OTHER_UID);
  assertThrows(
    () => findTrustedSocket(place.socket()),
    OperatorError,
    `belongs to user ${OTHER_UID}, and this is user 0; run as that user`,
  );
});
