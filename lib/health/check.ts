/**
 * One health check of one server: does it accept a connection, and does it answer as expected? Owns the connection of the check and
 * its time limit. Knows no pool and no clients, and does not decide what follows from the result.
 */

import { abortable } from "@std/async";
import { type Address, formatAddress } from "../values/address.ts";
import { connectTo } from "./connect.ts";
import { type FindIps, findIps as findBySystem } from "./find_ips.ts";
import { isNoLocalPort, isOwnShortage, NO_LOCAL_PORT } from "./shortage.ts";
import { afterSockets } from "./socket_timer.ts";
import { formatDuration } from "../values/duration.ts";
import { type Check, ESCAPES } from "../values/check_spec.ts";
import { messageOf } from "../values/errors.ts";

/** The result of a check. */
export type CheckResult = { readonly passed: true } | FailedCheck;

/** A failed check. */
export interface FailedCheck {
  readonly passed: false;
  /** A clause for a log line or a list. */
  readonly reason: string;
  /** True if there was no connection or not a single byte of an answer; false if the answer was wrong or incomplete. */
  readonly isGone: boolean;
  /** The check could not be made because a local resource, such as a descriptor, was missing. It says nothing about the server. */
  readonly isOwnFault?: true;
}

/** Options of `runCheck`. */
export interface CheckOptions {
  /** Aborts the check; its result is then meaningless. */
  readonly signal?: AbortSignal;
  readonly findIps?: FindIps;
}

/** The most bytes that are read of an answer; a longer status line fails the check. */
export const ANSWER_BYTES_MAX: number = 4 * 1024;
/** The most bytes that are shown of a wrong answer. */
const SHOWN_BYTES = 32;

const PASSED: CheckResult = { passed: true };

/**
 * Runs a check of the server with this address; never rejects. Look-up, connect and answer have `timeoutMs` together. The
 * connection is closed when the promise resolves; a look-up by `findIps` may still be running.
 */
export async function runCheck(
  check: Check,
  address: Address,
  timeoutMs: number,
  { signal, findIps = findBySystem }: CheckOptions = {},
): Promise<CheckResult> {
  if (check.kind === "off") return PASSED;
  const deadline = new AbortController();
  const end = () => deadline.abort();
  const cancel = afterSockets(timeoutMs, end);
  signal?.addEventListener("abort", end);
  if (signal?.aborted) end();
  try {
    return await new Attempt(address, timeoutMs, deadline.signal).run(check, findIps);
  } finally {
    cancel();
    signal?.removeEventListener("abort", end);
  }
}

/** What is sent to a server, and the judge of its answer so far, who gives undefined while more of it is needed. */
interface Exchange {
  readonly question: Uint8Array;
  readonly judge: (received: Uint8Array) => CheckResult | undefined;
}

/** The exchange of each kind of check; undefined where an accepted connection is enough. */
const EXCHANGES: {
  readonly [Kind in Check["kind"]]: (check: Extract<Check, { kind: Kind }>, address: Address) => Exchange | undefined;
} = {
  off: () => undefined,
  tcp: () => undefined,
  http: ({ path }, address) => ({ question: httpRequest(path, address), judge: judgeStatusLine }),
  text: ({ send, expect }) => ({ question: send, judge: (received) => judgeText(received, expect) }),
};

function exchangeOf(check: Check, address: Address): Exchange | undefined {
  return (EXCHANGES[check.kind] as (check: Check, address: Address) => Exchange | undefined)(check, address);
}

/** One running check: what it waits for, and what it has received of the answer. */
class Attempt {
  #waitingFor: "name" | "connection" | "answer" = "name";
  readonly #buffer = new Uint8Array(ANSWER_BYTES_MAX);
  #received = 0;

  constructor(readonly address: Address, readonly timeoutMs: number, readonly deadline: AbortSignal) {}

  async run(check: Check, findIps: FindIps): Promise<CheckResult> {
    try {
      const ips = await abortable(findIps(this.address.host), this.deadline);
      this.#waitingFor = "connection";
      using socket = await this.#connect(ips);
      const exchange = exchangeOf(check, this.address);
      if (exchange === undefined) return PASSED;
      this.#waitingFor = "answer";
      return await this.#ask(socket, exchange);
    } catch (error) {
      return this.#failure(error);
    }
  }

  /** Connects to the first IP address that accepts. Each address but the last gets an equal part of the time. */
  async #connect(ips: readonly string[]): Promise<Deno.TcpConn> {
    const { port } = this.address;
    for (const hostname of ips.slice(0, -1)) {
      const part = new AbortController();
      const timer = setTimeout(() => part.abort(), this.timeoutMs / ips.length);
      const signal = AbortSignal.any([this.deadline, part.signal]);
      const socket = await connectTo(hostname, port, signal).catch(() => undefined).finally(() => clearTimeout(timer));
      if (socket !== undefined) return socket;
    }
    return await connectTo(ips.at(-1)!, port, this.deadline);
  }

  async #ask(socket: Deno.TcpConn, { question, judge }: Exchange): Promise<CheckResult> {
    const close = () => socket.close(); // ends a pending read or write
    this.deadline.throwIfAborted();
    this.deadline.addEventListener("abort", close);
    try {
      // A server may answer and close before it has read the question; its answer is read nevertheless.
      await writeAll(socket, question).catch(() => {});
      return await this.#readAnswer(socket, judge);
    } finally {
      this.deadline.removeEventListener("abort", close);
    }
  }

  async #readAnswer(socket: Deno.TcpConn, judge: Exchange["judge"]): Promise<CheckResult> {
    while (this.#received < this.#buffer.length) {
      const count = await socket.read(this.#buffer.subarray(this.#received));
      if (count === null) return this.#cutShort("it closed the connection");
      this.#received += count;
      const result = judge(this.#answer);
      if (result !== undefined) return result;
    }
    return wrong(`the first line of its answer is longer than ${ANSWER_BYTES_MAX} bytes`);
  }

  get #answer(): Uint8Array {
    return this.#buffer.subarray(0, this.#received);
  }

  #failure(error: unknown): CheckResult {
    if (this.deadline.aborted) return this.#late();
    if (this.#waitingFor === "name") return gone("its name was not found");
    if (isOwnShortage(error)) {
      return { passed: false, reason: isNoLocalPort(error) ? NO_LOCAL_PORT : clauseOf(error), isGone: false, isOwnFault: true };
    }
    return this.#waitingFor === "answer" ? this.#cutShort(clauseOf(error)) : gone(clauseOf(error));
  }

  #late(): CheckResult {
    const time = formatDuration(this.timeoutMs);
    if (this.#waitingFor === "name") return gone(`its name was not found within ${time}`);
    if (this.#waitingFor === "connection") return gone(`it did not accept within ${time}`);
    if (this.#received === 0) return gone(`it did not answer within ${time}`);
    return wrong(`its answer ${quote(this.#answer)} was incomplete after ${time}`);
  }

  /** The result when an answer ends before it can be judged. */
  #cutShort(how: string): CheckResult {
    return this.#received === 0 ? gone(`${how} before it answered`) : wrong(`${how} after ${quote(this.#answer)}`);
  }
}

function gone(reason: string): CheckResult {
  return { passed: false, reason, isGone: true };
}

function wrong(reason: string): CheckResult {
  return { passed: false, reason, isGone: false };
}

/** `Connection refused (os error 111)` as `connection refused`. */
function clauseOf(error: unknown): string {
  const message = messageOf(error).replace(/ \(os error [0-9]+\)/, "");
  return message.slice(0, 1).toLowerCase() + message.slice(1);
}

function httpRequest(path: string, address: Address): Uint8Array {
  const lines = [`GET ${path} HTTP/1.1`, `Host: ${formatAddress(address)}`, "Connection: close", "User-Agent: balancer", "", ""];
  return new TextEncoder().encode(lines.join("\r\n"));
}

/** Passes for a status line (RFC 9112, section 4) from 200 to 399. Fails as soon as the bytes cannot become a status line. */
function judgeStatusLine(received: Uint8Array): CheckResult | undefined {
  const start = new TextEncoder().encode("HTTP/1.").subarray(0, received.length);
  const end = received.indexOf(10);
  if (startsWith(received, start) && end === -1) return undefined;
  const line = new TextDecoder("latin1").decode(received.subarray(0, Math.max(0, end)));
  const [, status] = line.match(/^HTTP\/1\.[0-9] ([1-5][0-9]{2})(?: .*)?\r?$/s) ?? [];
  if (status === undefined) return wrong(`it answered ${quote(received)}, which is not HTTP`);
  return status >= "200" && status <= "399" ? PASSED : wrong(`it answered HTTP ${status}`);
}

function judgeText(received: Uint8Array, expect: Uint8Array): CheckResult | undefined {
  if (startsWith(received, expect)) return PASSED;
  if (startsWith(expect, received)) return undefined;
  return wrong(`it answered ${quote(received)} instead of ${quote(expect)}`);
}

function startsWith(bytes: Uint8Array, start: Uint8Array): boolean {
  return bytes.length >= start.length && start.every((byte, i) => byte === bytes[i]);
}

/** The first bytes of an untrusted answer, quoted, with the escapes that `parseCheck` reads. */
function quote(bytes: Uint8Array): string {
  const shown = Array.from(bytes.subarray(0, SHOWN_BYTES), escapeByte).join("");
  return `"${shown}${bytes.length > SHOWN_BYTES ? "…" : ""}"`;
}

function escapeByte(byte: number): string {
  const [letter] = Object.entries(ESCAPES).find(([, escaped]) => escaped === byte) ?? [];
  if (letter !== undefined) return `\\${letter}`;
  const isPlain = byte >= 0x20 && byte < 0x7f && byte !== 0x22; // 0x22 is the quote itself
  return isPlain ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`;
}

async function writeAll(socket: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let sent = 0; sent < bytes.length;) sent += await socket.write(bytes.subarray(sent));
}
