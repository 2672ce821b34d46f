/**
 * The TLVs (type, length, value) behind the addresses of a PROXY header of version 2: a byte, two bytes and the value (HAProxy,
 * doc/proxy-protocol.txt, section 2.2). They are read in place; none is understood but the three that a hop must understand.
 */

import { assert } from "./errors.ts";

/** A TLV. */
export interface Tlv {
  readonly type: number;
  readonly value: Uint8Array;
}

/** Types that hold for one hop: a receiver checks or drops them, and a sender makes its own. */
export const TLV = { CRC32C: 0x03, NOOP: 0x04, UNIQUE_ID: 0x05 } as const;
/** Types of what is said of the client: the protocol that it speaks, and the name of the server that it asked for. */
export const SAID_TLV = { ALPN: 0x01, AUTHORITY: 0x02 } as const;
/** Bytes in front of a value. */
export const TLV_HEAD_BYTES = 3;
/** Bytes of the checksum. */
export const CRC32C_BYTES = 4;
/** The longest id of a connection, in bytes. */
export const UNIQUE_ID_BYTES_MAX = 128;

/** What is wrong with those TLVs of `bytes[at … end)` that have been received, as a clause; undefined if nothing is. */
export function findTlvFault(bytes: Uint8Array, at: number, end: number): string | undefined {
  let checksums = 0;
  while (at < end) {
    if (end - at < TLV_HEAD_BYTES) return "a TLV runs over its end";
    if (at + TLV_HEAD_BYTES > bytes.length) return undefined;
    const valueBytes = valueBytesAt(bytes, at);
    if (at + TLV_HEAD_BYTES + valueBytes > end) return "a TLV runs over its end";
    if (bytes[at] === TLV.CRC32C && valueBytes !== CRC32C_BYTES) return `its CRC32C has ${valueBytes} bytes, not ${CRC32C_BYTES}`;
    if (bytes[at] === TLV.CRC32C && ++checksums > 1) return "it has more than one CRC32C";
    if (bytes[at] === TLV.UNIQUE_ID && valueBytes > UNIQUE_ID_BYTES_MAX) {
      return `its unique id has more than ${UNIQUE_ID_BYTES_MAX} bytes`;
    }
    at += TLV_HEAD_BYTES + valueBytes;
  }
  return undefined;
}

/** Where the value of the first TLV of this type is in TLVs without a fault: from where to where, or undefined. */
export function findTlv(bytes: Uint8Array, type: number, at: number, end: number): readonly [at: number, end: number] | undefined {
  while (at < end) {
    const next = at + TLV_HEAD_BYTES + valueBytesAt(bytes, at);
    if (bytes[at] === type) return [at + TLV_HEAD_BYTES, next];
    at = next;
  }
  return undefined;
}

/** A copy of TLVs without a fault, without those that hold for one hop. */
export function passedOn(bytes: Uint8Array, at: number, end: number): Uint8Array {
  const kept = new Uint8Array(end - at);
  let length = 0;
  while (at < end) {
    const next = at + TLV_HEAD_BYTES + valueBytesAt(bytes, at);
    if (!isForOneHop(bytes[at])) {
      kept.set(bytes.subarray(at, next), length);
      length += next - at;
    }
    at = next;
  }
  return kept.slice(0, length);
}

/** A copy of those TLVs that fit into so many bytes; one that does not fit is left out, and those behind it may fit. */
export function takeFitting(tlvs: Uint8Array, bytesMax: number): Uint8Array {
  if (tlvs.length <= bytesMax) return tlvs;
  const taken = new Uint8Array(bytesMax);
  let length = 0;
  for (const { type, value } of listTlvs(tlvs)) {
    if (length + TLV_HEAD_BYTES + value.length > bytesMax) continue;
    writeTlv(taken, length, { type, value });
    length += TLV_HEAD_BYTES + value.length;
  }
  return taken.slice(0, length);
}

/** Writes a TLV at this place, and gives the place behind it. */
export function writeTlv(bytes: Uint8Array, at: number, { type, value }: Tlv): number {
  bytes[at] = type;
  bytes[at + 1] = value.length >> 8;
  bytes[at + 2] = value.length;
  bytes.set(value, at + TLV_HEAD_BYTES);
  return at + TLV_HEAD_BYTES + value.length;
}

/** The TLVs with these behind them, as far as none of them has the same type. */
export function addMissing(tlvs: Uint8Array, added: readonly Tlv[]): Uint8Array {
  const there = new Set(listTlvs(tlvs).map(({ type }) => type));
  const missing = added.filter(({ type }) => !there.has(type));
  const joined = new Uint8Array(missing.reduce((sum, { value }) => sum + TLV_HEAD_BYTES + value.length, tlvs.length));
  joined.set(tlvs);
  let at = tlvs.length;
  for (const tlv of missing) at = writeTlv(joined, at, tlv);
  return joined;
}

/** The TLVs one by one, without a copy. They must be without a fault, as those of `ProxyHeader` are. */
export function listTlvs(tlvs: Uint8Array): readonly Tlv[] {
  const list: Tlv[] = [];
  for (let at = 0; at < tlvs.length;) {
    const end = at + TLV_HEAD_BYTES + valueBytesAt(tlvs, at);
    assert(end <= tlvs.length, "a TLV runs over the end");
    list.push({ type: tlvs[at], value: tlvs.subarray(at + TLV_HEAD_BYTES, end) });
    at = end;
  }
  return list;
}

function valueBytesAt(bytes: Uint8Array, at: number): number {
  return bytes[at + 1] << 8 | bytes[at + 2];
}

function isForOneHop(type: number): boolean {
  return type === TLV.CRC32C || type === TLV.NOOP || type === TLV.UNIQUE_ID;
}
