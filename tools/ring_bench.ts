/** What the ring costs, from 10 to 10,000 servers: `deno task bench`. The last measured table is in lib/README.md. */

import { buildRing, ringFingerprint, ringShares, walkRing } from "../lib/routing/ring.ts";

for (const count of [10, 100, 1000, 10_000]) {
  const servers = Array.from({ length: count }, (_, i) => ({ name: `10.0.${i >> 8}.${i & 255}:80`, weight: 1 }));
  const ring = buildRing(servers);
  const more = [...servers, { name: "10.9.9.9:80", weight: 1 }];
  const fewer = servers.slice(1);
  const key = new Uint8Array(4);
  const view = new DataView(key.buffer);
  let client = 0;

  const group = `${count} servers`;
  Deno.bench({
    name: `look-up among ${count}`,
    group,
    fn() {
      view.setUint32(0, client++);
      walkRing(ring, key).next();
    },
  });
  Deno.bench({ name: `build ${count}`, group, n: 5, fn: () => void buildRing(servers) });
  Deno.bench({ name: `add one to ${count}`, group, n: 20, fn: () => void buildRing(more, ring) });
  Deno.bench({ name: `remove one of ${count}`, group, n: 20, fn: () => void buildRing(fewer, ring) });
  Deno.bench({ name: `shares of ${count}`, group, n: 5, fn: () => void ringShares(ring) });
  Deno.bench({ name: `fingerprint of ${count}`, group, n: 5, fn: () => void ringFingerprint(ring) });
}
