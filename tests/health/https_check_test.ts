// A check by HTTPS trusts whom it is told to trust, calls the server by the name it is told, and says what went wrong.

import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { Authorities } from "../../lib/health/authorities.ts";
import { type CheckOptions, type CheckResult, runCheck } from "../../lib/health/check.ts";
import type { CheckStep } from "../../lib/health/check_steps.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { parseCheck, parseCheckCa, plainCheck, type ServerCheck } from "../../lib/values/check_spec.ts";
import { CA, EXPIRED, OTHER_CA, SERVER } from "../certificates.ts";
import { type Handler, hold, Queue, soon, startServer, WAIT_MAX_MS, writeAll, writeText } from "../helpers.ts";

/** A server that speaks TLS. */
function startTls(answer: string, { cert, key } = SERVER) {
  const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, cert, key });
  const requests = new Queue<string>();
  const accepting = (async () => {
    for await (const socket of listener) {
      (async () => {
        const buffer = new Uint8Array(4096);
        const count = await socket.read(buffer);
        requests.put(new TextDecoder().decode(buffer.subarray(0, count ?? 0)));
        await writeText(socket, answer);
        while (await socket.read(buffer) !== null);
      })().catch(() => {}).finally(() => socket.close());
    }
  })().catch(() => {});
  return {
    address: { host: "127.0.0.1", port: listener.addr.port },
    requests,
    async [Symbol.asyncDispose]() {
      listener.close();
      await accepting;
    },
  };
}

const UNTRUSTED = "its certificate has expired or no authority of --check-ca has signed it";
const OK = "HTTP/1.1 200 OK\r\n\r\n";
const HTTPS = plainCheck(parseCheck("https:/up"));

/** Files with the authorities, by their content. */
async function writeFile(content: string): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempFile({ prefix: "balancer_ca_" });
  await Deno.writeTextFile(path, content);
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path).catch(() => {}) };
}

/** The result of a check of a TLS server. `ca` is the content of its file, or a word of `--check-ca`. */
async function checkTls(
  server: { readonly address: { host: string; port: number } },
  ca: string,
  terms: Partial<ServerCheck> = {},
  options: CheckOptions = {},
): Promise<CheckResult> {
  await using file = await writeFile(ca);
  const authorities = new Authorities();
  const parsed = parseCheckCa(ca === "none" || ca === "system" ? ca : file.path);
  await authorities.load(parsed);
  const check = { ...HTTPS, ...terms, ca: parsed };
  return await runCheck(check, server.address, WAIT_MAX_MS, { trustOf: (ca) => authorities.trustOf(ca), ...options });
}

function reasonOf(result: CheckResult): string {
  assert(!result.passed, "the check passed");
  assertEquals(result.isGone, false, "the server has sent bytes");
  return result.reason;
}

Deno.test("runCheck() by https passes with a certificate that an authority of the file has signed", async () => {
  await using server = startTls(OK);
  assertEquals(await checkTls(server, CA), { passed: true });
  assertStringIncludes(await server.requests.take(), `GET /up HTTP/1.1\r\nHost: 127.0.0.1:${server.address.port}\r\n`);
  assertEquals(await checkTls(server, `${OTHER_CA}\n${CA}`), { passed: true });
});

Deno.test("runCheck() by https trusts nobody but those in the file", async () => {
  await using server = startTls(OK);
  assertEquals(reasonOf(await checkTls(server, OTHER_CA)), UNTRUSTED);
  assertEquals(reasonOf(await checkTls(server, "system")), UNTRUSTED);
});

Deno.test("runCheck() by https calls the server by the name of --check-host, in SNI and in the Host header", async () => {
  await using server = startTls(OK);
  assertEquals(await checkTls(server, CA, { host: "db.example" }), { passed: true });
  assertStringIncludes(await server.requests.take(), "\r\nHost: db.example\r\n");
  assertEquals(reasonOf(await checkTls(server, CA, { host: "web.example" })), 'its certificate is not for the name "web.example"');
});

Deno.test("runCheck() by https without verification takes any certificate, and says so", async () => {
  await using server = startTls("HTTP/1.1 503 busy\r\n\r\n", EXPIRED);
  const steps: CheckStep[] = [];
  const result = await checkTls(server, "none", { host: "web.example" }, { onStep: (step) => steps.push(step) });
  assertEquals(reasonOf(result), "it answered HTTP 503");
  assertEquals(steps.map(({ step }) => step), ["resolved", "connected", "encrypted", "answered"]);
  assertMatch(steps[2].detail, /^TLSv1\.[23], old\.example, valid to .*2021.*, not verified$/);
  assertEquals(steps[3].detail, "HTTP/1.1 503 busy");
});

Deno.test("runCheck() by https does not trust an expired certificate", async () => {
  await using server = startTls(OK, EXPIRED);
  assertEquals(reasonOf(await checkTls(server, CA)), UNTRUSTED);
});

Deno.test("runCheck() by https says that the server speaks no TLS", async () => {
  const handle: Handler = async (socket) => {
    await writeText(socket, "220 ready\r\n");
    await hold(socket, 0);
  };
  await using server = startServer(handle);
  assertMatch(reasonOf(await checkTls(server, CA)), /./);
});

Deno.test("runCheck() by https says that the server never ends its handshake", async () => {
  for (const [sent, isGone] of [[new Uint8Array(0), true], [Uint8Array.of(22, 3, 3, 0), false]] as const) {
    await using server = startServer(async (socket) => {
      await writeAll(socket, sent);
      await hold(socket, 0);
    });
    const result = await soon(runCheck(HTTPS, server.address, 300), "the check");
    assertEquals(result, { passed: false, reason: "it did not end the TLS handshake within 300ms", isGone });
  }
});

Deno.test("runCheck() by https says that the server closed during the handshake", async () => {
  await using server = startServer(async (socket) => void await socket.read(new Uint8Array(16)));
  const result = await runCheck(HTTPS, server.address, WAIT_MAX_MS);
  assert(!result.passed);
  assertMatch(result.reason, /during the TLS handshake$/);
  assertEquals(result.isGone, true);
});

for (
  const [what, content, why] of [
    ["no certificate", "hello", "it has no certificate in PEM format"],
    [
      "a damaged certificate",
      `${CA}\n-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n`,
      "its certificate number 2 is damaged",
    ],
  ] as const
) {
  Deno.test(`Authorities refuse a file with ${what}, in a sentence`, async () => {
    await using file = await writeFile(content);
    const error = await assertRejects(() => new Authorities().load({ kind: "file", path: file.path }), OperatorError, why);
    assertStringIncludes(error.message, JSON.stringify(file.path));
  });
}

Deno.test("Authorities refuse a file that is missing or no plain file", async () => {
  const load = (path: string) => new Authorities().load({ kind: "file", path });
  await assertRejects(() => load("/nowhere/ca.pem"), OperatorError, "it does not exist");
  await assertRejects(() => load(Deno.cwd()), OperatorError, "a folder");
});

Deno.test("a check whose file of authorities has gone at a restart fails, and says why", async () => {
  await using server = startTls(OK);
  await using file = await writeFile(CA);
  const ca = { kind: "file", path: file.path } as const;
  const authorities = new Authorities();
  const check = { ...HTTPS, ca };
  const run = () => runCheck(check, server.address, WAIT_MAX_MS, { trustOf: (ca) => authorities.trustOf(ca) });
  await Deno.rename(file.path, `${file.path}.gone`);
  assertStringIncludes(await authorities.restore(ca) ?? "", "it does not exist");
  assertStringIncludes(reasonOf(await run()), "it does not exist");
  await Deno.rename(`${file.path}.gone`, file.path);
  await authorities.load(ca);
  assertEquals(await run(), { passed: true });
});
