// A check finds out what a server says, in its time and with few bytes, whatever the server does.

import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { createServer } from "node:net";
import type { Address } from "../../lib/values/address.ts";
import {
  ANSWER_BYTES_MAX,
  type CheckOptions,
  type CheckResult,
  counterOf,
  runCheck as runServerCheck,
} from "../../lib/health/check.ts";
import type { CheckStep } from "../../lib/health/check_steps.ts";
import type { FindIps } from "../../lib/health/find_ips.ts";
import {
  type Check,
  formatCheck,
  parseCheck,
  parseCheckCa,
  parseCheckHost,
  parseCheckPort,
  parseStatuses,
  plainCheck,
  type ServerCheck,
} from "../../lib/values/check_spec.ts";
import { LATE_MS } from "../../lib/health/connect.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { writeLocalHeader } from "../../lib/values/proxy_header.ts";
import {
  type Handler,
  hold,
  Queue,
  readBytes,
  readChunks,
  silentListener,
  soon,
  startServer,
  unusedAddress,
  WAIT_MAX_MS,
  writeAll,
  writeText,
} from "../helpers.ts";

/** A test that leaves no descriptor, timer or call behind: Deno looks for them only where it is told to. */
function testWithoutLeaks(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, fn, sanitizeOps: true, sanitizeResources: true });
}

/** A connect that was given up goes on for a moment, see `connectTo`: the test stays until it has ended. */
function testOfTimeout(name: string, fn: () => Promise<void>): void {
  testWithoutLeaks(name, async () => {
    await fn();
    await new Promise((resolve) => setTimeout(resolve, LATE_MS + 100));
  });
}

/** For checks that must run out of time. */
const SHORT_MS = 100;

const PASSED: CheckResult = { passed: true };
const HTTP = parseCheck("http:/health");
const PING = parseCheck(String.raw`send:PING\r\n expect:+PONG`);

/** A check of the server itself, with this question. */
function runCheck(check: Check, address: Address, timeoutMs: number, options?: CheckOptions): Promise<CheckResult> {
  return runServerCheck(plainCheck(check), address, timeoutMs, options);
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function text(send: string, expect: string): Check {
  return { kind: "text", send: bytes(send), expect: bytes(expect) };
}

/** Answers at once and keeps the connection. */
function answer(...parts: string[]): Handler {
  return async (socket) => {
    socket.setNoDelay();
    for (const part of parts) await writeText(socket, part);
    await hold(socket, 0);
  };
}

/** A check that runs out of time, in more of it while what is expected has not come about: the machine may be busy. */
async function assertLate(handle: Handler, check: Check, isGone: boolean, reason: RegExp): Promise<void> {
  await using server = startServer(handle);
  let result: CheckResult = PASSED;
  for (const timeoutMs of [SHORT_MS, 10 * SHORT_MS, 100 * SHORT_MS]) {
    result = await soon(runCheck(check, server.address, timeoutMs), "the check");
    if (!result.passed && reason.test(result.reason)) break;
  }
  assertFailed(result, isGone, reason);
}

async function checkOf(handle: Handler, check: Check, timeoutMs = WAIT_MAX_MS): Promise<CheckResult> {
  await using server = startServer(handle);
  return await soon(runCheck(check, server.address, timeoutMs), "the check");
}

function assertFailed(result: CheckResult, isGone: boolean, reason: RegExp): void {
  assert(!result.passed, "the check passed");
  assertMatch(result.reason, reason);
  assertEquals(result.isGone, isGone, result.reason);
}

const GOOD: readonly (readonly [string, Check])[] = [
  ["off", { kind: "off" }],
  ["tcp", { kind: "tcp" }],
  ["http:/", { kind: "http", path: "/" }],
  ["http:/health?full=1&x=%20", { kind: "http", path: "/health?full=1&x=%20" }],
  [`http:/${"x".repeat(1023)}`, { kind: "http", path: `/${"x".repeat(1023)}` }],
  ["https:/health", { kind: "https", path: "/health" }],
  ["expect:220", text("", "220")],
  ["send: expect:220", text("", "220")],
  ["send:PING expect:PONG", text("PING", "PONG")],
  [String.raw`send:a\r\n\t\\\x00\xfF expect:\\r`, {
    kind: "text",
    send: Uint8Array.from([97, 13, 10, 9, 92, 0, 255]),
    expect: bytes("\\r"),
  }],
  ["send:GET / expect:HTTP/1.1 200 OK", text("GET /", "HTTP/1.1 200 OK")],
  ["send:a expect:b expect:c", text("a", "b expect:c")],
  ["expect: x ", text("", " x ")],
  ["send:grüß expect:straße", text("grüß", "straße")],
  [`expect:${"x".repeat(1024)}`, text("", "x".repeat(1024))],
  [`expect:${String.raw`\x41`.repeat(1024)}`, text("", "A".repeat(1024))],
];

for (const [value, check] of GOOD) {
  Deno.test(`parseCheck() takes ${value.slice(0, 60)}`, () => assertEquals(parseCheck(value), check));
}

const BAD = [
  "",
  " ",
  "OFF",
  "off ",
  "tcp ",
  " tcp",
  "tcp:80",
  "constructor",
  "http",
  "http:",
  "http:path",
  "http:/a b",
  "http:/a\r\nX: y",
  "http:/a\n",
  "http:/ä",
  "https:",
  "httpss:/",
  "http:/\x7f",
  "HTTP:/",
  `http:/${"x".repeat(1024)}`,
  "expect:",
  "expect:\n",
  "expect:a\u0000",
  "expect:a\u202eb",
  "expect:\ud800",
  "send:x",
  "send:x expect:",
  "send:xexpect:y",
  "expect:y send:x",
  "send:a expect:y send:x",
  " expect:y",
  String.raw`send:\q expect:y`,
  String.raw`expect:\x4`,
  String.raw`expect:\x4g`,
  String.raw`expect:\u0041`,
  "expect:\\",
  `expect:${"x".repeat(1025)}`,
  `send:${"x".repeat(1025)} expect:y`,
  `expect:${"ü".repeat(513)}`,
  "x".repeat(2000),
  `expect:${"x".repeat(1_000_000)}`,
];

for (const value of BAD) {
  Deno.test(`parseCheck() refuses ${JSON.stringify(value.slice(0, 60))}, ${value.length} characters long`, () => {
    const error = assertThrows(() => parseCheck(value), OperatorError, JSON.stringify(value));
    assertEquals(error.kind, "usage");
    assertStringIncludes(error.message, "is not off, tcp, http:/path or https:/path");
  });
}

Deno.test("parseCheck() reads any bytes back from their escapes", () => {
  const someBytes = fc.uint8Array({ minLength: 1, maxLength: 1024 });
  fc.assert(fc.property(someBytes, someBytes, (send, expect) => {
    const escaped = (bytes: Uint8Array) => Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
    assertEquals(parseCheck(`send:${escaped(send)} expect:${escaped(expect)}`), {
      kind: "text",
      send: Uint8Array.from(send),
      expect: Uint8Array.from(expect),
    });
  }));
});

Deno.test("parseCheck() gives a check or a usage error for any text", () => {
  const starts = fc.constantFrom("", "http:/", "expect:", "send:", "send:a expect:");
  const unit = fc.constantFrom(..."/: \\xrtn4fgü😀\n\0", "\ud800", " expect:", " send:");
  fc.assert(fc.property(starts, fc.string({ unit }), (start, end) => {
    try {
      parseCheck(start + end);
    } catch (error) {
      assert(error instanceof OperatorError && error.kind === "usage", String(error));
    }
  }));
});

Deno.test("formatCheck() writes what parseCheck() reads as the same check", () => {
  for (const [, check] of GOOD) assertEquals(parseCheck(formatCheck(check)), check);
  const someBytes = fc.uint8Array({ minLength: 1, maxLength: 100 });
  fc.assert(fc.property(someBytes, someBytes, (send, expect) => {
    const check = { kind: "text", send: Uint8Array.from(send), expect: Uint8Array.from(expect) } as const;
    assertEquals(parseCheck(formatCheck(check)), check);
  }));
});

Deno.test("the terms of a check are read from text, or refused in a sentence", () => {
  assertEquals([parseCheckPort("same"), parseCheckPort("8008")], [null, 8008]);
  assertEquals([parseCheckHost("same"), parseCheckHost("DB.example")], [null, "db.example"]);
  assertEquals([parseCheckCa("none"), parseCheckCa("./none")], [{ kind: "none" }, { kind: "file", path: "./none" }]);
  assertEquals(parseStatuses("200-399,404"), [{ from: 200, to: 399 }, { from: 404, to: 404 }]);
  const bad: [(text: string) => unknown, string][] = [
    ...["0", "65536", "", "http", "+80"].map((text): [typeof parseCheckPort, string] => [parseCheckPort, text]),
    ...["", "a b", "-"].map((text): [typeof parseCheckHost, string] => [parseCheckHost, text]),
    ...["", "a\nb"].map((text): [typeof parseCheckCa, string] => [parseCheckCa, text]),
    ...["", "200-", "399-200", "99", "600", "200,,300", "200 300"].map((
      text,
    ): [typeof parseStatuses, string] => [parseStatuses, text]),
    [parseStatuses, Array(21).fill("200").join(",")],
  ];
  for (const [parse, text] of bad) {
    assertEquals(assertThrows(() => parse(text), OperatorError, JSON.stringify(text)).kind, "usage");
  }
});

testWithoutLeaks("runCheck() that is off asks nobody", async () => {
  assertEquals(await runCheck({ kind: "off" }, unusedAddress(), 1), PASSED);
});

testWithoutLeaks("runCheck() by tcp is content with a server that accepts, and leaves", async () => {
  const ends = new Queue<string>();
  const handle: Handler = async (socket) => {
    for await (const _ of readChunks(socket)) ends.put("a byte");
    ends.put("an end");
  };
  await using server = startServer(handle);
  assertEquals(await runCheck({ kind: "tcp" }, server.address, WAIT_MAX_MS), PASSED);
  assertEquals(await ends.take(), "an end");
});

for (const check of [parseCheck("tcp"), HTTP, PING]) {
  testWithoutLeaks(`runCheck() by ${check.kind} says that nobody listens`, async () => {
    assertEquals(await runCheck(check, unusedAddress(), WAIT_MAX_MS), {
      passed: false,
      reason: "connection refused",
      isGone: true,
    });
  });
}

testOfTimeout("runCheck() says that the server does not accept in time", async () => {
  using listener = await silentListener();
  for (const check of [parseCheck("tcp"), HTTP, PING]) {
    const result = await soon(runCheck(check, listener.address, SHORT_MS), "the check");
    assertEquals(result, { passed: false, reason: "it did not accept within 100ms", isGone: true });
  }
});

testWithoutLeaks("runCheck() by http sends a request for the path, to the server's own name", async () => {
  const requests = new Queue<string>();
  const handle: Handler = async (socket) => {
    for await (const chunk of readChunks(socket)) {
      requests.put(new TextDecoder().decode(chunk));
      await writeText(socket, "HTTP/1.1 200 OK\r\n\r\n");
    }
  };
  await using server = startServer(handle);
  assertEquals(await runCheck(HTTP, server.address, WAIT_MAX_MS), PASSED);
  assertEquals(
    await requests.take(),
    `GET /health HTTP/1.1\r\nHost: ${server.name}\r\nConnection: close\r\nUser-Agent: balancer\r\n\r\n`,
  );
});

for (
  const line of [
    "HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.0 204\r\n\r\n",
    "HTTP/1.1 399 \n\n",
    "HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n",
  ]
) {
  testWithoutLeaks(`runCheck() by http is content with ${JSON.stringify(line)}`, async () => {
    assertEquals(await checkOf(answer(line), HTTP), PASSED);
  });
}

for (const status of ["503 Service Unavailable", "400", "405 Not Allowed", "500", "101 Switching Protocols"]) {
  testWithoutLeaks(`runCheck() by http tells a status of ${status}`, async () => {
    const reason = `it answered HTTP ${status.slice(0, 3)}`;
    assertEquals(await checkOf(answer(`HTTP/1.1 ${status}\r\n\r\n`), HTTP), { passed: false, reason, isGone: false });
  });
}

const NOT_HTTP = ["-ERR\r\n", "220 ready", "HTTP/2 200\r\n", "HTTP/1.1 2000 OK\r\n", "HTTP/1.1\r\n", "HTTP/1.1 20\r\n", "\n", "\0"];
for (const line of [...NOT_HTTP, "HTTP/1.1 OK 200\r\n", "HTTP/1.1 600\r\n", "http/1.1 200 OK\r\n", "HTTP/1.1  200\r\n"]) {
  testWithoutLeaks(`runCheck() by http refuses ${JSON.stringify(line)} at once`, async () => {
    assertFailed(await checkOf(answer(line), HTTP), false, /^it answered ".+", which is not HTTP$/);
  });
}

testWithoutLeaks("runCheck() by http takes a status line that comes letter by letter", async () => {
  assertEquals(await checkOf(answer(..."HTTP/1.1 204 No Content\r\n\r\n"), HTTP), PASSED);
});

testWithoutLeaks("runCheck() by http reads a status line of 4 KiB and none that is longer", async () => {
  const start = "HTTP/1.1 200 ";
  const longest = `${start.padEnd(ANSWER_BYTES_MAX - 1, "x")}\n`;
  assertEquals(await checkOf(answer(longest), HTTP), PASSED);
  assertFailed(
    await checkOf(answer(start, longest.slice(start.length - 1)), HTTP),
    false,
    /^the first 4096 bytes of its answer have no final status line$/,
  );
});

const CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n";
const HINTS = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nDrain: 1\r\n\r\n";
const INTERIM: readonly (readonly [before: string, answer: string, result: CheckResult])[] = [
  [CONTINUE, "HTTP/1.1 200 OK\r\n\r\n", PASSED],
  [HINTS, "HTTP/1.1 200 OK\r\n\r\n", PASSED],
  [CONTINUE + HINTS, "HTTP/1.1 204\n\n", PASSED],
  ["HTTP/1.1 102\n\n", "HTTP/1.1 200 OK\r\nDrain: 1\r\n\r\n", { passed: true, asksToDrain: true }],
  [CONTINUE, "HTTP/1.1 404 no\r\n\r\n", { passed: true, asksToDrain: true }],
  [CONTINUE, "HTTP/1.1 503 no\r\n\r\n", { passed: false, reason: "it answered HTTP 503", isGone: false }],
  [CONTINUE, "HTTP/1.1 101 no\r\n\r\n", { passed: false, reason: "it answered HTTP 101", isGone: false }],
];
for (const [before, after, result] of INTERIM) {
  for (const how of ["at once", "letter by letter"]) {
    const name = `${JSON.stringify(after)} after ${JSON.stringify(before)}, ${how}`;
    testWithoutLeaks(`runCheck() by http judges ${name}`, async () => {
      const parts = how === "at once" ? [before + after] : before + after;
      assertEquals(await checkOf(answer(...parts), HTTP), result);
    });
  }
}

testWithoutLeaks("runCheck() by http waits for the answer after an interim one, and not for ever", async () => {
  await assertLate(answer(CONTINUE), HTTP, false, /^its answer "HTTP\/1\.1 100 .*" was incomplete after [0-9]+m?s$/);
  const many = CONTINUE.repeat(ANSWER_BYTES_MAX / CONTINUE.length + 1);
  assertFailed(await checkOf(answer(many), HTTP), false, /have no final status line$/);
});

testWithoutLeaks("runCheck() by http judges an answer with long headers by the first 4 KiB of them", async () => {
  const long = `X: ${"x".repeat(ANSWER_BYTES_MAX)}\r\n`;
  const head = "HTTP/1.1 200 OK\r\n";
  assertEquals(await checkOf(answer(`${head}${long}Drain: 1\r\n\r\n`), HTTP), PASSED);
  assertEquals(await checkOf(answer(`${head}Drain: 1\r\n${long}\r\n`), HTTP), { passed: true, asksToDrain: true });
  assertEquals(await checkOf(answer(`HTTP/1.1 404 no\r\n${long}\r\n`), HTTP), { passed: true, asksToDrain: true });
  assertFailed(await checkOf(answer(`HTTP/1.1 500 no\r\n${long}\r\n`), HTTP), false, /^it answered HTTP 500$/);
});

testWithoutLeaks("runCheck() reads no more than it needs of a server that never ends", async () => {
  const block = new Uint8Array(64 * 1024).fill(0x78);
  const forEver = (start: string): Handler => async (socket) => {
    await writeText(socket, start);
    while (true) await writeAll(socket, block);
  };
  assertEquals(await checkOf(forEver("HTTP/1.1 200 OK\r\n"), HTTP), PASSED);
  assertFailed(
    await checkOf(forEver("HTTP/1.1 200 "), HTTP),
    false,
    /^the first 4096 bytes of its answer have no final status line$/,
  );
  assertFailed(await checkOf(forEver("HTTP/1.1 500 no\r\n"), HTTP), false, /^it answered HTTP 500$/);
  assertEquals(await checkOf(forEver("+PONG"), PING), PASSED);
  assertFailed(await checkOf(forEver("+PUNG"), PING), false, /^it answered "\+PUNG.*" instead of "\+PONG"$/);
});

for (const check of [HTTP, PING]) {
  testWithoutLeaks(`runCheck() by ${check.kind} says that the server is silent`, async () => {
    await assertLate(hold, check, true, /^it did not answer within [0-9]+m?s$/);
  });

  testWithoutLeaks(`runCheck() by ${check.kind} says that the server closed before it answered`, async () => {
    const handle: Handler = async (socket) => void await socket.read(new Uint8Array(4096));
    const result = await checkOf(handle, check);
    assertEquals(result, { passed: false, reason: "it closed the connection before it answered", isGone: true });
  });

  testWithoutLeaks(`runCheck() by ${check.kind} says that the server reset the connection`, async () => {
    const server = createServer((socket) => socket.on("error", () => {}).once("data", () => socket.resetAndDestroy()));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    const result = await runCheck(check, { host: "127.0.0.1", port }, WAIT_MAX_MS);
    await new Promise<void>((resolve) => server.close(() => resolve()));
    assertFailed(result, true, /^connection reset by peer before it answered$/);
  });
}

testWithoutLeaks("runCheck() ends in its time with a server that says a byte now and then, and says what it heard", async () => {
  const drip = (text: string): Handler => async (socket) => {
    for (const letter of text) {
      await new Promise((resolve) => setTimeout(resolve, SHORT_MS / 5));
      await writeText(socket, letter);
    }
    await hold(socket, 0);
  };
  await assertLate(drip("+PO"), PING, false, /^its answer "\+PO" was incomplete after [0-9]+m?s$/);
  await assertLate(drip("HTT"), HTTP, false, /^its answer "HTT" was incomplete after [0-9]+m?s$/);
});

testWithoutLeaks("runCheck() says what it heard of a server that closes in the middle", async () => {
  const handle: Handler = async (socket) => {
    await writeText(socket, "HTTP/1.1 ");
    await socket.closeWrite();
    await hold(socket, 0);
  };
  assertFailed(await checkOf(handle, HTTP), false, /^it closed the connection after "HTTP\/1\.1 "$/);
});

testWithoutLeaks("runCheck() by text sends its bytes and compares the beginning of the answer", async () => {
  const sent = new Queue<string>();
  const handle: Handler = async (socket) => {
    for await (const chunk of readChunks(socket)) {
      sent.put(new TextDecoder().decode(chunk));
      await writeText(socket, "+PONG and more\r\n");
    }
  };
  assertEquals(await checkOf(handle, PING), PASSED);
  assertEquals(await sent.take(), "PING\r\n");
});

testWithoutLeaks("runCheck() by text waits for a server that speaks first, letter by letter", async () => {
  assertEquals(await checkOf(answer(..."220 ready"), parseCheck("expect:220 ready")), PASSED);
});

testWithoutLeaks(
  "runCheck() by text fails at the first letter that differs, and shows nothing that could spoil a log",
  async () => {
    assertFailed(await checkOf(answer("-"), PING), false, /^it answered "-" instead of "\+PONG"$/);
    const rude = '\x1b[2J\r\n"\\\u009b';
    assertFailed(
      await checkOf(answer(rude), PING),
      false,
      /^it answered "\\x1b\[2J\\r\\n\\x22\\\\\\xc2\\x9b" instead of "\+PONG"$/,
    );
  },
);

testWithoutLeaks("runCheck() reads the answer of a server that does not wait for the question", async () => {
  const handle: Handler = (socket) => writeText(socket, "HTTP/1.1 503 busy\r\n\r\n");
  assertFailed(await checkOf(handle, HTTP), false, /^it answered HTTP 503$/);
});

testWithoutLeaks("runCheck() looks a name up, and tries the addresses in turn", async () => {
  await using server = startServer(answer("+PONG"), { host: "127.0.0.1" });
  const { port } = server.address;
  assertEquals(await runCheck(PING, { host: "localhost", port }, WAIT_MAX_MS), PASSED);
  const findIps: FindIps = () => Promise.resolve(["127.0.0.9", "127.0.0.1"]);
  assertEquals(await runCheck(PING, { host: "server.test", port }, WAIT_MAX_MS, { findIps }), PASSED);
});

testOfTimeout("runCheck() gives an address that is silent its part of the time", async () => {
  using silent = await silentListener();
  const { port } = silent.address;
  await using server = startServer(answer("+PONG"), { host: "127.0.0.9", port });
  const findIps: FindIps = () => Promise.resolve(["127.0.0.1", "127.0.0.9"]);
  const result = await runCheck(PING, { host: "server.test", port: server.address.port }, 10 * SHORT_MS, { findIps });
  assertEquals(result, PASSED);
});

testWithoutLeaks("runCheck() says that a name is not found, or not in time", async () => {
  const address: Address = { host: "nobody.invalid", port: 1 };
  assertFailed(await runCheck(PING, address, WAIT_MAX_MS), true, /^its name was not found$/);
  const result = await soon(runCheck(PING, address, SHORT_MS, { findIps: () => new Promise(() => {}) }), "the check");
  assertFailed(result, true, /^its name was not found within 100ms$/);
});

testWithoutLeaks("runCheck() finds many names at once, each in its turn", async () => {
  const checks = Array.from({ length: 40 }, (_, i) => runCheck(PING, { host: `nobody${i % 20}.invalid`, port: 1 }, WAIT_MAX_MS));
  for (const result of await Promise.all(checks)) assertFailed(result, true, /^its name was not found$/);
});

testWithoutLeaks("runCheck() ends when it is told to, whatever it is waiting for", async () => {
  using listener = await silentListener();
  await using server = startServer(hold);
  const findIps: FindIps = () => new Promise(() => {});
  const end = new AbortController();
  const checks = [
    runCheck(PING, { host: "server.test", port: 1 }, WAIT_MAX_MS, { findIps, signal: end.signal }),
    runCheck(PING, listener.address, WAIT_MAX_MS, { signal: end.signal }),
    runCheck(PING, server.address, WAIT_MAX_MS, { signal: end.signal }),
  ];
  end.abort();
  checks.push(runCheck(PING, server.address, WAIT_MAX_MS, { signal: end.signal }));
  for (const result of await soon(Promise.all(checks), "the checks", WAIT_MAX_MS / 2)) assert(!result.passed);
});

/** A check by HTTP with these terms. */
function checkBy(terms: Partial<ServerCheck>, address: Address, options?: CheckOptions): Promise<CheckResult> {
  return runServerCheck({ ...plainCheck(HTTP), ...terms }, address, WAIT_MAX_MS, options);
}

const DRAINS: CheckResult = { passed: true, asksToDrain: true };

const HEADS: readonly (readonly [head: string, statuses: string, result: CheckResult])[] = [
  ["HTTP/1.1 404 Not Found\r\n\r\n", "200-399", DRAINS],
  ["HTTP/1.1 404 Not Found\r\n\r\n", "200-399,404", PASSED],
  ["HTTP/1.1 404 Not Found\r\nDrain: 1\r\n\r\n", "400-499", DRAINS],
  ["HTTP/1.1 200 OK\r\nServer: a\r\nDRAIN:1\r\n\r\n", "200-399", DRAINS],
  ["HTTP/1.1 200 OK\ndrain: 1 \n\n", "200-399", DRAINS],
  ["HTTP/1.1 200 OK\r\nDrain: 0\r\nX-Drain: 1\r\n\r\n", "200-399", PASSED],
  ["HTTP/1.1 200 OK\r\n\r\nDrain: 1\r\n", "200-399", PASSED],
  ["HTTP/1.1 503 busy\r\nDrain: 1\r\n\r\n", "200-399", { passed: false, reason: "it answered HTTP 503", isGone: false }],
  ["HTTP/1.1 503 busy\r\n\r\n", "200-299,500-503", PASSED],
  ["HTTP/1.1 301 moved\r\n\r\n", "200-299", { passed: false, reason: "it answered HTTP 301", isGone: false }],
];

for (const [head, statuses, result] of HEADS) {
  testWithoutLeaks(`runCheck() by http, where ${statuses} pass, of ${JSON.stringify(head)}`, async () => {
    await using server = startServer(answer(head));
    assertEquals(await checkBy({ statuses: parseStatuses(statuses) }, server.address), result);
  });
}

testWithoutLeaks("runCheck() by http sees a header that comes letter by letter", async () => {
  await using server = startServer(answer(..."HTTP/1.1 200 OK\r\nDrain: 1\r\n\r\n"));
  assertEquals(await checkBy({}, server.address), DRAINS);
});

testWithoutLeaks("runCheck() by http is content with a status line, when no more has come at the end", async () => {
  assertEquals(await checkOf(answer("HTTP/1.1 200 OK\r\nServer:"), HTTP, SHORT_MS), PASSED);
  assertEquals(await checkOf((socket) => writeText(socket, "HTTP/1.1 200 OK\r\n"), HTTP), PASSED);
});

testWithoutLeaks("runCheck() asks another port, by another name", async () => {
  const requests = new Queue<string>();
  await using server = startServer(async (socket) => {
    for await (const chunk of readChunks(socket)) {
      requests.put(new TextDecoder().decode(chunk));
      await writeText(socket, "HTTP/1.1 200 OK\r\n\r\n");
    }
  });
  const { host, port } = server.address;
  assertEquals(await checkBy({ port, host: "web.example" }, { host, port: 1 }), PASSED);
  assertStringIncludes(await requests.take(), "\r\nHost: web.example\r\n");
});

for (const [proxy, question] of [["v1", HTTP], ["v2", HTTP], ["v1", parseCheck("tcp")], ["v2", parseCheck("tcp")]] as const) {
  testWithoutLeaks(`runCheck() by ${question.kind} begins with a local PROXY header ${proxy}`, async () => {
    const expected = writeLocalHeader(proxy);
    const headers = new Queue<Uint8Array>();
    await using server = startServer(async (socket) => {
      headers.put(await readBytes(socket, expected.length));
      await writeText(socket, "HTTP/1.1 200 OK\r\n\r\n");
      await hold(socket, 0);
    });
    const steps: CheckStep[] = [];
    const result = await checkBy({ proxy, question }, server.address, { onStep: (step) => steps.push(step) });
    assertEquals(result, PASSED);
    assertEquals(await headers.take(), expected);
    const told = steps.map(({ step, detail }) => `${step}: ${detail}`);
    assertEquals(told.slice(0, 3), [
      "resolved: 127.0.0.1",
      `connected: ${server.name}`,
      `announced: PROXY protocol ${proxy}, ${expected.length} bytes`,
    ]);
    assertEquals(told.slice(3), question === HTTP ? ["answered: HTTP/1.1 200 OK"] : []);
  });
}

testWithoutLeaks("runCheck() tells each address that does not accept", async () => {
  await using server = startServer(answer("HTTP/1.1 200 OK\r\n\r\n"));
  const { port } = server.address;
  const steps: CheckStep[] = [];
  const findIps: FindIps = () => Promise.resolve(["127.0.0.9", "127.0.0.1"]);
  await checkBy({}, { host: "server.test", port }, { findIps, onStep: (step) => steps.push(step) });
  assertEquals(steps.map(({ step, detail }) => `${step}: ${detail}`), [
    "resolved: 127.0.0.9, 127.0.0.1",
    `refused: 127.0.0.9:${port}: connection refused`,
    `connected: 127.0.0.1:${port}`,
    "answered: HTTP/1.1 200 OK",
  ]);
  for (const { atMs } of steps) assert(atMs >= 0 && atMs <= WAIT_MAX_MS);
});

Deno.test("each outcome of a check has a counter of its own", () => {
  const failed = { passed: false, reason: "", isGone: false } as const;
  const results: CheckResult[] = [
    PASSED,
    { passed: true, asksToDrain: true },
    { ...failed, isGone: true },
    failed,
    { ...failed, isOwnFault: true },
  ];
  const expected = ["checksPassed", "checksDrain", "checksUnanswered", "checksWrong", "checksNotMade"];
  assertEquals(results.map(counterOf), expected);
});
