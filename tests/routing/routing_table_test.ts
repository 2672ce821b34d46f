// A routing table is whole, plain, and never changed by the one that follows it.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { formatAddress, parseKeyRule } from "../../lib/values/address.ts";
import { EMPTY_RING, ringFingerprint } from "../../lib/routing/ring.ts";
import { emptyTable, nextTable, type RoutingTable, type TableServer } from "../../lib/routing/routing_table.ts";

const KEY = parseKeyRule("ip/24");

function server(number: number, weight = 1): TableServer {
  const address = { host: `10.0.0.${number}`, port: 80 };
  return { name: formatAddress(address), address, weight, connectionsMax: Infinity, slot: number };
}

const names = (table: RoutingTable) => table.servers.map(({ name }) => name);

Deno.test("emptyTable() has no servers, and generation 0", () => {
  const { generation, servers, tiers: [{ ring }], weightTotal, key, loadBound } = emptyTable(KEY, 1.25);
  assertEquals({ generation, servers, ring, weightTotal, key, loadBound }, {
    generation: 0,
    servers: [],
    ring: EMPTY_RING,
    weightTotal: 0,
    key: KEY,
    loadBound: 1.25,
  });
});

Deno.test("nextTable() counts the generation and keeps the key and the load bound", () => {
  const first = nextTable(emptyTable(KEY, Infinity), [server(1)]);
  const second = nextTable(first, []);
  assertEquals([first.generation, second.generation], [1, 2]);
  assertEquals([second.key, second.loadBound], [KEY, Infinity]);
});

Deno.test("nextTable() adds up the weights", () => {
  const table = nextTable(emptyTable(KEY, 1.25), [server(1, 3), server(2, 4)]);
  assertEquals(table.weightTotal, 7);
  assertEquals(nextTable(table, []).weightTotal, 0);
});

Deno.test("nextTable() has the servers in the order of the ring, whole, for any order of the input", () => {
  const numbers = fc.uniqueArray(fc.integer({ min: 0, max: 255 }), { maxLength: 12 });
  fc.assert(fc.property(numbers, (numbers) => {
    const servers = numbers.map((number) => server(number, number % 3 + 1));
    const table = nextTable(emptyTable(KEY, 1.25), servers);
    assertEquals(names(table), table.tiers[0].ring.servers.map(({ name }) => name));
    for (const each of table.servers) assert(servers.includes(each));
    assertEquals(table.servers.length, servers.length);
  }));
});

Deno.test("nextTable() takes a server's new slot and limit over, and leaves the ring as it is", () => {
  const before = nextTable(emptyTable(KEY, 1.25), [server(1), server(2)]);
  const after = nextTable(before, [server(1), { ...server(2), slot: 9, connectionsMax: 5 }]);
  assertEquals(after.servers[1], { ...server(2), slot: 9, connectionsMax: 5 });
  assertEquals(ringFingerprint(after.tiers[0].ring), ringFingerprint(before.tiers[0].ring));
});

Deno.test("nextTable() has the columns in the order of the servers", () => {
  const table = nextTable(emptyTable(KEY, 1.25), [{ ...server(7, 3), connectionsMax: 5 }, server(2), server(9)]);
  assertEquals([...table.slots], table.servers.map(({ slot }) => slot));
  assertEquals([...table.weights], table.servers.map(({ weight }) => weight));
  assertEquals([...table.connectionsMax], table.servers.map(({ connectionsMax }) => connectionsMax));
  assertEquals(table.tiers[0].circle.serverCount, 3);
});

Deno.test("nextTable() does not change the previous table or the list of servers", () => {
  const servers = [server(2), server(1)];
  const previous = nextTable(emptyTable(KEY, 1.25), servers);
  const kept = structuredClone(previous);
  nextTable(previous, [server(3), server(1, 2)]);
  assertEquals(previous, kept);
  assertEquals(servers, [server(2), server(1)]);
});

Deno.test("nextTable() gives plain data, which a copy for another thread equals", () => {
  const table = nextTable(emptyTable(KEY, Infinity), [server(1), server(2)]);
  assertEquals(structuredClone(table), table);
});
