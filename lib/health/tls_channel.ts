/**
 * TLS over an open socket, for checks: encrypted and, unless told otherwise, verified. Uses `node:tls` and not `Deno.startTls`,
 * because that trusts the authorities that Deno ships in addition to those it is given, and cannot skip the verification for one
 * connection. Knows no server and no HTTP.
 */

import { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { isIp } from "../values/address.ts";

/** Reads and writes bytes; `Deno.Conn` is one. `read` gives null at the end. Closing ends a pending read. */
export interface Channel {
  read(buffer: Uint8Array): Promise<number | null>;
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
}

/** Whose certificates are trusted. Undefined `authorities`: those that Deno ships. */
export type Trust = { readonly verifies: false } | { readonly verifies: true; readonly authorities: readonly string[] | undefined };

/** A handshake that has ended well. Texts are the server's; null for what is not known. */
export interface Handshake {
  /** Such as `TLSv1.3`. */
  readonly version: string | null;
  /** The certificate's common name, or its alternative names. */
  readonly subject: string | null;
  /** The end of its validity, as the certificate has it. */
  readonly validTo: string | null;
}

/** An error of the handshake, as a clause. */
export class HandshakeError extends Error {}

const READ_BYTES = 16 * 1024;

/** The codes of errors of the verification, but for that of the name. The runtime has one for all reasons (Deno 2.9.6). */
const UNTRUSTED = /^(UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|DEPTH_ZERO_|SELF_SIGNED_|CERT_)/;

/** TLS on a channel. Closing it closes the channel. */
export class TlsChannel implements Channel {
  readonly #socket: TLSSocket;
  readonly #chunks: Uint8Array[] = [];
  #end: { readonly error?: unknown } | undefined;
  #wake = () => {};

  private constructor(socket: TLSSocket) {
    this.#socket = socket;
    socket.on("data", (chunk: Uint8Array) => this.#take(chunk));
    socket.on("end", () => this.#finish({}));
    socket.on("close", () => this.#finish({}));
    socket.on("error", (error) => this.#finish({ error }));
  }

  /**
   * Makes the handshake, as the client of the server called `name`. Rejects with a `HandshakeError`, or with the channel's error if
   * that failed. The channel is closed then.
   */
  static async open(channel: Channel, name: string, trust: Trust): Promise<{ tls: TlsChannel; handshake: Handshake }> {
    const { checkServerIdentity, connect } = await import("node:tls");
    const raw = streamOf(channel);
    const socket = connect({
      socket: raw,
      host: name,
      ...(isIp(name) ? {} : { servername: name }), // SNI has no IP addresses (RFC 6066, section 3)
      ALPNProtocols: ["http/1.1"],
      rejectUnauthorized: trust.verifies,
      ...(trust.verifies && trust.authorities !== undefined ? { ca: [...trust.authorities] } : {}),
      checkServerIdentity,
    });
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once("secureConnect", resolve);
        socket.once("error", reject);
        socket.once("close", () => reject(new HandshakeError("it closed the connection during the TLS handshake")));
        raw.once("end", () => reject(new HandshakeError("it closed the connection during the TLS handshake")));
      });
    } catch (error) {
      socket.on("error", () => {});
      socket.destroy();
      channel.close();
      throw failureOf(error, name);
    }
    const { subject, subjectaltname, valid_to: validTo } = socket.getPeerCertificate();
    const handshake = {
      version: socket.getProtocol(),
      subject: textOf(subject?.CN) ?? textOf(subjectaltname),
      validTo: textOf(validTo),
    };
    return { tls: new TlsChannel(socket), handshake };
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    while (this.#chunks.length === 0 && this.#end === undefined) await new Promise<void>((resolve) => this.#wake = resolve);
    const chunk = this.#chunks.shift();
    if (chunk === undefined) {
      if (this.#end?.error !== undefined) throw this.#end.error;
      return null;
    }
    const count = Math.min(chunk.length, buffer.length);
    buffer.set(chunk.subarray(0, count));
    if (count < chunk.length) this.#chunks.unshift(chunk.subarray(count));
    return count;
  }

  write(bytes: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => this.#socket.write(bytes, (error) => error ? reject(error) : resolve(bytes.length)));
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(chunk: Uint8Array): void {
    this.#chunks.push(chunk);
    this.#wake();
  }

  #finish(end: { readonly error?: unknown }): void {
    this.#end ??= end;
    this.#wake();
  }
}

/** A channel as a stream of `node:stream`. */
function streamOf(channel: Channel): Duplex {
  return new Duplex({
    read() {
      const buffer = new Uint8Array(READ_BYTES);
      channel.read(buffer).then(
        (count) => void this.push(count === null ? null : buffer.subarray(0, count)),
        (error) => void this.destroy(error),
      );
    },
    write(chunk: Uint8Array, _encoding, done) {
      writeAll(channel, chunk).then(() => done(), done);
    },
    destroy(error, done) {
      channel.close();
      done(error);
    },
  });
}

/** Writes all of the bytes. */
export async function writeAll(channel: Channel, bytes: Uint8Array): Promise<void> {
  for (let sent = 0; sent < bytes.length;) sent += await channel.write(bytes.subarray(sent));
}

/** What made a handshake fail, as a clause; the error itself if the channel failed. */
function failureOf(error: unknown, name: string): unknown {
  if (error instanceof HandshakeError || !(error instanceof Error)) return error;
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return new HandshakeError(`its certificate is not for the name ${JSON.stringify(name)}`);
  }
  if (UNTRUSTED.test(code)) return new HandshakeError("its certificate has expired or no authority of --check-ca has signed it");
  return /tls|ssl|alert|cert|handshake/i.test(`${code} ${error.message}`) ? new HandshakeError(error.message) : error;
}

function textOf(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}
