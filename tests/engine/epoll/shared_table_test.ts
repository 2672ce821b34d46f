import { assert, assertEquals } from "@std/assert";
import { parseAddress, parseKeyRule } from "../../../lib/values/address.ts";
import { type SharedTable, SharedTables } from "../../../lib/engine/epoll/shared_table.ts";
import { ADDRESS_LENGTH_AT, ADDRESS_STRIDE, encodeSockaddr } from "../../../lib/engine/system/sockaddr.ts";
import { emptyTable, nextTable, type RoutingTable } from "../../../lib/routing/routing_table.ts";
import { tableServer } from "../../helpers.ts";

const EMPTY = emptyTable(parseKeyRule("ip"), 1.25);

function publish(table: RoutingTable): SharedTable {
  return new SharedTables().publish([table], 1)[0];
}

function buffersOf({ tiers, slots, addresses }: SharedTable): unknown[] {
  return [tiers[0].circle.points.buffer, slots.buffer, addresses];
}

function makeTable(...names: string[]) {
  return nextTable(EMPTY, names.map((name, slot) => tableServer(parseAddress(name), slot, { weight: slot + 1 })));
}

Deno.test("encodeSockaddr() makes a sockaddr_in or sockaddr_in6 and its length", () => {
  const four = encodeSockaddr(parseAddress("192.0.2.1:258"));
  assertEquals(four.subarray(0, 16).toHex(), "02000102" + "c0000201" + "0000000000000000");
  assertEquals(four[ADDRESS_LENGTH_AT], 16);
  const six = encodeSockaddr(parseAddress("[2001:db8::1]:80"));
  assertEquals(six.subarray(0, 28).toHex(), "0a000050" + "00000000" + "20010db8000000000000000000000001" + "00000000");
  assertEquals(six[ADDRESS_LENGTH_AT], 28);
});

Deno.test("encodeSockaddr() gives a name the length 0", () => {
  const bytes = encodeSockaddr(parseAddress("server.example:80"));
  assertEquals(bytes, new Uint8Array(ADDRESS_STRIDE));
});

Deno.test("publish() has every column of the table, all in shared memory", () => {
  const table = makeTable("192.0.2.1:80", "[2001:db8::1]:80");
  const { addresses, tiers, sequence, slots, weights, connectionsMax, proxies, ...rest } = publish(table);
  const [{ circle: { points, owners, starts, serverCount, arcShift }, ...tier }] = tiers;
  const { ring } = table.tiers[0];
  for (const column of [points, owners, starts, sequence, slots, weights, connectionsMax, proxies]) {
    assert(column.buffer instanceof SharedArrayBuffer);
  }
  assertEquals({ points, owners, starts }, { points: ring.points, owners: ring.owners, starts: ring.starts });
  assertEquals({ serverCount, arcShift }, { serverCount: 2, arcShift: ring.arcShift });
  assertEquals(tier, { tier: 0, start: 0, end: 2, sequenceStart: 0, sequenceEnd: 0 });
  assertEquals({ slots, weights, connectionsMax }, {
    slots: table.slots,
    weights: table.weights,
    connectionsMax: table.connectionsMax,
  });
  assertEquals(rest, { key: table.key, policy: "ring", weightTotal: 3, loadBound: 1.25, names: new Map() });
  assertEquals([...proxies], [0, 0]);
  assert(addresses.byteLength >= 2 * ADDRESS_STRIDE);
});

Deno.test("publish() has addresses, and servers known by name, in the order of the columns", () => {
  const table = makeTable("192.0.2.1:80", "server.example:81", "192.0.2.3:82");
  const { addresses, names } = publish(table);
  const bytes = new Uint8Array(addresses);
  for (const [index, { address }] of table.servers.entries()) {
    assertEquals(bytes.slice(index * ADDRESS_STRIDE, (index + 1) * ADDRESS_STRIDE), encodeSockaddr(address));
  }
  const named = table.servers.findIndex(({ name }) => name === "server.example:81");
  assertEquals([...names], [[named, { host: "server.example", port: 81 }]]);
});

Deno.test("publish() takes an empty table", () => {
  const { tiers: [{ circle }], slots } = publish(EMPTY);
  assertEquals([circle.serverCount, circle.points.length, slots.length], [0, 0, 0]);
});

Deno.test("publish() uses the memory of tables again that nobody reads any more, and of no others", () => {
  const tables = new SharedTables();
  const [first, second] = [makeTable("192.0.2.1:80"), nextTable(makeTable("192.0.2.1:80"), [])];
  const old = buffersOf(tables.publish([first], 1)[0]);
  const current = buffersOf(tables.publish([second], 2)[0]);
  tables.releaseBefore(1); // a worker still reads the first
  const third = buffersOf(tables.publish([second, makeTable("192.0.2.8:80")], 3)[1]);
  assert(third.every((buffer) => !old.includes(buffer) && !current.includes(buffer)));
  tables.releaseBefore(2);
  const next = buffersOf(tables.publish([second, nextTable(second, [tableServer(parseAddress("192.0.2.9:80"), 0)])], 4)[1]);
  assert(next.some((buffer) => old.includes(buffer)));
  assert(next.every((buffer) => !current.includes(buffer) && !third.includes(buffer)));
});

Deno.test("publish() leaves a table that was published before where it is, for as long as it stays", () => {
  const tables = new SharedTables();
  const [web, mail] = [makeTable("192.0.2.1:80"), makeTable("192.0.2.2:25")];
  const [shared] = tables.publish([web, mail], 1);
  assert(tables.publish([web, nextTable(mail, [])], 2)[0] === shared);
  tables.publish([mail], 3);
  tables.releaseBefore(3);
  assert(tables.publish([web], 4)[0] !== shared);
});
