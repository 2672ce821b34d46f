/**
 * A routing table as the epoll engine's workers get it: numbers in shared memory, which a pool of 10,000 servers crosses in no time,
 * with each server's address in the form connect(2) takes.
 */

import { type Address, ipBytes, isIp, type KeyRule } from "../address.ts";
import type { RoutingColumns, RoutingTable, TableServer } from "../routing_table.ts";
import { SOCKADDR, SOCKET } from "./libc.ts";

/** Bytes from one server's address to the next: a sockaddr, and behind it its length (0: the server is known by name). */
export const ADDRESS_STRIDE = 32;
/** Where the length is. */
export const ADDRESS_LENGTH_AT = 28;

/** The table of the workers. Plain data. */
export interface SharedTable extends RoutingColumns {
  readonly generation: number;
  readonly key: KeyRule;
  readonly addresses: SharedArrayBuffer;
  /** Servers known by name, by their index: they are looked up when they are dialled. */
  readonly names: ReadonlyMap<number, Address>;
}

/** An address in the form connect(2) takes, `ADDRESS_STRIDE` bytes; that of a server known by name has length 0. */
export function encodeSockaddr({ host, port }: Address): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(ADDRESS_STRIDE);
  if (!isIp(host)) return bytes;
  const view = new DataView(bytes.buffer);
  const ip = ipBytes(host);
  const isIpv4 = ip.length === 4;
  view.setUint16(SOCKADDR.family, isIpv4 ? SOCKET.AF_INET : SOCKET.AF_INET6, true);
  view.setUint16(SOCKADDR.port, port);
  bytes.set(ip, isIpv4 ? SOCKADDR.address4 : SOCKADDR.address6);
  bytes[ADDRESS_LENGTH_AT] = isIpv4 ? SOCKADDR.length4 : SOCKADDR.length6;
  return bytes;
}

/** Encoded addresses of servers that are in a table; a server that stays is not encoded again. */
const encoded = new WeakMap<TableServer, Uint8Array>();

function sockaddrOf(server: TableServer): Uint8Array {
  const known = encoded.get(server);
  if (known !== undefined) return known;
  const bytes = encodeSockaddr(server.address);
  encoded.set(server, bytes);
  return bytes;
}

/** The same table in shared memory. */
export function shareTable(table: RoutingTable): SharedTable {
  const { circle, servers } = table;
  const addresses = new SharedArrayBuffer(servers.length * ADDRESS_STRIDE);
  const bytes = new Uint8Array(addresses);
  const names = new Map<number, Address>();
  for (const [index, server] of servers.entries()) {
    bytes.set(sockaddrOf(server), index * ADDRESS_STRIDE);
    if (!isIp(server.address.host)) names.set(index, server.address);
  }
  return {
    generation: table.generation,
    key: table.key,
    weightTotal: table.weightTotal,
    loadBound: table.loadBound,
    circle: {
      serverCount: circle.serverCount,
      arcShift: circle.arcShift,
      points: share(circle.points),
      owners: share(circle.owners),
      starts: share(circle.starts),
    },
    slots: share(table.slots),
    weights: share(table.weights),
    connectionsMax: share(table.connectionsMax),
    addresses,
    names,
  };
}

type Column = Int32Array | Uint32Array | Float64Array;

/** A copy in shared memory. */
function share<T extends Column>(column: T): T {
  const copy = new (column.constructor as new (buffer: SharedArrayBuffer) => T)(new SharedArrayBuffer(column.byteLength));
  copy.set(column);
  return copy;
}
