// The metrics have every counter and fate, in Prometheus's form, and say what the counters say.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { allocateCounters, COUNTERS, Counters, HISTOGRAMS } from "../../lib/observe/counters.ts";
import { FATES } from "../../lib/values/fates.ts";
import { labels } from "../../lib/observe/exposition.ts";
import { FAMILIES, type Measured, writeMetrics } from "../../lib/observe/metrics.ts";
import { SERVER_STATES } from "../../lib/routing/availability.ts";

const MEASURED: Measured = {
  version: "1.2.3",
  engine: "streams",
  startedAtSeconds: 1_700_000_000.5,
  connectionsMax: 1000,
  fingerprint: "0a1b2c3d",
  localPorts: 28_232,
  services: [{ name: "default", index: 0 }],
  listeners: [{ index: 0, address: "127.0.0.1:8080", service: "default" }, { index: 1, address: "[::1]:8080", service: "default" }],
  servers: [
    { name: "10.0.0.1:80", slot: 0, state: "up", weight: 1, sources: 1 },
    { name: "[2001:db8::1]:443", slot: 3, state: "draining", weight: 7, sources: 2 },
    { name: "db.example:80", slot: 2, state: "down", weight: 1, sources: 1 },
    { name: "db.example:81", slot: 1, state: "down", weight: 1, sources: 1 },
    { name: "db.example:82", slot: 1, state: "removing", weight: 1, sources: 1 },
  ],
};

/** The samples, by what stands before the value. */
async function readSamples(counters: Counters, measured: Measured = MEASURED): Promise<Map<string, number>> {
  const { text } = await writeMetrics(counters, measured);
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  const samples = lines.map((line): [string, number] => {
    const at = line.lastIndexOf(" ");
    return [line.slice(0, at), Number(line.slice(at + 1))];
  });
  assertEquals(new Map(samples).size, samples.length, "a sample is there twice");
  return new Map(samples);
}

Deno.test("writeMetrics() gives the content type of the text format", async () => {
  const { contentType } = await writeMetrics(new Counters(allocateCounters(0, 4)), MEASURED);
  assertStringIncludes(contentType, "text/plain");
  assertStringIncludes(contentType, "version=0.0.4");
});

Deno.test("writeMetrics() gives every line the form of the text format, and a line feed at the end", async () => {
  const { text } = await writeMetrics(new Counters(allocateCounters(0, 4)), MEASURED);
  assert(text.endsWith("\n"));
  for (const line of text.split("\n").filter((line) => line !== "")) {
    assertMatch(
      line,
      /^(# HELP [a-z_]+ .+|# TYPE [a-z_]+ (counter|gauge|histogram)|[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [0-9.e-]+)$/,
    );
  }
});

for (const { name, type, help } of FAMILIES) {
  Deno.test(`writeMetrics() says the help and the type of ${name}`, async () => {
    const { text } = await writeMetrics(new Counters(allocateCounters(0, 4)), MEASURED);
    assertStringIncludes(text, `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${name}`);
  });
}

Deno.test("FAMILIES have names all different", () => {
  assertEquals(new Set(FAMILIES.map(({ name }) => name)).size, FAMILIES.length);
});

/** Who has a counter of each scope, as labels. */
const OWNERS = {
  process: [{}],
  service: MEASURED.services.map(({ name }) => ({ service: name })),
  listener: MEASURED.listeners.map(({ address, service }) => ({ listener: address, service })),
  server: MEASURED.servers.map(({ name }) => ({ server: name })),
};

for (const [counter, row] of Object.entries(COUNTERS)) {
  Deno.test(`writeMetrics() has the counter ${counter} for every ${row.scope}`, async () => {
    const samples = await readSamples(new Counters(allocateCounters(0, 4)));
    for (const owner of OWNERS[row.scope]) {
      const own = labels({ ...owner, ..."labels" in row ? row.labels : {} });
      const name = own === "" ? row.metric : `${row.metric}{${own}}`;
      assertEquals(samples.get(name), 0, `there is no ${name}`);
    }
    const group = Object.values(COUNTERS).filter(({ metric }) => metric === row.metric);
    const found = [...samples.keys()].filter((sample) => sample === row.metric || sample.startsWith(`${row.metric}{`));
    assertEquals(found.length, OWNERS[row.scope].length * group.length);
  });
}

for (const fate of Object.keys(FATES)) {
  Deno.test(`writeMetrics() has the fate ${fate} of the process and of every server`, async () => {
    const samples = await readSamples(new Counters(allocateCounters(0, 4)));
    assertEquals(samples.get(`balancer_connection_fates_total{fate="${fate}"}`), 0);
    for (const { name } of MEASURED.servers) {
      assertEquals(samples.get(`balancer_server_fates_total{server="${name}",fate="${fate}"}`), 0);
    }
  });
}

Deno.test("writeMetrics() says what was counted, a server's numbers by its slot", async () => {
  const counters = new Counters(allocateCounters(0, 5));
  counters.add("accepted", 5);
  counters.raise("open", 2);
  counters.addTo(0, "sentBytes", 2 ** 53);
  counters.addTo(3, "sentBytes", 7);
  counters.addTo(4, "sentBytes", 99); // no server has this slot
  counters.add("movedIdle", 4);
  counters.addTo(3, "movedAway", 3);
  counters.addFate("done", 0, 3);
  counters.addFate("no_server", 0);
  const samples = await readSamples(counters);
  assertEquals(samples.get("balancer_accepted_connections_total"), 5);
  assertEquals(samples.get("balancer_open_connections"), 2);
  assertEquals(samples.get('balancer_server_sent_bytes_total{server="10.0.0.1:80"}'), 2 ** 53);
  assertEquals(samples.get('balancer_server_sent_bytes_total{server="[2001:db8::1]:443"}'), 7);
  assertEquals(samples.get("balancer_moved_idle_connections_total"), 4);
  assertEquals(samples.get("balancer_moved_unanswered_connections_total"), 0);
  assertEquals(samples.get('balancer_server_moved_away_connections_total{server="[2001:db8::1]:443"}'), 3);
  assertEquals(samples.get('balancer_server_moved_away_connections_total{server="10.0.0.1:80"}'), 0);
  assertEquals(samples.get('balancer_connection_fates_total{fate="done"}'), 1);
  assertEquals(samples.get('balancer_connection_fates_total{fate="no_server"}'), 1);
  assertEquals(samples.get('balancer_server_fates_total{server="[2001:db8::1]:443",fate="done"}'), 1);
  assertEquals(samples.get('balancer_server_fates_total{server="10.0.0.1:80",fate="done"}'), 0);
});

Deno.test("writeMetrics() reads the counters anew every time", async () => {
  const counters = new Counters(allocateCounters(0, 4));
  counters.add("accepted");
  await readSamples(counters);
  counters.add("accepted");
  assertEquals((await readSamples(counters)).get("balancer_accepted_connections_total"), 2);
});

Deno.test("writeMetrics() gives the histogram cumulative buckets, the last equal to the count", async () => {
  const counters = new Counters(allocateCounters(0, 4));
  for (const seconds of [0.0001, 0.0002, 0.5, 100]) counters.addConnect(3, seconds);
  const samples = await readSamples(counters);
  for (const [name, own] of [["connectSeconds", ""], ["serverConnectSeconds", 'server="[2001:db8::1]:443"']] as const) {
    const { metric, bounds } = HISTOGRAMS[name];
    const before = own === "" ? "" : `${own},`;
    const les = [...bounds.map((bound) => Number.isInteger(bound) ? `${bound}.0` : `${bound}`), "+Inf"];
    const buckets = les.map((le) => samples.get(`${metric}_bucket{${before}le="${le}"}`));
    const expected = bounds.map((bound) => [0.0001, 0.0002, 0.5, 100].filter((seconds) => seconds <= bound).length);
    assertEquals(buckets, [...expected, 4]);
    const behind = own === "" ? "" : `{${own}}`;
    assertEquals([samples.get(`${metric}_count${behind}`), samples.get(`${metric}_sum${behind}`)], [4, 100.5003]);
  }
  assertEquals(samples.get('balancer_server_connect_seconds_count{server="10.0.0.1:80"}'), 0);
});

Deno.test("writeMetrics() describes the balancer itself", async () => {
  const samples = await readSamples(new Counters(allocateCounters(0, 4)));
  assertEquals(samples.get('balancer_servers{state="up"}'), 1);
  assertEquals(samples.get('balancer_servers{state="resting"}'), 0, "a state that no server is in is there all the same");
  assertEquals(samples.get('balancer_servers{state="down"}'), 2);
  assertEquals(samples.get('balancer_servers{state="draining"}'), 1);
  assertEquals(samples.get('balancer_servers{state="removing"}'), 1);
  assertEquals([...samples.keys()].filter((sample) => sample.startsWith("balancer_servers{")).length, SERVER_STATES.length);
  assertEquals(samples.get('balancer_server_weight{server="[2001:db8::1]:443"}'), 7);
  assertEquals(samples.get("balancer_open_connections_max"), 1000);
  assertEquals(samples.get('balancer_info{version="1.2.3",engine="streams"}'), 1);
  assertEquals(samples.get('balancer_ring_info{fingerprint="0a1b2c3d"}'), 1);
  assertEquals(samples.get("process_start_time_seconds"), 1_700_000_000.5);
});

Deno.test("writeMetrics() says the state of each server in words", async () => {
  const samples = await readSamples(new Counters(allocateCounters(0, 4)));
  for (const { name, state } of MEASURED.servers) {
    const states = SERVER_STATES.filter((state) => samples.get(`balancer_server_state{server="${name}",state="${state}"}`) === 1);
    assertEquals(states, [state]);
  }
});

Deno.test("writeMetrics() relates open connections to the local ports, where those are known", async () => {
  const counters = new Counters(allocateCounters(0, 4));
  counters.raiseOf(3, "serverOpen", 2 * 7058); // from two addresses
  const metric = 'balancer_server_local_ports_ratio{server="[2001:db8::1]:443"}';
  assertEquals((await readSamples(counters)).get(metric), 0.25);
  assertEquals((await readSamples(counters, { ...MEASURED, localPorts: null })).get(metric), undefined);
});

Deno.test("writeMetrics() tells listeners apart", async () => {
  const counters = new Counters(allocateCounters(0, 4));
  counters.addToListener(0, "listenerAccepted", 2);
  counters.addToListener(1, "listenerSentBytes", 7);
  const samples = await readSamples(counters);
  const of = (metric: string, listener: string) => samples.get(`${metric}{listener="${listener}",service="default"}`);
  assertEquals(of("balancer_listener_accepted_connections_total", "127.0.0.1:8080"), 2);
  assertEquals(of("balancer_listener_accepted_connections_total", "[::1]:8080"), 0);
  assertEquals(of("balancer_listener_sent_bytes_total", "[::1]:8080"), 7);
});

Deno.test("writeMetrics() in OpenMetrics has the same samples, families without _total, and an end", async () => {
  const counters = new Counters(allocateCounters(0, 4));
  counters.add("accepted", 3);
  const [own, open] = await Promise.all(
    (["prometheus", "openMetrics"] as const).map((format) => writeMetrics(counters, MEASURED, format)),
  );
  const samplesOf = (text: string) => text.split("\n").filter((line) => !line.startsWith("#"));
  assertEquals(samplesOf(open.text), samplesOf(own.text));
  assertStringIncludes(open.contentType, "application/openmetrics-text; version=1.0.0");
  assertStringIncludes(open.text, "# TYPE balancer_accepted_connections counter\nbalancer_accepted_connections_total 3\n");
  assert(open.text.endsWith("\n# EOF\n"));
  assertEquals(open.text.match(/^# TYPE \S+_total /m), null);
});

Deno.test("writeMetrics() lets other work through while it writes of very many servers", async () => {
  const servers = Array.from(
    { length: 4000 },
    (_, i) => ({ name: `10.0.0.1:${i + 1}`, slot: i, state: "up" as const, weight: 1, sources: 1 }),
  );
  let turns = 0;
  const counting = setInterval(() => turns++, 0);
  const { text } = await writeMetrics(new Counters(allocateCounters(0, 4000)), { ...MEASURED, servers });
  clearInterval(counting);
  assert(turns > 0, "nothing else had a turn");
  assertEquals(text.split("\nbalancer_server_weight{").length, 4001);
});

Deno.test("writeMetrics() works without servers", async () => {
  const samples = await readSamples(new Counters(allocateCounters(0, 4)), { ...MEASURED, servers: [] });
  assertEquals(samples.get('balancer_servers{state="up"}'), 0);
  assertEquals([...samples.keys()].filter((sample) => sample.includes("server=")), []);
});
