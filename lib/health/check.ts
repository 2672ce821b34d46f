/**
 * One health check of one server: does it accept a connection, and does it answer as expected? Owns the connection of the check and
 * its time limit. Knows no pool and no clients, and does not decide what follows from the result.
 */

import { abortable } from "@std/async";
import { type Address, formatAddress } from "../values/address.ts";
import type { CheckStep } from "./check_steps.ts";
import { connectTo } from "./connect.ts";
import { type FindIps, findIps as findBySystem } from "./find_ips.ts";
import { isNoLocalPort, isOwnShortage, NO_LOCAL_PORT } from "./shortage.ts";
import { afterSockets } from "./socket_timer.ts";
import { formatDuration } from "../values/duration.ts";
import { type CheckCa, escapeByte, hasStatus, type ServerCheck, type StatusRange } from "../values/check_spec.ts";
import { messageOf } from "../values/errors.ts";
import { type HttpHead, readHttpHead } from "./http_head.ts";
import { writeLocalHeader } from "../values/proxy_header.ts";
import { type Channel, HandshakeError, TlsChannel, type Trust, writeAll } from "./tls_channel.ts";

/** The result of a check. */
export type CheckResult = PassedCheck | FailedCheck;

/** A check that found the server alive. */
export interface PassedCheck {
  readonly passed: true;
  /** The server asks to be drained: by the status 404 where that does not pass, or by the header `Drain: 1`. */
  readonly asksToDrain?: true;
}

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

/** The counter of each outcome of a check. */
export type CheckCounter = "checksPassed" | "checksDrain" | "checksUnanswered" | "checksWrong" | "checksNotMade";

/** The counter that a check with this result raises. */
export function counterOf(result: CheckResult): CheckCounter {
  if (result.passed) return result.asksToDrain ? "checksDrain" : "checksPassed";
  if (result.isOwnFault) return "checksNotMade";
  return result.isGone ? "checksUnanswered" : "checksWrong";
}

/** Options of `runCheck`. */
export interface CheckOptions {
  /** Aborts the check; its result is then meaningless. */
  readonly signal?: AbortSignal;
  readonly findIps?: FindIps;
  /** Whom an HTTPS check trusts, or why that is not known. */
  readonly trustOf?: (ca: CheckCa) => Trust | { readonly fault: string };
  readonly onStep?: (step: CheckStep) => void;
}

/**
 * The most bytes that are read of an answer. If its final status line does not end in them, the check fails. If its headers do not,
 * it is judged by its status and by the headers up to there.
 */
export const ANSWER_BYTES_MAX: number = 4 * 1024;
/** The most bytes that are shown of a wrong answer. */
const SHOWN_BYTES = 32;
/** This status asks to be drained, unless it passes. */
const NOT_FOUND = 404;

const PASSED: CheckResult = { passed: true };
const DRAINS: CheckResult = { passed: true, asksToDrain: true };

/**
 * Runs a check of the server with this address; never rejects. Look-up, connect, handshake and answer have `timeoutMs` together.
 * The connection is closed when the promise resolves; a look-up by `findIps` may still be running.
 */
export async function runCheck(
  check: ServerCheck,
  address: Address,
  timeoutMs: number,
  { signal, findIps = findBySystem, trustOf = trustAsDeno, onStep = () => {} }: CheckOptions = {},
): Promise<CheckResult> {
  if (check.question.kind === "off") return PASSED;
  const deadline = new AbortController();
  const end = () => deadline.abort();
  const cancel = afterSockets(timeoutMs, end);
  signal?.addEventListener("abort", end);
  if (signal?.aborted) end();
  const to = { host: address.host, port: check.port ?? address.port };
  try {
    return await new Attempt({ check, address: to, timeoutMs, deadline: deadline.signal, trustOf, onStep }).run(findIps);
  } finally {
    cancel();
    signal?.removeEventListener("abort", end);
  }
}

/** Trusts the authorities that Deno ships. */
function trustAsDeno(ca: CheckCa): Trust {
  return ca.kind === "none" ? { verifies: false } : { verifies: true, authorities: undefined };
}

/** What the judge of an answer says of the bytes so far. Without `isFinal`, more of them may change the result. */
interface Judgement {
  readonly result: CheckResult;
  readonly isFinal: boolean;
}

/** What is sent to a server, and the judge of its answer so far, who gives undefined while more of it is needed. */
interface Exchange {
  readonly question: Uint8Array;
  readonly judge: (received: Uint8Array) => Judgement | undefined;
  /** What of the answer is shown as a step. */
  readonly show: (received: Uint8Array) => string;
}

/** The exchange of a check; undefined where an accepted connection is enough. */
function exchangeOf({ question, host, statuses }: ServerCheck, address: Address): Exchange | undefined {
  if (question.kind === "off" || question.kind === "tcp") return undefined;
  if (question.kind === "text") {
    const { send, expect } = question;
    return { question: send, judge: (received) => judgeText(received, expect), show: quote };
  }
  return {
    question: httpRequest(question.path, host ?? formatAddress(address)),
    judge: (received) => judgeHead(received, statuses),
    show: (received) => readHttpHead(received)?.line ?? quote(received),
  };
}

/** What an attempt needs to know. */
interface AttemptOptions extends Required<Pick<CheckOptions, "trustOf" | "onStep">> {
  readonly check: ServerCheck;
  /** Where to connect. */
  readonly address: Address;
  readonly timeoutMs: number;
  readonly deadline: AbortSignal;
}

/** One running check: what it waits for, and what it has received of the answer. */
class Attempt {
  readonly #options: AttemptOptions;
  readonly #startedMs = performance.now();
  #waitingFor: "name" | "connection" | "handshake" | "answer" = "name";
  readonly #buffer = new Uint8Array(ANSWER_BYTES_MAX);
  #received = 0;
  /** The bytes that have come from the server, encrypted or not. */
  #rawBytes = 0;
  /** The judgement that holds if no more of the answer comes. */
  #soFar: CheckResult | undefined;

  constructor(options: AttemptOptions) {
    this.#options = options;
  }

  async run(findIps: FindIps): Promise<CheckResult> {
    const { check, address, deadline } = this.#options;
    try {
      const ips = await abortable(findIps(address.host), deadline);
      this.#note("resolved", ips.join(", "));
      this.#waitingFor = "connection";
      using socket = await this.#connect(ips);
      this.#waitingFor = check.question.kind === "https" ? "handshake" : "answer";
      const exchange = exchangeOf(check, address);
      if (exchange === undefined && check.proxy === "off") return PASSED;
      const close = () => closeQuietly(socket); // ends a pending read or write
      deadline.throwIfAborted();
      deadline.addEventListener("abort", close);
      try {
        return await this.#converse(this.#counted(socket), exchange);
      } finally {
        deadline.removeEventListener("abort", close);
      }
    } catch (error) {
      return this.#failure(error);
    }
  }

  #note(step: CheckStep["step"], detail: string): void {
    this.#options.onStep({ step, detail, atMs: performance.now() - this.#startedMs });
  }

  /** Connects to the first IP address that accepts. Each address but the last gets an equal part of the time. */
  async #connect(ips: readonly string[]): Promise<Deno.TcpConn> {
    const { address: { port }, timeoutMs, deadline } = this.#options;
    for (const [index, hostname] of ips.entries()) {
      const isLast = index + 1 === ips.length;
      const part = new AbortController();
      const timer = isLast ? undefined : setTimeout(() => part.abort(), timeoutMs / ips.length);
      const signal = AbortSignal.any([deadline, part.signal]);
      try {
        const socket = await connectTo(hostname, port, signal);
        this.#note("connected", formatAddress({ host: hostname, port }));
        return socket;
      } catch (error) {
        const why = signal.aborted ? "it did not accept in time" : clauseOf(error);
        this.#note("refused", `${formatAddress({ host: hostname, port })}: ${why}`);
        if (isLast) throw error;
      } finally {
        clearTimeout(timer);
      }
    }
    throw new Error("it has no address");
  }

  /** Whatever is said on the connection: a PROXY header, the TLS handshake, question and answer. */
  async #converse(socket: Channel, exchange: Exchange | undefined): Promise<CheckResult> {
    const { check } = this.#options;
    if (check.proxy !== "off") {
      const header = writeLocalHeader(check.proxy);
      await writeAll(socket, header).catch(() => {}); // the answer says more than the error
      this.#note("announced", `PROXY protocol ${check.proxy}, ${header.length} bytes`);
    }
    if (exchange === undefined) return PASSED;
    if (check.question.kind !== "https") return await this.#ask(socket, exchange);
    const trust = this.#options.trustOf(check.ca);
    if ("fault" in trust) return wrong(trust.fault);
    const { tls, handshake } = await TlsChannel.open(socket, check.host ?? this.#options.address.host, trust);
    const parts = [handshake.version, handshake.subject, handshake.validTo === null ? null : `valid to ${handshake.validTo}`];
    const verified = trust.verifies ? "verified" : "not verified";
    this.#note("encrypted", [...parts, verified].filter((part) => part !== null).join(", "));
    this.#waitingFor = "answer";
    try {
      return await this.#ask(tls, exchange);
    } finally {
      tls.close();
    }
  }

  /** The socket, whose received bytes are counted. */
  #counted(socket: Deno.TcpConn): Channel {
    return {
      read: async (buffer) => {
        const count = await socket.read(buffer);
        this.#rawBytes += count ?? 0;
        return count;
      },
      write: (bytes) => socket.write(bytes),
      close: () => closeQuietly(socket),
    };
  }

  async #ask(channel: Channel, { question, judge, show }: Exchange): Promise<CheckResult> {
    // A server may answer and close before it has read the question; its answer is read nevertheless.
    await writeAll(channel, question).catch(() => {});
    try {
      return await this.#readAnswer(channel, judge);
    } finally {
      if (this.#received > 0) this.#note("answered", show(this.#answer));
    }
  }

  async #readAnswer(channel: Channel, judge: Exchange["judge"]): Promise<CheckResult> {
    while (this.#received < this.#buffer.length) {
      const count = await channel.read(this.#buffer.subarray(this.#received));
      if (count === null) return this.#soFar ?? this.#cutShort("it closed the connection");
      this.#received += count;
      const judgement = judge(this.#answer);
      if (judgement?.isFinal) return judgement.result;
      this.#soFar = judgement?.result;
    }
    return this.#soFar ?? wrong(`the first ${ANSWER_BYTES_MAX} bytes of its answer have no final status line`);
  }

  get #answer(): Uint8Array {
    return this.#buffer.subarray(0, this.#received);
  }

  #failure(error: unknown): CheckResult {
    if (this.#soFar !== undefined) return this.#soFar;
    if (this.#options.deadline.aborted) return this.#late();
    if (this.#waitingFor === "name") return gone("its name was not found");
    if (isOwnShortage(error)) {
      return { passed: false, reason: isNoLocalPort(error) ? NO_LOCAL_PORT : clauseOf(error), isGone: false, isOwnFault: true };
    }
    if (error instanceof HandshakeError) return this.#failed(error.message);
    if (this.#waitingFor === "handshake") return this.#failed(`${clauseOf(error)} during the TLS handshake`);
    return this.#waitingFor === "answer" ? this.#cutShort(clauseOf(error)) : gone(clauseOf(error));
  }

  #late(): CheckResult {
    const time = formatDuration(this.#options.timeoutMs);
    if (this.#waitingFor === "name") return gone(`its name was not found within ${time}`);
    if (this.#waitingFor === "connection") return gone(`it did not accept within ${time}`);
    if (this.#waitingFor === "handshake") return this.#failed(`it did not end the TLS handshake within ${time}`);
    if (this.#received === 0) return this.#failed(`it did not answer within ${time}`);
    return wrong(`its answer ${quote(this.#answer)} was incomplete after ${time}`);
  }

  /** The result when an answer ends before it can be judged. */
  #cutShort(how: string): CheckResult {
    return this.#received === 0 ? this.#failed(`${how} before it answered`) : wrong(`${how} after ${quote(this.#answer)}`);
  }

  /** A server is gone if it has not sent a single byte. */
  #failed(reason: string): CheckResult {
    return this.#rawBytes === 0 ? gone(reason) : wrong(reason);
  }
}

function closeQuietly(socket: Deno.TcpConn): void {
  try {
    socket.close();
  } catch { /* it was closed already */ }
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

function httpRequest(path: string, host: string): Uint8Array {
  const lines = [`GET ${path} HTTP/1.1`, `Host: ${host}`, "Connection: close", "User-Agent: balancer", "", ""];
  return new TextEncoder().encode(lines.join("\r\n"));
}

/** Judges the head of an HTTP answer. Its headers may still ask to be drained after a status that passes. */
function judgeHead(received: Uint8Array, statuses: readonly StatusRange[]): Judgement | undefined {
  const head = readHttpHead(received);
  if (head === undefined) return undefined;
  if (head === null) return final(wrong(`it answered ${quote(received)}, which is not HTTP`));
  return { result: judgeStatus(head, statuses), isFinal: head.isWhole || !hasStatus(statuses, head.status) };
}

function judgeStatus({ status, asksToDrain }: HttpHead, statuses: readonly StatusRange[]): CheckResult {
  if (hasStatus(statuses, status)) return asksToDrain ? DRAINS : PASSED;
  return status === NOT_FOUND ? DRAINS : wrong(`it answered HTTP ${status}`);
}

function judgeText(received: Uint8Array, expect: Uint8Array): Judgement | undefined {
  if (startsWith(received, expect)) return final(PASSED);
  if (startsWith(expect, received)) return undefined;
  return final(wrong(`it answered ${quote(received)} instead of ${quote(expect)}`));
}

function final(result: CheckResult): Judgement {
  return { result, isFinal: true };
}

function startsWith(bytes: Uint8Array, start: Uint8Array): boolean {
  return bytes.length >= start.length && start.every((byte, i) => byte === bytes[i]);
}

/** The first bytes of an untrusted answer, quoted, with the escapes that `parseCheck` reads. */
function quote(bytes: Uint8Array): string {
  const shown = Array.from(bytes.subarray(0, SHOWN_BYTES), escapeByte).join("");
  return `"${shown}${bytes.length > SHOWN_BYTES ? "…" : ""}"`;
}
