/**
 * The first message of a TLS client (ClientHello: RFC 8446, section 4.1.2; RFC 5246, section 7.4.1.2), read as it arrives, in any
 * pieces: takes it out of its records, between which it may be divided anywhere. Decrypts nothing and answers nothing: whoever gets
 * the connection gets the same bytes. Where the client encrypts its hello (ECH), this is the outer one, with the public name.
 */

import { LIMITS } from "./config.ts";
import { type ClientHello, parseHelloBody } from "./hello_body.ts";

/** What a hello says. */
export type { ClientHello } from "./hello_body.ts";

/** What the bytes received so far amount to. */
export type HelloVerdict =
  /** The hello is not there in full. It ends at byte `needed` of the connection or later. */
  | { readonly kind: "more"; readonly needed: number }
  | { readonly kind: "hello"; readonly hello: ClientHello }
  /** The client does not speak TLS. SSL 2.0 is not TLS. */
  | { readonly kind: "notTls" }
  | { readonly kind: "malformed"; /** A clause: what is wrong with the hello. */ readonly reason: string };

/** A record (RFC 8446, section 5.1): its type, its version, the number of bytes that follow. */
const RECORD_HEAD_BYTES = 5;
const RECORD_BYTES_MAX = 2 ** 14;
const [VERSION_AT, LENGTH_AT] = [1, 3];
const HANDSHAKE_RECORD = 22;
/** TLS 1.0 to 1.3 write 3.1 or 3.3 here, and SSL 3.0 wrote 3.0. A receiver of 1.3 ignores it. */
const VERSION_MAJOR = 3;
/** A handshake message (section 4): its type, the number of bytes that follow. */
const MESSAGE_HEAD_BYTES = 4;
const CLIENT_HELLO = 1;

const NOT_TLS: HelloVerdict = { kind: "notTls" };

/**
 * Reads the hello of one client. Each byte is looked at a fixed number of times, in however many pieces it comes, and memory for
 * the hello is taken only once it is there in full and several records hold it.
 */
export class ClientHelloReader {
  /** Where the record begins that is read. */
  #recordAt = 0;
  /** Bytes of the message in the records before it. */
  #gathered = 0;
  /** Bytes of the message's head that have been read, and the least number of bytes of the message that they allow. */
  #headRead = 0;
  #messageBytes = MESSAGE_HEAD_BYTES;
  #verdict: HelloVerdict = { kind: "more", needed: RECORD_HEAD_BYTES + MESSAGE_HEAD_BYTES };

  /**
   * The verdict on all bytes that have been received, from the first on: those of the last call and more. One other than "more" is
   * final, and stands at the first byte that shows it. What follows the hello is not looked at. Never throws.
   */
  read(bytes: Uint8Array): HelloVerdict {
    while (this.#verdict.kind === "more") {
      const before = this.#recordAt;
      this.#verdict = this.#step(bytes, this.#verdict);
      if (this.#recordAt === before) break; // the record is not there in full, or holds the end of the hello
    }
    return this.#verdict;
  }

  /** Reads one record as far as it is there, and goes on to the next one where it is there in full. */
  #step(bytes: Uint8Array, last: HelloVerdict): HelloVerdict {
    const at = this.#recordAt;
    if (bytes.length === at) return last;
    const bad = this.#judgeRecordHead(bytes, at);
    if (bad !== undefined) return bad;
    const start = at + RECORD_HEAD_BYTES;
    if (bytes.length < start) return this.#more(last, start + this.#messageBytes - this.#gathered);
    const length = numberAt(bytes, at + LENGTH_AT);
    const end = start + length;
    const fault = this.#readMessageHead(bytes, start, Math.min(end, bytes.length));
    if (fault !== undefined) return malformed(fault);
    const left = this.#messageBytes - this.#gathered;
    if (left <= length) return bytes.length >= start + left ? this.#finish(bytes, start + left) : this.#more(last, start + left);
    const verdict = this.#more(last, end + RECORD_HEAD_BYTES + left - length);
    if (bytes.length < end) return verdict;
    this.#recordAt = end;
    this.#gathered += length;
    return verdict;
  }

  /** What is wrong with the head of a record, as far as it is there. Of the first record, some of it shows that it is none. */
  #judgeRecordHead(bytes: Uint8Array, at: number): HelloVerdict | undefined {
    const isFirst = at === 0;
    if (bytes[at] !== HANDSHAKE_RECORD) return isFirst ? NOT_TLS : malformed(`a record of type ${bytes[at]} interrupts it`);
    if (bytes.length <= at + VERSION_AT) return undefined;
    const major = bytes[at + VERSION_AT];
    if (major !== VERSION_MAJOR) {
      return isFirst ? NOT_TLS : malformed(`a record of it has the version ${major}, not ${VERSION_MAJOR}`);
    }
    if (bytes.length <= at + LENGTH_AT) return undefined;
    const isKnown = bytes.length >= at + RECORD_HEAD_BYTES;
    const length = isKnown ? numberAt(bytes, at + LENGTH_AT) : bytes[at + LENGTH_AT] << 8;
    if (length > RECORD_BYTES_MAX) return malformed(`a record of it has more than ${RECORD_BYTES_MAX} bytes`);
    return isKnown && length === 0 ? malformed("a record of it is empty") : undefined;
  }

  /** Reads the message's head as far as it is there. The record's payload is `bytes[start … end)`. Returns what is wrong. */
  #readMessageHead(bytes: Uint8Array, start: number, end: number): string | undefined {
    for (; this.#headRead < MESSAGE_HEAD_BYTES; this.#headRead++) {
      const at = start + this.#headRead - this.#gathered;
      if (at >= end) return undefined;
      if (this.#headRead > 0) this.#messageBytes += bytes[at] << 8 * (MESSAGE_HEAD_BYTES - 1 - this.#headRead);
      else if (bytes[at] !== CLIENT_HELLO) return `it begins with a handshake message of type ${bytes[at]}, not ${CLIENT_HELLO}`;
    }
    return undefined;
  }

  /** The verdict while the hello ends at this byte or later. */
  #more(last: HelloVerdict, needed: number): HelloVerdict {
    if (needed > LIMITS.helloBytesMax) return malformed(`it has more than ${LIMITS.helloBytesMax} bytes`);
    return last.kind === "more" && last.needed === needed ? last : { kind: "more", needed };
  }

  /** The verdict on the whole message, whose last byte is the one before `end`. */
  #finish(bytes: Uint8Array, end: number): HelloVerdict {
    const isInOne = this.#gathered === 0;
    const message = isInOne ? bytes : gather(bytes, end, this.#messageBytes);
    const at = (isInOne ? RECORD_HEAD_BYTES : 0) + MESSAGE_HEAD_BYTES;
    const parsed = parseHelloBody(message, at, isInOne ? end : message.length);
    return typeof parsed === "string" ? malformed(parsed) : { kind: "hello", hello: parsed };
  }
}

/** The payloads of the records in `bytes[0 … end)`, which have so many bytes together. */
function gather(bytes: Uint8Array, end: number, length: number): Uint8Array {
  const message = new Uint8Array(length);
  let gathered = 0;
  for (let at = 0; at < end;) {
    const start = at + RECORD_HEAD_BYTES;
    at = start + numberAt(bytes, at + LENGTH_AT);
    message.set(bytes.subarray(start, Math.min(at, end)), gathered);
    gathered += at - start;
  }
  return message;
}

function malformed(reason: string): HelloVerdict {
  return { kind: "malformed", reason };
}

function numberAt(bytes: Uint8Array, at: number): number {
  return bytes[at] << 8 | bytes[at + 1];
}
