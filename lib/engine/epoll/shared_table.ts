/**
 * A routing table as the epoll engine's workers get it: numbers in shared memory, which a pool of 10,000 servers crosses in no time,
 * with each server's address in the form connect(2) takes.
 */

import { type Address, isIp, type KeyRule } from "../../values/address.ts";
import type { RoutingColumns, RoutingTable, TableServer } from "../../routing/routing_table.ts";
import { ADDRESS_STRIDE, encodeSockaddr } from "../system/sockaddr.ts";

/** No buffer is smaller. */
const BUFFER_BYTES_MIN = 1024;

/** The table of the workers. Plain data. */
export interface SharedTable extends RoutingColumns {
  readonly generation: number;
  readonly key: KeyRule;
  readonly addresses: SharedArrayBuffer;
  /** Servers known by name, by their index: they are looked up when they are dialled. */
  readonly names: ReadonlyMap<number, Address>;
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

type Column = Int32Array | Uint32Array | Float64Array;

/** What a published table occupies. */
interface Occupied {
  readonly generation: number;
  readonly buffers: readonly SharedArrayBuffer[];
}

/**
 * Makes shared tables, in memory that is used again. A worker that has adopted a newer table keeps the old one as garbage, and having
 * little garbage does not collect it for long; so memory made anew for each table would grow to gigabytes.
 */
export class SharedTables {
  readonly #occupied: Occupied[] = [];
  readonly #free: SharedArrayBuffer[] = [];

  /** The same table in shared memory. */
  share(table: RoutingTable): SharedTable {
    const buffers: SharedArrayBuffer[] = [];
    const take = (bytes: number) => {
      const buffer = this.#take(bytes);
      buffers.push(buffer);
      return buffer;
    };
    const share = <T extends Column>(column: T): T => {
      const copy = new (column.constructor as new (...args: unknown[]) => T)(take(column.byteLength), 0, column.length);
      copy.set(column);
      return copy;
    };
    const { circle, servers } = table;
    const addresses = take(servers.length * ADDRESS_STRIDE);
    const bytes = new Uint8Array(addresses);
    const names = new Map<number, Address>();
    for (const [index, server] of servers.entries()) {
      bytes.set(sockaddrOf(server), index * ADDRESS_STRIDE);
      if (!isIp(server.address.host)) names.set(index, server.address);
    }
    this.#occupied.push({ generation: table.generation, buffers });
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

  /** Nobody reads tables before this generation any more. */
  releaseBefore(generation: number): void {
    while (this.#occupied.length > 0 && this.#occupied[0].generation < generation) {
      this.#free.push(...this.#occupied.shift()!.buffers);
    }
  }

  /** A buffer of so many bytes or more, a power of two. */
  #take(bytes: number): SharedArrayBuffer {
    const size = 2 ** Math.ceil(Math.log2(Math.max(bytes, BUFFER_BYTES_MIN)));
    const found = this.#free.findIndex(({ byteLength }) => byteLength === size);
    return found < 0 ? new SharedArrayBuffer(size) : this.#free.splice(found, 1)[0];
  }
}
