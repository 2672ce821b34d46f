/**
 * One check of one server: does it accept, and does it answer as it should? Owns the one connection that a check
 * makes: its time, its few bytes, its end. Knows no pool and no clients, and does not decide what follows from the
 * answer.
 */

import { lookup } from "node:dns/promises";
import { type Address, formatAddress, isIp } from "../values/address.ts";
import { connectTo, untilAborted } from "./connect.ts";
import { afterSockets } from "./socket_timer.ts";
import { formatDuration } from "../values/duration.ts";
import { type Check, ESCAPES } from "../values/check_spec.ts";
import { messageOf } from "../values/errors.ts";

/** How a check went. `reason` is a clause, for a log line or a list. */
export type CheckResult = { readonly passed: true } | FailedCheck;

/** Why a check failed. */
export interface FailedCheck {
  readonly passed: false;
  readonly reason: string;
  /** Not one byte came of the server, or no connection at all; false where it answered, wrongly or not to the end. */
  readonly isGone: boolean;
  /** The check could not be made for want of something here, such as a descriptor, and says nothing of the server. */
  readonly isOwnFault?: true;
}

/** Finds the IP addresses of a host, at least one. */
export type FindIps = (host: string) => Promise<readonly string[]>;

/** What a check may be given beside what it is. */
export interface CheckOptions {
  /** Ends the check before its time; its result then means nothing. */
  readonly signal?: AbortSignal;
  readonly findIps?: FindIps;
}

/** What is read of an answer at the most; a longer status line fails. */
export const ANSWER_BYTES_MAX: number = 4 * 1024;
/** What is shown of an answer that is wrong. */
const SHOWN_BYTES = 32;
/** Look-ups at a time. Deno has 32 threads for them and for files, and none can be taken back. */
const LOOKUPS_MAX = 8;
/** Errors for which this machine is to blame: no descriptors, no memory, no free port. */
const OWN_FAULTS = ["EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "EADDRNOTAVAIL"];

const PASSED: CheckResult = { passed: true };

/**
 * Makes this check of the server with this address; never rejects. The look-up of its name, connecting and answering have `timeoutMs`
 * together. Once it resolves its connection is closed; a look-up by `findIps` may go on by itself.
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

/** Says whether an answer is good or bad by what has come of it; undefined: more of it is needed. */
type Judge = (received: Uint8Array) => CheckResult | undefined;

/** One check under way: what it is waiting for and what has come of the answer, which its end depends on. */
class Attempt {
  #waitingFor: "name" | "connection" | "answer" = "name";
  readonly #buffer = new Uint8Array(ANSWER_BYTES_MAX);
  #received = 0;

  constructor(readonly address: Address, readonly timeoutMs: number, readonly deadline: AbortSignal) {}

  async run(check: Exclude<Check, { kind: "off" }>, findIps: FindIps): Promise<CheckResult> {
    try {
      const ips = await untilAborted(findIps(this.address.host), this.deadline);
      this.#waitingFor = "connection";
      using socket = await this.#connect(ips);
      if (check.kind === "tcp") return PASSED;
      this.#waitingFor = "answer";
      if (check.kind === "text") return await this.#ask(socket, check.send, (received) => judgeText(received, check.expect));
      return await this.#ask(socket, httpRequest(check.path, this.address), judgeStatusLine);
    } catch (error) {
      return this.#failure(error);
    }
  }

  /** Connects to the first of the IP addresses that accepts; all but the last have their part of the time each. */
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

  async #ask(socket: Deno.TcpConn, question: Uint8Array, judge: Judge): Promise<CheckResult> {
    const close = () => socket.close(); // wakes whoever reads or writes
    this.deadline.throwIfAborted();
    this.deadline.addEventListener("abort", close);
    try {
      // A server may answer and close before it has read the question; what it said is read all the same.
      await writeAll(socket, question).catch(() => {});
      return await this.#readAnswer(socket, judge);
    } finally {
      this.deadline.removeEventListener("abort", close);
    }
  }

  async #readAnswer(socket: Deno.TcpConn, judge: Judge): Promise<CheckResult> {
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
    if (isOwnFault(error)) return { passed: false, reason: clauseOf(error), isGone: false, isOwnFault: true };
    return this.#waitingFor === "answer" ? this.#cutShort(clauseOf(error)) : gone(clauseOf(error));
  }

  #late(): CheckResult {
    const time = formatDuration(this.timeoutMs);
    if (this.#waitingFor === "name") return gone(`its name was not found within ${time}`);
    if (this.#waitingFor === "connection") return gone(`it did not accept within ${time}`);
    if (this.#received === 0) return gone(`it did not answer within ${time}`);
    return wrong(`it answered ${quote(this.#answer)} and no more within ${time}`);
  }

  /** The end of an answer that was not yet good or bad. */
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

function isOwnFault(error: unknown): boolean {
  return error instanceof Error && "code" in error && OWN_FAULTS.includes(`${error.code}`);
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

/** A status line (RFC 9112, section 4) of 200 to 399 is good. What cannot become one is bad before its line has ended. */
function judgeStatusLine(received: Uint8Array): CheckResult | undefined {
  const start = new TextEncoder().encode("HTTP/1.").subarray(0, received.length);
  const end = received.indexOf(10);
  if (startsWith(received, start) && end === -1) return undefined;
  const line = new TextDecoder("latin1").decode(received.subarray(0, Math.max(0, end)));
  const [, status] = line.match(/^HTTP\/1\.[0-9] ([1-5][0-9]{2})(?: .*)?\r?$/s) ?? [];
  if (status === undefined) return wrong(`it answered ${quote(received)} and not HTTP`);
  return status >= "200" && status <= "399" ? PASSED : wrong(`it answered HTTP ${status}`);
}

function judgeText(received: Uint8Array, expect: Uint8Array): CheckResult | undefined {
  if (startsWith(received, expect)) return PASSED;
  if (startsWith(expect, received)) return undefined;
  return wrong(`it answered ${quote(received)} and not ${quote(expect)}`);
}

function startsWith(bytes: Uint8Array, start: Uint8Array): boolean {
  return bytes.length >= start.length && start.every((byte, i) => byte === bytes[i]);
}

/** The beginning of bytes that anybody may have sent, in quotes, as `parseCheck` would read it: printable ASCII and escapes. */
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

/** Look-ups that wait for their turn or are under way, by host. */
const lookups = new Map<string, Promise<readonly string[]>>();
const turns: (() => void)[] = [];
let lookupsUnderWay = 0;

/**
 * Asks the system. A look-up goes on when the check that wanted it has given up, so a host is looked up once at a time for all its
 * checks, and few hosts at a time; the others wait for their turn.
 */
function findBySystem(host: string): Promise<readonly string[]> {
  if (isIp(host)) return Promise.resolve([host]);
  const found = lookups.get(host) ?? lookUp(host);
  lookups.set(host, found);
  return found;
}

async function lookUp(host: string): Promise<readonly string[]> {
  if (lookupsUnderWay < LOOKUPS_MAX) lookupsUnderWay++;
  else await new Promise<void>((resolve) => turns.push(resolve));
  try {
    return (await lookup(host, { all: true })).map(({ address }) => address);
  } finally {
    lookups.delete(host);
    const next = turns.shift(); // it takes this one's place
    if (next === undefined) lookupsUnderWay--;
    else next();
  }
}
