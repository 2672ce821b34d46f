/**
 * Who gets in: a token is exchanged for a session, which the browser keeps as a cookie. The token is in a link that works once, or
 * in a file of the operator's. A session is a signed date, so that nothing is kept of those who got in, and it outlives a restart
 * where the token does.
 */

import { timingSafeEqual } from "@std/crypto";

/** How long a link works. */
export const LINK_MAX_MS = 10 * 60_000;
/** How long a session lasts. */
export const SESSION_MAX_MS = 7 * 24 * 3_600_000;
/** 256 bits: nobody guesses it. */
const SECRET_BYTES = 32;
/** No token is longer. */
const TOKEN_CHARS_MAX = 4096;

const encoder = new TextEncoder();

/** A link's token that has not been used. */
interface Link {
  readonly digest: Uint8Array<ArrayBuffer>;
  readonly endMs: number;
}

/** Options of an Entrance. */
interface EntranceOptions {
  /** The token that works again and again; undefined: there are links alone. */
  readonly token?: string;
  readonly nowMs?: () => number;
}

/** The entrance of one dashboard. */
export class Entrance {
  readonly #key: Promise<CryptoKey>;
  readonly #fixed: Promise<Uint8Array<ArrayBuffer>> | undefined;
  readonly #nowMs: () => number;
  #link: Link | undefined;

  constructor({ token, nowMs = Date.now }: EntranceOptions = {}) {
    this.#nowMs = nowMs;
    this.#fixed = token === undefined ? undefined : digest(token);
    // Another key for another purpose: who sees a cookie cannot try tokens by the digest that they are compared by.
    this.#key = keyOf(`balancer dashboard session ${token ?? newSecret()}`);
  }

  /** The token of a new link, which works once and for LINK_MAX_MS. An earlier one that was not used works no more. */
  async issue(): Promise<string> {
    const token = newSecret();
    this.#link = { digest: await digest(token), endMs: this.#nowMs() + LINK_MAX_MS };
    return token;
  }

  /** A new session for a token; undefined if it is wrong, used or old. */
  async exchange(token: string): Promise<string | undefined> {
    if (token === "" || token.length > TOKEN_CHARS_MAX) return undefined;
    const [given, fixed] = await Promise.all([digest(token), this.#fixed]);
    // No wait from here on: of two who come with one link at the same time, one gets in.
    const isFixed = fixed !== undefined && timingSafeEqual(given, fixed);
    if (!isFixed && !this.#takeLink(given)) return undefined;
    const end = String(this.#nowMs() + SESSION_MAX_MS);
    return `${end}.${base64url(await this.#sign(end))}`;
  }

  /** Whether this is a session of this dashboard that has not ended. */
  async isSession(text: string): Promise<boolean> {
    const [, end, signature] = text.match(/^([0-9]{1,15})\.([A-Za-z0-9_-]{43})$/) ?? [];
    if (end === undefined || Number(end) < this.#nowMs()) return false;
    return timingSafeEqual(encoder.encode(signature), encoder.encode(base64url(await this.#sign(end))));
  }

  #takeLink(given: Uint8Array<ArrayBuffer>): boolean {
    const link = this.#link;
    if (link === undefined || !timingSafeEqual(given, link.digest)) return false;
    this.#link = undefined;
    return this.#nowMs() < link.endMs;
  }

  async #sign(text: string): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(await crypto.subtle.sign("HMAC", await this.#key, encoder.encode(text)));
  }
}

function newSecret(): string {
  return base64url(crypto.getRandomValues(new Uint8Array(SECRET_BYTES)));
}

async function digest(text: string): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", encoder.encode(text)));
}

function keyOf(secret: string): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", encoder.encode(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
}

function base64url(bytes: Uint8Array<ArrayBuffer>): string {
  return bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}
