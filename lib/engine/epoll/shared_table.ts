/**
 * Routing tables and lists of clients for the epoll engine's workers: numbers in shared memory, so that publishing a pool of 10,000
 * servers copies nothing per worker, with each server's address as a sockaddr for connect(2).
 */

import { type Address, isIp, type KeyRule } from "../../values/address.ts";
import type { ClientLists } from "../../routing/client_limits.ts";
import type { CidrList } from "../../values/cidr_list.ts";
import type { RoutingColumns, RoutingTable, TableServer } from "../../routing/routing_table.ts";
import { ADDRESS_STRIDE, encodeSockaddr } from "../system/sockaddr.ts";
import { PROXY_FLAGS } from "./descriptor_table.ts";

/** The smallest buffer. */
const BUFFER_BYTES_MIN = 1024;

/** A routing table as workers see it. Plain data. */
export interface SharedTable extends RoutingColumns {
  readonly key: KeyRule;
  readonly addresses: SharedArrayBuffer;
  /** By index: PROXY_FLAGS of the header that the server's connections begin with; 0: none. */
  readonly proxies: Int32Array;
  /** Servers known by name, by index. Their names are looked up when they are dialled. */
  readonly names: ReadonlyMap<number, Address>;
}

/** Encoded addresses, so that a server that stays in the pool is encoded once. */
const encoded = new WeakMap<TableServer, Uint8Array>();

function sockaddrOf(server: TableServer): Uint8Array {
  const known = encoded.get(server);
  if (known !== undefined) return known;
  const bytes = encodeSockaddr(server.address);
  encoded.set(server, bytes);
  return bytes;
}

type Column = Int32Array | Uint32Array | Float64Array;

/** A table in shared memory, and its buffers. */
interface Published {
  readonly shared: SharedTable;
  readonly buffers: readonly SharedArrayBuffer[];
}

/** Lists in shared memory, and its buffers. */
interface PublishedLists {
  readonly shared: ClientLists;
  readonly buffers: readonly SharedArrayBuffer[];
}

/** Buffers of tables that were replaced by the publication of this generation. */
interface Retired {
  readonly generation: number;
  readonly buffers: readonly SharedArrayBuffer[];
}

/**
 * Publishes tables in memory that is reused. A worker that has adopted newer tables keeps the old ones as garbage, and with so
 * little garbage it does not collect for a long time. So memory allocated anew for each table would grow to gigabytes.
 */
export class SharedTables {
  #published: ReadonlyMap<RoutingTable, Published> = new Map();
  #lists: ReadonlyMap<ClientLists, PublishedLists> = new Map();
  /** Oldest first. */
  readonly #retired: Retired[] = [];
  readonly #free: SharedArrayBuffer[] = [];

  /**
   * Returns these tables in shared memory, as publication `generation`. Tables of the previous publication are not copied again.
   */
  publish(tables: readonly RoutingTable[], generation: number): SharedTable[] {
    const published = new Map(tables.map((table) => [table, this.#published.get(table) ?? this.#share(table)]));
    for (const [table, { buffers }] of this.#published) {
      if (!published.has(table)) this.#retired.push({ generation, buffers });
    }
    this.#published = published;
    return tables.map((table) => published.get(table)!.shared);
  }

  /**
   * Returns these lists in shared memory, as part of publication `generation`. Lists of the previous publication are not copied
   * again.
   */
  publishLists(lists: readonly (ClientLists | undefined)[], generation: number): (ClientLists | undefined)[] {
    const all = new Set(lists.filter((one) => one !== undefined));
    const published = new Map([...all].map((one) => [one, this.#lists.get(one) ?? this.#shareLists(one)]));
    for (const [one, { buffers }] of this.#lists) if (!published.has(one)) this.#retired.push({ generation, buffers });
    this.#lists = published;
    return lists.map((one) => one && published.get(one)!.shared);
  }

  /** Frees the buffers that this publication has replaced. Every worker must have adopted it or a later one. */
  releaseBefore(generation: number): void {
    while (this.#retired.length > 0 && this.#retired[0].generation <= generation) {
      this.#free.push(...this.#retired.shift()!.buffers);
    }
  }

  #shareLists({ allow, deny }: ClientLists): PublishedLists {
    const buffers: SharedArrayBuffer[] = [];
    const share = (list: CidrList | undefined) =>
      list && { ...list, ipv4: this.#copy(list.ipv4, buffers), ipv6: this.#copy(list.ipv6, buffers) };
    return { shared: { allow: share(allow), deny: share(deny) }, buffers };
  }

  #share(table: RoutingTable): Published {
    const buffers: SharedArrayBuffer[] = [];
    const take = (bytes: number) => {
      const buffer = this.#take(bytes);
      buffers.push(buffer);
      return buffer;
    };
    const share = <T extends Column>(column: T): T => this.#copy(column, buffers);
    const { circle, servers } = table;
    const addresses = take(servers.length * ADDRESS_STRIDE);
    const bytes = new Uint8Array(addresses);
    for (const [index, server] of servers.entries()) bytes.set(sockaddrOf(server), index * ADDRESS_STRIDE);
    const named = [...servers.entries()].filter(([, { address }]) => !isIp(address.host));
    const shared: SharedTable = {
      key: table.key,
      weightTotal: table.weightTotal,
      loadBound: table.loadBound,
      circle: { ...circle, points: share(circle.points), owners: share(circle.owners), starts: share(circle.starts) },
      slots: share(table.slots),
      weights: share(table.weights),
      connectionsMax: share(table.connectionsMax),
      addresses,
      proxies: share(Int32Array.from(servers, ({ proxy }) => proxy === undefined ? 0 : PROXY_FLAGS[proxy])),
      names: new Map(named.map(([index, { address }]) => [index, address])),
    };
    return { shared, buffers };
  }

  /** A copy of the column in shared memory, whose buffer is added to `buffers`. */
  #copy<T extends Column>(column: T, buffers: SharedArrayBuffer[]): T {
    const buffer = this.#take(column.byteLength);
    buffers.push(buffer);
    const copy = new (column.constructor as new (...args: unknown[]) => T)(buffer, 0, column.length);
    copy.set(column);
    return copy;
  }

  /** A buffer of at least this size, rounded up to a power of two. */
  #take(bytes: number): SharedArrayBuffer {
    const size = 2 ** Math.ceil(Math.log2(Math.max(bytes, BUFFER_BYTES_MIN)));
    const found = this.#free.findIndex(({ byteLength }) => byteLength === size);
    return found < 0 ? new SharedArrayBuffer(size) : this.#free.splice(found, 1)[0];
  }
}
