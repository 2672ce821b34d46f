/**
 * Version 2 of the PROXY protocol: 16 bytes, an address block and TLVs (HAProxy, doc/proxy-protocol.txt, section 2.2). Where a byte
 * allows no valid header any more, the header is malformed at once: in the first 16 bytes, and at the head of each TLV.
 */

import { LIMITS } from "./config.ts";
import { crc32c } from "./crc32c.ts";
import { assert } from "./errors.ts";
import {
  type Announcement,
  complete,
  type Endpoint,
  INCOMPLETE,
  malformed,
  NOTHING_SAID,
  ofOneFamily,
  type ParsedHeader,
  type ProxyHeader,
} from "./proxy_parts.ts";
import {
  CRC32C_BYTES,
  findTlv,
  findTlvFault,
  passedOn,
  takeFitting,
  TLV,
  TLV_HEAD_BYTES,
  UNIQUE_ID_BYTES_MAX,
  writeTlv,
} from "./proxy_tlvs.ts";

/** The first bytes of every header: no text of any protocol. */
export const V2_SIGNATURE: Uint8Array = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a);

/** The offsets of version and command, of family and transport, and of the number of bytes that follow the head. */
const [COMMAND_AT, FAMILY_AT, LENGTH_AT] = [12, 13, 14];
const HEAD_BYTES = 16;
const VERSION = 2;
const COMMANDS = { LOCAL: 0, PROXY: 1 };
/** Bytes of one IP address, and of the whole address block, by the number of the family. */
const FAMILIES = [
  { name: "unspecified", ipBytes: 0, blockBytes: 0 },
  { name: "IPv4", ipBytes: 4, blockBytes: 12 },
  { name: "IPv6", ipBytes: 16, blockBytes: 36 },
  { name: "Unix", ipBytes: 0, blockBytes: 216 },
] as const;
const UNSPECIFIED = 0;
/** Unspecified, stream, datagram. */
const TRANSPORTS = 3;
const STREAM = 1;
const NO_CHECKSUM = new Uint8Array(CRC32C_BYTES);

/** Parses a header that begins with V2_SIGNATURE. */
export function parseV2(bytes: Uint8Array): ParsedHeader {
  const fault = findHeadFault(bytes);
  if (fault !== undefined) return malformed(fault);
  if (bytes.length < HEAD_BYTES) return INCOMPLETE;
  const end = HEAD_BYTES + (bytes[LENGTH_AT] << 8 | bytes[LENGTH_AT + 1]);
  return saysNothing(bytes) ? whole(bytes, end, () => NOTHING_SAID) : parseBody(bytes, end);
}

/** What is wrong with the first 16 bytes, as far as they have been received. */
function findHeadFault(bytes: Uint8Array): string | undefined {
  if (bytes.length <= COMMAND_AT) return undefined;
  const [version, command] = halves(bytes[COMMAND_AT]);
  if (version !== VERSION) return `its version is ${version}, not ${VERSION}`;
  if (command > COMMANDS.PROXY) return `its command ${command} is neither LOCAL nor PROXY`;
  if (bytes.length <= FAMILY_AT || command === COMMANDS.LOCAL) return findLengthFault(bytes, 0);
  const [family, transport] = halves(bytes[FAMILY_AT]);
  if (family >= FAMILIES.length) return `its address family ${family} is unknown`;
  if (transport >= TRANSPORTS) return `its transport ${transport} is unknown`;
  return findLengthFault(bytes, FAMILIES[family].blockBytes);
}

/** What is wrong with the length: the first of its bytes can say already that the header is too long. */
function findLengthFault(bytes: Uint8Array, blockBytes: number): string | undefined {
  if (bytes.length <= LENGTH_AT) return undefined;
  const isKnown = bytes.length >= HEAD_BYTES;
  const length = bytes[LENGTH_AT] << 8 | (isKnown ? bytes[LENGTH_AT + 1] : 0);
  const max = LIMITS.proxyHeaderBytesMax;
  if (HEAD_BYTES + length > max) return `it has ${isKnown ? "" : "at least "}${HEAD_BYTES + length} bytes, more than ${max}`;
  return isKnown && length < blockBytes ? `its ${length} bytes are too few for its addresses (${blockBytes})` : undefined;
}

/** Whether the rest is skipped: of LOCAL, and of a family that nothing is known of. */
function saysNothing(bytes: Uint8Array): boolean {
  return halves(bytes[COMMAND_AT])[1] === COMMANDS.LOCAL || halves(bytes[FAMILY_AT])[0] === UNSPECIFIED;
}

function whole(bytes: Uint8Array, end: number, read: () => ProxyHeader): ParsedHeader {
  return bytes.length < end ? INCOMPLETE : complete(end, read());
}

/** Addresses and TLVs. */
function parseBody(bytes: Uint8Array, end: number): ParsedHeader {
  const [family, transport] = halves(bytes[FAMILY_AT]);
  const { ipBytes, blockBytes } = FAMILIES[family];
  const tlvsAt = HEAD_BYTES + blockBytes;
  const fault = findTlvFault(bytes, tlvsAt, end) ?? findChecksumFault(bytes, tlvsAt, end);
  if (fault !== undefined) return malformed(fault);
  return whole(bytes, end, () => {
    const hasAddresses = ipBytes > 0 && transport !== UNSPECIFIED;
    const id = findTlv(bytes, TLV.UNIQUE_ID, tlvsAt, end);
    return {
      source: hasAddresses ? endpointAt(bytes, { ipAt: HEAD_BYTES, ipBytes, portAt: tlvsAt - 4 }) : undefined,
      destination: hasAddresses ? endpointAt(bytes, { ipAt: HEAD_BYTES + ipBytes, ipBytes, portAt: tlvsAt - 2 }) : undefined,
      tlvs: passedOn(bytes, tlvsAt, end),
      uniqueId: id && bytes.slice(...id),
    };
  });
}

/** Whether a whole header's checksum, if it has one, is not that of its bytes with the checksum zeroed. */
function findChecksumFault(bytes: Uint8Array, tlvsAt: number, end: number): string | undefined {
  const place = bytes.length < end ? undefined : findTlv(bytes, TLV.CRC32C, tlvsAt, end);
  if (place === undefined) return undefined;
  const [from, to] = place;
  const sum = crc32c(bytes.subarray(0, from), NO_CHECKSUM, bytes.subarray(to, end));
  const isRight = new DataView(bytes.buffer, bytes.byteOffset + from).getUint32(0) === sum;
  return isRight ? undefined : "its CRC32C is not that of its bytes";
}

function endpointAt(bytes: Uint8Array, { ipAt, ipBytes, portAt }: { ipAt: number; ipBytes: number; portAt: number }): Endpoint {
  return { ip: bytes.slice(ipAt, ipAt + ipBytes), port: bytes[portAt] << 8 | bytes[portAt + 1] };
}

/** The upper and the lower four bits. */
function halves(byte: number): readonly [upper: number, lower: number] {
  return [byte >> 4, byte & 0xf];
}

/**
 * The header for a server: addresses, unique id, the given TLVs, CRC32C. It never has more than LIMITS.proxyHeaderBytesMax bytes:
 * a TLV that does not fit is left out.
 */
export function writeV2(announcement: Announcement): Uint8Array {
  const { source, destination, tlvs, uniqueId } = announcement;
  assert(uniqueId.length <= UNIQUE_ID_BYTES_MAX, "a unique id has at most 128 bytes");
  const ips = ofOneFamily(announcement);
  const family = FAMILIES.findIndex(({ ipBytes }) => ipBytes === ips[0].length);
  const idBytes = uniqueId.length > 0 ? TLV_HEAD_BYTES + uniqueId.length : 0;
  const ownBytes = HEAD_BYTES + FAMILIES[family].blockBytes + idBytes + TLV_HEAD_BYTES + CRC32C_BYTES;
  const fitting = takeFitting(tlvs, LIMITS.proxyHeaderBytesMax - ownBytes);
  const header = writeHead(COMMANDS.PROXY, family << 4 | STREAM, ownBytes + fitting.length);
  header.set(ips[0], HEAD_BYTES);
  header.set(ips[1], HEAD_BYTES + ips[0].length);
  let at = HEAD_BYTES + FAMILIES[family].blockBytes;
  const view = new DataView(header.buffer);
  view.setUint16(at - 4, source.port);
  view.setUint16(at - 2, destination.port);
  if (idBytes > 0) at = writeTlv(header, at, { type: TLV.UNIQUE_ID, value: uniqueId });
  header.set(fitting, at);
  at = writeTlv(header, at + fitting.length, { type: TLV.CRC32C, value: NO_CHECKSUM });
  view.setUint32(at - CRC32C_BYTES, crc32c(header));
  return header;
}

/** The header of a connection that no client asked for. */
export function writeLocalV2(): Uint8Array {
  return writeHead(COMMANDS.LOCAL, UNSPECIFIED, HEAD_BYTES);
}

/** A header of so many bytes of which the first 16 are written. */
function writeHead(command: number, familyAndTransport: number, bytes: number): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(bytes);
  header.set(V2_SIGNATURE);
  header[COMMAND_AT] = VERSION << 4 | command;
  header[FAMILY_AT] = familyAndTransport;
  new DataView(header.buffer).setUint16(LENGTH_AT, bytes - HEAD_BYTES);
  return header;
}
