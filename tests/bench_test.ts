// The benchmark's pure parts: what tools print, what is made of it, and the reports. Of the contenders only the floor runs here.

import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { listening } from "../tools/bench/backends.ts";
import { chart } from "../tools/bench/chart.ts";
import { balancerArguments, haproxyConfiguration, nginxConfiguration } from "../tools/bench/configurations.ts";
import { COMPARISONS, CONTENDER_NAMES, exampleConfigurations } from "../tools/bench/contenders.ts";
import { compileProgram } from "../tools/bench/compile.ts";
import { floorCommand } from "../tools/bench/floor.ts";
import { pairsUnder } from "../tools/bench/idle.ts";
import { parseIperf3 } from "../tools/bench/iperf3.ts";
import {
  parseListeningPorts,
  parseOpenFilesLimit,
  parseResidentKb,
  parseSchedstat,
  parseSegments,
  parseSwitches,
  parseSystemCpuSeconds,
  parseSystemSwitches,
  usageBetween,
} from "../tools/bench/measure.ts";
import { type Figures, formatNumber, formatSeconds, usagePerUnit } from "../tools/bench/metrics.ts";
import { parseOptions } from "../tools/bench/options.ts";
import { makePlace, programsOf, ROOT } from "../tools/bench/place.ts";
import { complaintOf, delay, freePort, Service } from "../tools/bench/processes.ts";
import { formatRatio, markdownTable, reportJson, reportMarkdown, type Run, shortTable, withBench } from "../tools/bench/report.ts";
import { runWorkload, type Slice, turnsOf } from "../tools/bench/rounds.ts";
import { pairedRatios, quantile, spreadOf } from "../tools/bench/statistics.ts";
import { notesOf, summarize } from "../tools/bench/summary.ts";
import { driveByTalk, parseTalk, serverCommand, type TalkLoad, warmUpByTalk } from "../tools/bench/talk.ts";
import { missingTools, nginxStreamModule } from "../tools/bench/tools.ts";
import { contendersOf, roundsOf, WORKLOAD_NAMES } from "../tools/bench/workloads.ts";
import { checkBytes, parseWrk } from "../tools/bench/wrk.ts";
import { Random } from "../tools/random.ts";
import { poll } from "./helpers.ts";
import { needing } from "./tools.ts";

const WRK = `Running 1s test @ http://127.0.0.1:18080/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   318.42us  272.79us   4.89ms   96.14%
    Req/Sec   133.80k    13.30k  144.77k    90.00%
  Latency Distribution
     50%  225.00us
     75%  408.00us
     90%  478.00us
     99%    1.05ms
  132885 requests in 1.00s, 19.39MB read
Requests/sec: 132467.73
Transfer/sec:     19.33MB
`;

const IPERF3 = {
  start: {},
  intervals: [],
  end: { sum_sent: { bytes: 3_229_614_080 }, sum_received: { bytes: 3_225_944_064, bits_per_second: 25_780_199_720 } },
};

Deno.test("parseWrk() reads requests, bytes and latencies", () => {
  assertEquals(parseWrk(WRK), {
    requests: 132_885,
    requestsPerSecond: 132_467.73,
    bytes: 19.39 * 1024 ** 2,
    p50Seconds: 225 * 1e-6,
    p99Seconds: 1.05 * 1e-3,
  });
});

Deno.test("parseWrk() gives no figure where there were errors", () => {
  const errors = WRK.replace("Requests/sec", "  Socket errors: connect 0, read 3, write 0, timeout 1\nRequests/sec");
  assertThrows(() => parseWrk(errors), Error, "wrk met socket errors: connect 0, read 3, write 0, timeout 1");
  const refused = WRK.replace("Requests/sec", "  Non-2xx or 3xx responses: 12\nRequests/sec");
  assertThrows(() => parseWrk(refused), Error, "wrk got 12 answers that were no success");
  assertThrows(() => parseWrk(WRK.replace("132885 requests", "0 requests")), Error, "wrk got no answer");
  assertThrows(() => parseWrk(WRK.replace(/^ +99%.*\n/m, "")), Error, "no 99 % latency");
  assertThrows(() => parseWrk("unable to connect"), Error, "not understood");
});

Deno.test("parseWrk() reads at line starts alone", () => {
  assertThrows(() => parseWrk(WRK.replace("  132885 requests", "x 132885 requests")), Error, "not understood");
  assertEquals(parseWrk(`GET / Socket errors: none\n${WRK}`).requests, 132_885);
});

Deno.test("checkBytes() knows answers that were cut short", () => {
  checkBytes(parseWrk(WRK), 153);
  assertThrows(() => checkBytes(parseWrk(WRK), 160), Error, "132885 answers of 160 bytes should be 21261600 bytes");
});

Deno.test("parseIperf3() reads what arrived", () => {
  assertEquals(parseIperf3(JSON.stringify(IPERF3), 2), {
    receivedBytes: 3_225_944_064,
    receivedBytesPerSecond: 3_222_524_965,
  });
});

Deno.test("parseIperf3() gives no figure where bytes are missing or it failed", () => {
  const received = (bytes: number) => JSON.stringify({ end: { ...IPERF3.end, sum_received: { bytes, bits_per_second: 1 } } });
  assertThrows(() => parseIperf3(received(1000), 1), Error, "Of 3229614080 bytes that iperf3 sent, 1000 arrived");
  assertThrows(() => parseIperf3(received(4e9), 1), Error, "4000000000 arrived");
  assertThrows(() => parseIperf3(received(0), 1), Error, "iperf3 moved nothing");
  const failed = JSON.stringify({ end: {}, error: "unable to connect to server: Connection refused" });
  assertThrows(() => parseIperf3(failed, 1), Error, "iperf3 failed: unable to connect to server: Connection refused");
  assertThrows(() => parseIperf3("{}", 1), Error, "not understood");
  assertThrows(() => parseIperf3("iperf3: error", 1), Error, "no JSON");
});

Deno.test("the readers of /proc read what proc(5) says", () => {
  assertEquals(parseSchedstat("123456789 73280 1\n"), 123_456_789);
  const status = "Name:\tdeno\nVmRSS:\t   65348 kB\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t7\n";
  assertEquals(parseSwitches(status), 157);
  assertThrows(() => parseSwitches("voluntary_ctxt_switches:\t150\n"), Error, "does not name its context switches");
  assertEquals(parseResidentKb(status), 65_348);
  assertEquals(parseResidentKb("00400000-7fff [rollup]\nRss:                4321 kB\nPss: 99 kB\n"), 4321);
  assertEquals(parseSystemCpuSeconds("cpu  100 20 300 4000 50 6 70 8 9 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"), 4.96);
  assertEquals(parseSystemSwitches("cpu  1 2\nintr 5 6\nctxt 123456\nbtime 7\n"), 123_456);
  assertThrows(() => parseSystemSwitches("cpu  1 2\n"), Error, "does not name context switches");
  const snmp =
    "Ip: Forwarding OutSegs\nIp: 1 2\nTcp: RtoMin MaxConn InSegs OutSegs RetransSegs\nTcp: 200 -1 40 41 3\nUdp: OutSegs\nUdp: 9\n";
  assertEquals(parseSegments(snmp), 41);
  assertThrows(() => parseSegments("Tcp: InSegs\nTcp: 40\n"), Error, "does not name the TCP segments");
  assertEquals(
    parseOpenFilesLimit("Limit  Soft  Hard  Units\nMax open files            20000                20001                files\n"),
    20_000,
  );
  const tcp = `  sl  local_address rem_address   st
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000
   1: 0100007F:1F91 0100007F:46A0 06 00000000:00000000
  12: 00000000:07E8 00000000:0000 0A 00000000:00000000
`;
  assertEquals([...parseListeningPorts(tcp)], [8080, 2024]);
  assertThrows(() => parseSchedstat(""), Error, "not understood");
});

Deno.test("usageBetween() takes threads that began in between, and none that ended", () => {
  const thread = (cpuNs: number, switches: number) => ({ cpuNs, switches });
  const [earlier, later] = [{ cpuSeconds: 100, switches: 7, segments: 50 }, { cpuSeconds: 102, switches: 27, segments: 80 }];
  const before = { threads: new Map([[1, thread(1e9, 10)], [2, thread(5e9, 50)]]), system: earlier };
  const after = { threads: new Map([[1, thread(1.5e9, 14)], [3, thread(0.25e9, 3)]]), system: later };
  const system = { cpuSeconds: 2, switches: 20, segments: 30 };
  assertEquals(usageBetween(before, after), { process: { cpuSeconds: 0.75, switches: 7 }, system });
  assertEquals(usageBetween({ system: earlier }, { system: later }), { system });
});

Deno.test("usagePerUnit() has a process's figures where there is a process", () => {
  const system = { cpuSeconds: 2, switches: 20, segments: 30 };
  const ofSystem = { systemCpuSeconds: 0.2, systemSwitches: 2, segments: 3 };
  assertEquals(usagePerUnit({ process: { cpuSeconds: 1, switches: 5 }, system }, 10), {
    cpuSeconds: 0.1,
    switches: 0.5,
    ...ofSystem,
  });
  assertEquals(usagePerUnit({ system }, 10), ofSystem);
});

Deno.test("parseTalk() reads the line of the clients", () => {
  assertEquals(parseTalk("count 3000 seconds 1.500 p50 92150 p99 250000"), {
    count: 3000,
    perSecond: 2000,
    p50Seconds: 92_150 / 1e9,
    p99Seconds: 250_000 / 1e9,
  });
  assertThrows(() => parseTalk("ready"), Error, "not understood");
});

Deno.test("quantile() and spreadOf() interpolate between values", () => {
  assertEquals(quantile([4, 1, 3, 2], 0.5), 2.5);
  assertEquals(spreadOf([5, 1, 4, 2, 3]), { median: 3, low: 2, high: 4, count: 5 });
  assertEquals(spreadOf([7]), { median: 7, low: 7, high: 7, count: 1 });
  assertEquals(spreadOf([]), undefined);
  assertThrows(() => quantile([], 0.5), Error, "no values");
});

Deno.test("pairedRatios() pairs by round and leaves out what has no pair", () => {
  assertEquals(pairedRatios(new Map([[1, 2], [2, 9], [3, 4]]), new Map([[1, 1], [3, 8], [4, 5]])), [2, 0.5]);
  assertEquals(pairedRatios(new Map([[1, 2]]), new Map([[1, 0]])), []);
});

Deno.test("figures have three digits that count", () => {
  assertEquals([31_244, 312.44, 28.149, 1.002, 0.912, 0.0034, 0].map(formatNumber), [
    "31,244",
    "312",
    "28.1",
    "1.00",
    "0.912",
    "0.003",
    "0",
  ]);
  assertEquals([2.5, 0.412, 28.1e-6].map(formatSeconds), ["2.50 s", "412 ms", "28.1 µs"]);
  assertEquals(formatRatio({ median: 0.921, low: 0.9, high: 0.949, count: 8 }), "0.92 (0.90–0.95)");
  assertEquals(formatRatio({ median: 0.921, low: 0.921, high: 0.921, count: 1 }), "0.92");
  assertEquals(formatRatio(undefined), "–");
});

function slice(contender: Slice["contender"], round: number, figures: Figures, workload: Slice["workload"] = "keepalive"): Slice {
  return { workload, contender, round, figures };
}

/** Two rounds in which the machine was half as fast the second time, and a failure. */
const RUN: Run = {
  date: "2026-01-02",
  machine: {
    cores: 2,
    cpu: 'A "CPU" <fast> & small',
    kernel: "6.1",
    congestionControl: "cubic",
    openFiles: 20_000,
    versions: { balancer: "0.1.0", haproxy: "2.6", nginx: "1.22" },
  },
  pace: { rounds: 2, sliceSeconds: 1, warmUpMaxMs: 1, idlePairs: 1 },
  seed: 42,
  slices: [
    slice("direct", 1, { throughput: 1000 }),
    slice("epoll", 1, { cpuSeconds: 9, throughput: 110 }),
    slice("streams", 1, { cpuSeconds: 45, throughput: 20 }),
    slice("haproxy", 1, { cpuSeconds: 10, throughput: 100 }),
    slice("nginx", 1, { cpuSeconds: 12, throughput: 100 }),
    slice("epoll", 2, { cpuSeconds: 18, throughput: 55 }),
    slice("haproxy", 2, { cpuSeconds: 20, throughput: 50 }),
    { workload: "keepalive", contender: "nginx", round: 2, error: "wrk got no answer" },
    slice("epoll", 1, { residentKb: 0.6, idleCpuPercent: 0 }, "idle"),
    slice("haproxy", 1, { residentKb: 3, idleCpuPercent: 0 }, "idle"),
  ],
  absences: [
    { workload: "idle", contender: "streams", reason: "it would not start" },
    { workload: "bulk-1", contender: "streams", reason: "it would not start" },
    { workload: "bulk-8", reason: "iperf3 is not there" },
  ],
  configurations: { "haproxy-1.cfg": "global\n" },
};

Deno.test("summarize() pairs by round, so that a slower machine changes no ratio", () => {
  const [keepalive, idle, ...more] = summarize(RUN.slices);
  assertEquals([keepalive.name, idle.name, more.length], ["keepalive", "idle", 0]);
  const [epoll] = keepalive.comparisons;
  assertEquals([epoll.of, epoll.against], ["epoll", "haproxy"]);
  assertEquals(epoll.ratios.cpuSeconds, { median: 0.9, low: 0.9, high: 0.9, count: 2 });
  const nginx = keepalive.comparisons.find(({ of, against }) => of === "epoll" && against === "nginx");
  assertEquals(nginx?.ratios.cpuSeconds?.count, 1, "nginx has a figure in one round only");
  assertEquals(keepalive.absolutes.map(({ contender }) => contender), ["direct", "epoll", "streams", "haproxy", "nginx"]);
  assertEquals(idle.comparisons[0].ratios.idleCpuPercent, undefined);
});

Deno.test("notes tell the same trouble once", () => {
  assertEquals(notesOf(RUN.slices, RUN.absences), [
    "balancer, streams is left out: it would not start (idle, bulk-1)",
    "Not measured: iperf3 is not there (bulk-8)",
    "nginx has no figure: wrk got no answer (keepalive round 2)",
  ]);
});

Deno.test("the report has tables, notes and configurations", () => {
  const text = reportMarkdown(RUN);
  assertStringIncludes(text, "| Workload  | Compared");
  assertStringIncludes(text, "0.90 (0.90–0.90)");
  assertStringIncludes(text, "## keepalive");
  const words = text.replaceAll("\n", " ");
  assertStringIncludes(words, "(--seed 42)");
  assertStringIncludes(words, '"streams" has one in the first of every 2 rounds.');
  assertStringIncludes(text, "- nginx has no figure: wrk got no answer (keepalive round 2)");
  assertStringIncludes(text, "### haproxy-1.cfg\n\n```text\nglobal\n```");
  assert(!/undefined|NaN|\[object/.test(text), text);
});

Deno.test("the JSON has the raw slices, the machine and what was made of them", () => {
  const report = JSON.parse(reportJson(RUN));
  assertEquals([report.format, report.slices.length, report.machine.cores], [1, RUN.slices.length, 2]);
  assertEquals(report.workloads[0].comparisons[0].ratios.cpuSeconds.median, 0.9);
  assertEquals(report.notes.length, 3);
});

Deno.test("withBench() writes between its marks, and only there", () => {
  const readme = "# x\n\n<!-- bench -->\n\nold $& text\n\n<!-- end bench -->\n\ny\n";
  const table = shortTable(RUN);
  assertEquals(withBench(readme, table), `# x\n\n<!-- bench -->\n\n${table}\n\n<!-- end bench -->\n\ny\n`);
  assertEquals(withBench(withBench(readme, "a $& b")!, table), withBench(readme, table));
  assertEquals(withBench("# x\n", table), undefined);
});

Deno.test("the short table shows CPU and throughput", () => {
  const [heading, , keepalive, idle] = shortTable(RUN).split("\n").map((line) => line.split("|").map((cell) => cell.trim()));
  assertEquals(heading.slice(3, 5), ["epoll / HAProxy", "epoll / nginx"]);
  assertEquals(keepalive, ["", "keepalive", "CPU per request", "0.90 (0.90–0.90)", "0.75", "4.50", "1.10 (1.10–1.10)", ""]);
  assertEquals(idle, ["", "idle", "Resident kB per pair", "0.20", "–", "–", "–", ""]);
});

Deno.test("markdownTable() sets figures to the right and escapes bars", () => {
  assertEquals(
    markdownTable(["Workload", "p50"], [["a|b", "1 ms"], ["c", "200 ms"]]),
    "| Workload |    p50 |\n| -------- | -----: |\n| a\\|b     |   1 ms |\n| c        | 200 ms |",
  );
});

/** Tags that are open at the end of a document, or the first that closes another: none in one that is well-formed. */
function unbalanced(xml: string): string[] {
  const open: string[] = [];
  for (const [, closes, name, selfCloses] of xml.matchAll(/<(\/?)([a-z]+)(?:\s[a-zA-Z:-]+="[^"<]*")*\s*(\/?)>/g)) {
    if (closes === "/" && open.pop() !== name) return [name];
    if (closes === "" && selfCloses === "") open.push(name);
  }
  return open;
}

Deno.test("chart() is well-formed, cuts long bars and tells their figures", () => {
  const svg = chart(summarize(RUN.slices));
  assertEquals(unbalanced(svg), []);
  assertEquals(svg.match(/<(?![a-z/])/g), null, "every < begins a tag");
  assertEquals(svg.match(/&(?!amp;|lt;|gt;|quot;)/g), null, "every & begins an entity");
  assert(!/NaN|undefined|Infinity/.test(svg), svg);
  assertStringIncludes(svg, ">4.50</text>");
  assertStringIncludes(svg, ">0.90</text>");
  assertStringIncludes(svg, "prefers-color-scheme:dark");
  const widths = [...svg.matchAll(/<rect class="streams" x="[\d.]+" y="[\d.]+" width="([\d.]+)"/g)].map(([, width]) =>
    Number(width)
  );
  assert(Math.max(...widths) <= 760 - 150, "a bar ends within the picture");
});

Deno.test("chart() of nothing is a picture all the same", () => {
  assertEquals(unbalanced(chart([])), []);
});

Deno.test("rivals are tuned for what is measured", () => {
  const wiring = { port: 1, backendPort: 2, workers: 2, openFiles: 20_000, isBulk: true };
  assertStringIncludes(haproxyConfiguration(wiring), "option splice-request\n  option splice-response\n  timeout");
  assertStringIncludes(haproxyConfiguration(wiring), "maxconn 9400\n");
  assert(!haproxyConfiguration({ ...wiring, isBulk: false }).includes("splice"));
  assertStringIncludes(nginxConfiguration(wiring, "load_module x.so;"), "load_module x.so;\ndaemon off;");
  assertStringIncludes(nginxConfiguration(wiring, ""), "worker_processes 2;");
  assertEquals(balancerArguments("streams", { port: 8080, workers: 1 }).includes("--workers"), false);
  assertStringIncludes(exampleConfigurations(1e9, "")["epoll-2.txt"], "--engine epoll --workers 2 --key ip:port --load-bound off");
});

Deno.test("nginxStreamModule() knows a module that is built in", async () => {
  assertEquals(await nginxStreamModule("configure arguments: --with-stream --with-threads"), "");
});

Deno.test("missingTools() names the package of each", () => {
  const tool = { path: "/x", version: "1" };
  assertEquals(missingTools({ haproxy: tool, nginx: tool, wrk: tool, cc: tool }), [
    "iperf3 is not there (both ends of the bulk workloads): Debian's package iperf3 has it",
  ]);
});

Deno.test("complaintOf() finds the line that says what is wrong", () => {
  assertEquals(complaintOf("[NOTICE] a\n[ALERT] b\n[ALERT] Fatal errors found\n"), "[ALERT] b");
  assertEquals(
    complaintOf('balancer: Engine "x" is not one of auto, streams\n'),
    'balancer: Engine "x" is not one of auto, streams',
  );
  assertEquals(complaintOf("\n"), undefined);
});

Deno.test("pairsUnder() leaves descriptors for other purposes", () => {
  assertEquals([pairsUnder(20_000, 8000), pairsUnder(4096, 8000), pairsUnder(256, 8000)], [8000, 1048, 1]);
});

Deno.test("parseOptions() takes what is known and refuses the rest", () => {
  const options = parseOptions(["--quick", "--rounds", "3", "--only", "idle,keepalive", "--out=x"], "dist/bench");
  assertEquals([options.pace.rounds, options.pace.sliceSeconds, options.out], [3, 1, "x"]);
  assertEquals(options.workloads, ["keepalive", "idle"]);
  assertEquals(parseOptions(["--seed", "42"], "").seed, 42);
  assert(parseOptions([], "").seed >= 1);
  assertThrows(() => parseOptions(["--seed", "0"], ""), Error, '--seed "0" is not a whole number from 1 to 9999');
  assertEquals(parseOptions([], "dist/bench").pace.rounds, 8);
  assertThrows(() => parseOptions(["--rounds", "0"], ""), Error, '--rounds "0" is not a whole number from 1 to 1000');
  assertThrows(() => parseOptions(["--only", "keepalife"], ""), Error, 'Workload "keepalife" is not one of keepalive, ');
  assertThrows(() => parseOptions(["--quik"], ""), Error, '"--quik" is no option');
  assertThrows(() => parseOptions(["keepalive"], ""), Error, '"keepalive" is no option');
});

Deno.test("parseOptions() has `before` and `variant` exactly if their options are given, and `watched` if it is named", () => {
  const contenders = (...argv: string[]) => parseOptions(argv, "").contenders;
  const without = (...names: string[]) => CONTENDER_NAMES.filter((name) => !names.includes(name));
  assertEquals(contenders(), without("before", "variant", "watched"));
  assertEquals(contenders("--against", "../old"), without("variant", "watched"));
  assertEquals(contenders("--among", "watched,epoll"), ["epoll", "watched"]);
  assertEquals(contenders("--variant=--proxy v2", "--among", "epoll"), ["epoll", "variant"]);
  assertEquals(parseOptions(["--variant=--proxy v2"], "").variant, ["--proxy", "v2"]);
  assertThrows(() => contenders("--among", "variant"), Error, 'Contender "variant" needs --variant SETTINGS');
  assertEquals(contenders("--against", "../old", "--among", "again,epoll"), ["epoll", "again", "before"]);
  assertEquals(parseOptions(["--against", "../old"], "").against, "../old");
  assertThrows(() => contenders("--among", "before"), Error, 'Contender "before" needs --against FOLDER');
  assertThrows(() => contenders("--against="), Error, "--against does not name a folder");
});

Deno.test("programsOf() takes a checkout or compiled programs, and tells what is missing", async () => {
  const [, , , , set, script] = (await programsOf(ROOT, false)).balancer;
  assertEquals([set, script], ["-P=balancer", await Deno.realPath(`${ROOT}main.ts`)]);
  const folder = await Deno.makeTempDir();
  try {
    await assertRejects(() => programsOf(folder, false), Error, "has no main.ts: name a checkout, or add --compiled");
    await assertRejects(() => programsOf(folder, true), Error, 'has no compiled balancer: run "deno task compile" there');
    await assertRejects(() => programsOf(`${folder}/x`, true), Error, "does not exist");
    await Deno.mkdir(`${folder}/dist`);
    await Deno.writeTextFile(`${folder}/dist/balancer`, "");
    const path = await Deno.realPath(folder);
    assertEquals((await programsOf(folder, true)).balancerctl, [`${path}/dist/balancerctl`]);
    assertEquals((await programsOf(`${folder}/dist`, true)).balancerctl, [`${path}/dist/balancerctl`]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("contenders take part in what they can do", () => {
  assertEquals(contendersOf("keepalive"), CONTENDER_NAMES);
  const without = (...names: string[]) => CONTENDER_NAMES.filter((name) => !names.includes(name));
  assertEquals(contendersOf("bulk-8"), without("floor"));
  assertEquals(contendersOf("keepalive-2"), without("streams"));
  assertEquals(contendersOf("idle"), without("direct"));
  for (const { of, against } of COMPARISONS) {
    assert(WORKLOAD_NAMES.some((name) => contendersOf(name).includes(of) && contendersOf(name).includes(against)));
  }
});

Deno.test("turns are shuffled for each round, and the same again for the same seed", () => {
  const pace = { rounds: 8, sliceSeconds: 1, warmUpMaxMs: 0, idlePairs: 1 };
  const turns = (seed: number, rounds = 8) =>
    turnsOf({ name: "keepalive", wanted: CONTENDER_NAMES, pace: { ...pace, rounds }, seed });
  const orderOf = (round: number) => turns(1).filter((turn) => turn.round === round).map(({ contender }) => contender);
  assertEquals(turns(1), turns(1));
  assert(orderOf(1).join() !== orderOf(5).join() && orderOf(2).join() !== orderOf(4).join(), "an order for each round");
  assert(JSON.stringify(turns(1)) !== JSON.stringify(turns(2)), "another seed, another order");
  assertEquals(turns(1, 3), turns(1).filter(({ round }) => round <= 3), "more rounds leave the first as they are");
  assertEquals(orderOf(1).toSorted(), CONTENDER_NAMES.toSorted());
  const roundsWith = (name: string) => turns(1).filter(({ contender }) => contender === name).map(({ round }) => round);
  assertEquals([roundsWith("direct"), roundsWith("streams")], [[1, 5], [1, 3, 5, 7]]);
  assertEquals(roundsWith("again").length, 8);
});

Deno.test("a workload that takes long has few rounds", () => {
  const rounds = (name: "idle" | "keepalive", rounds: number) => roundsOf(name, { ...RUN.pace, rounds });
  assertEquals([rounds("idle", 2), rounds("idle", 8), rounds("idle", 20)], [1, 1, 3]);
  assertEquals([rounds("keepalive", 2), rounds("keepalive", 20)], [2, 20]);
});

Deno.test("Random.shuffled() puts everybody in every place about equally often", () => {
  const random = new Random(7);
  const counts = new Map<string, number>();
  for (let i = 0; i < 6000; i++) {
    const order = random.shuffled(["a", "b", "c"]).join("");
    counts.set(order, (counts.get(order) ?? 0) + 1);
  }
  assertEquals([...counts.keys()].toSorted(), ["abc", "acb", "bac", "bca", "cab", "cba"]);
  for (const [order, count] of counts) assert(count > 850 && count < 1150, `${order}: ${count} of 6000`);
  assertEquals(random.shuffled([]), []);
});

/** What is sent through the floor: more than the buffers of the kernel take, so that it has to hold bytes and wait for room. */
const FLOOR_BYTES = 9_000_000;

function pattern(seed: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: FLOOR_BYTES }, (_, i) => (i * 31 + (i >> 8) * seed) & 0xff);
}

async function sendAll(socket: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let sent = 0; sent < bytes.length;) sent += await socket.write(bytes.subarray(sent));
  await socket.closeWrite();
}

async function receiveAll(socket: Deno.TcpConn): Promise<Uint8Array> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  const buffer = new Uint8Array(65_536);
  for (let count; (count = await socket.read(buffer)) !== null;) chunks.push(buffer.slice(0, count));
  return await new Blob(chunks).bytes();
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

for (const workers of [1, 2]) {
  const about = await needing(`[${workers} worker(s)] the floor relays every byte and passes each half-close on`, "Linux", "cc");
  Deno.test({
    ...about,
    async fn() {
      const { signal } = new AbortController();
      await using stack = new AsyncDisposableStack();
      const folder = await Deno.makeTempDir();
      stack.defer(() => Deno.remove(folder, { recursive: true }));
      const workshop = { cc: { path: "cc", version: "of this test" }, folder, signal };
      const program = await compileProgram("floor", workshop);
      const { mtime } = await Deno.stat(program);
      assertEquals(await compileProgram("floor", workshop), program, "it is compiled once");
      assertEquals((await Deno.stat(program)).mtime, mtime);
      using server = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const port = freePort();
      const words = floorCommand(program, { port, backendPort: server.addr.port, workers });
      stack.use(await listening(new Service({ words }), port, signal));
      const [request, answer] = [pattern(7), pattern(13)];
      for (const first of ["client", "server", "both"]) {
        using client = await Deno.connect({ hostname: "127.0.0.1", port });
        using other = await server.accept();
        const fromClient = { send: () => sendAll(client, request), receive: () => receiveAll(other), bytes: request };
        const fromServer = { send: () => sendAll(other, answer), receive: () => receiveAll(client), bytes: answer };
        const pass = async ({ send, receive, bytes }: typeof fromClient) => {
          const [received] = await Promise.all([receive(), send()]);
          assert(isSame(received, bytes), `${received.length} bytes arrived`);
        };
        // Where one direction ends before the other begins, its end has been passed on alone.
        if (first === "both") await Promise.all([pass(fromClient), pass(fromServer)]);
        else for (const one of first === "client" ? [fromClient, fromServer] : [fromServer, fromClient]) await pass(one);
      }
    },
  });
}

const takesTurns = await needing("the floor gives each of its servers a turn", "Linux", "cc");
Deno.test({
  ...takesTurns,
  async fn() {
    const { signal } = new AbortController();
    await using stack = new AsyncDisposableStack();
    const folder = await Deno.makeTempDir();
    stack.defer(() => Deno.remove(folder, { recursive: true }));
    const program = await compileProgram("floor", { cc: { path: "cc", version: "" }, folder, signal });
    const servers = [1, 2].map(() => stack.use(Deno.listen({ hostname: "127.0.0.1", port: 0 })));
    const port = freePort();
    const addresses = servers.map(({ addr }) => `127.0.0.1:${addr.port}`);
    stack.use(await listening(new Service({ words: [program, String(port), "1", ...addresses] }), port, signal));
    for (const server of [...servers, ...servers]) {
      using client = await Deno.connect({ hostname: "127.0.0.1", port });
      using other = await server.accept();
      await other.write(new Uint8Array([1]));
      assertEquals(await client.read(new Uint8Array(1)), 1);
    }
  },
});

const failing = await needing("compileProgram() tells what the compiler said", "Linux", "sh");
Deno.test({
  ...failing,
  async fn() {
    const folder = await Deno.makeTempDir();
    try {
      const path = `${folder}/cc`;
      await Deno.writeTextFile(path, "#!/bin/sh\necho 'fatal error: no headers' >&2\nexit 1\n", { mode: 0o755 });
      const { signal } = new AbortController();
      await assertRejects(
        () => compileProgram("floor", { cc: { path, version: "" }, folder, signal }),
        Error,
        "fatal error: no headers",
      );
      assertEquals((await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name), ["cc"], "nothing half made is left");
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

const linux = await needing(
  "a contender whose program is missing is left out by name, and so is `before` without a folder",
  "Linux",
);
Deno.test({
  ...linux,
  async fn() {
    await using place = await makePlace({}, { isCompiled: false }, new AbortController().signal);
    const told: string[] = [];
    const listener = { onSlice: () => {}, onAbsence: ({ reason }: { reason: string }) => told.push(reason) };
    const plan = { name: "idle", wanted: ["floor", "before"], pace: RUN.pace, seed: 1 } as const;
    const { slices, absences } = await runWorkload(plan, place, listener);
    assertEquals([slices, told.toSorted()], [[], ["--against does not name a folder", "cc is not there"]]);
    assertEquals(notesOf(slices, absences).toSorted(), [
      "balancer, epoll (--against) is left out: --against does not name a folder (idle)",
      "floor (C) is left out: cc is not there (idle)",
    ]);
    const nobody = await runWorkload({ ...plan, name: "sparse", wanted: CONTENDER_NAMES }, place, listener);
    assertEquals(notesOf(nobody.slices, nobody.absences), ["Not measured: cc is not there (sparse)"]);
  },
});

Deno.test("the report has a column for the floor, and rows for the noise and for the version before", () => {
  const slices = [
    ...RUN.slices,
    slice("floor", 1, { cpuSeconds: 7.5 }),
    slice("again", 1, { cpuSeconds: 9 }),
    slice("before", 1, { cpuSeconds: 10 }),
  ];
  const text = reportMarkdown({ ...RUN, slices });
  const [heading, , keepalive, idle] = shortTable({ ...RUN, slices }).split("\n").map((line) =>
    line.split("|").map((cell) => cell.trim())
  );
  assertEquals(heading.slice(3, 8), ["epoll / HAProxy", "epoll / nginx", "epoll / floor", "epoll / before", "epoll / again"]);
  assertEquals(keepalive.slice(5, 8), ["1.20", "0.90", "1.00"]);
  assertEquals(idle.slice(5, 8), ["–", "–", "–"]);
  assertEquals(text.match(/^\| epoll \/ again +\| +1\.00 \|/m)?.length, 1);
  assertEquals(text.match(/^\| HAProxy \/ floor +\| +1\.33 \|/m)?.length, 1);
  assertStringIncludes(chart(summarize(slices)), '<rect class="floor"');
  assert(!shortTable(RUN).includes("floor"), "no column without a figure");
});

Deno.test("the report has a column for what can be counted, and none where nothing was", () => {
  const counted = { systemCpuSeconds: 30e-6, switches: 1.5, systemSwitches: 6, segments: 18.8 };
  const slices = [
    ...RUN.slices,
    slice("epoll", 1, counted, "connections"),
    slice("haproxy", 1, { ...counted, segments: 20 }, "connections"),
  ];
  const sections = reportMarkdown({ ...RUN, slices }).split(/^## /m);
  const [connections, idle] = ["connections\n", "idle\n"].map((name) => sections.find((text) => text.startsWith(name)) ?? "");
  for (const heading of ["Whole system's CPU per connection", "Context switches per connection", "TCP segments per connection"]) {
    assertStringIncludes(connections, heading);
  }
  assertStringIncludes(connections, "18.8 |");
  assertEquals(connections.match(/^\| epoll \/ HAProxy .* 0\.94 \|$/m)?.length, 1);
  assert(!/segments|switches/.test(idle), idle);
});

const TALKS: readonly TalkLoad[] = [
  { does: "visit", clients: 2 },
  { does: "ask", clients: 1 },
  { does: "ask", clients: 20, everyMs: 50 },
];

for (const load of TALKS) {
  const { does, clients, everyMs } = load;
  const about = await needing(
    `talk: ${clients} clients ${does}${everyMs === undefined ? "" : ` every ${everyMs} ms`}`,
    "Linux",
    "cc",
  );
  Deno.test({
    ...about,
    async fn() {
      await using place = await makePlace({ cc: { path: "cc", version: "" } }, { isCompiled: false }, new AbortController().signal);
      await using server = new Service({ words: await serverCommand(place, does === "visit" ? "greet" : "answer") });
      const target = { place, port: Number(await server.line(1, place.signal)) };
      await warmUpByTalk(target, load, 50);
      const figures = await driveByTalk(target, load, 0.2);
      const { throughput = 0, p50Seconds = 0, p99Seconds = 0, segments = 0, cpuSeconds } = figures;
      if (everyMs === undefined) assert(throughput > 100, `${throughput} a second`);
      else assertEquals(throughput, clients * 1000 / everyMs, "each asks when it should, and every answer is counted");
      assert(p50Seconds > 1e-6 && p50Seconds <= p99Seconds && p99Seconds < 1, `${p50Seconds}, ${p99Seconds}`);
      assert(segments >= (does === "visit" ? 7 : 2), `${segments} segments`);
      assertEquals(cpuSeconds, undefined, "there is no process between them");
    },
  });
}

const late = await needing("talk: clients wait for a server that has its turn when their time is over", "Linux", "cc");
Deno.test({
  ...late,
  async fn() {
    await using place = await makePlace({ cc: { path: "cc", version: "" } }, { isCompiled: false }, new AbortController().signal);
    await using server = new Service({ words: await serverCommand(place, "greet") });
    const target = { place, port: Number(await server.line(1, place.signal)) };
    const workMs = 20;
    const hasClient = `:${target.port.toString(16).toUpperCase().padStart(4, "0")} 01 `; // in /proc/net/tcp: a peer, and state 01
    Deno.kill(server.pid, "SIGSTOP"); // as it is on a busy machine; the system connects the client all the same
    const letGo = async () => {
      await poll(() => Deno.readTextFile("/proc/net/tcp"), (text) => text.includes(hasClient), "the client");
      await delay(2 * workMs);
      Deno.kill(server.pid, "SIGCONT");
    };
    const [figures] = await Promise.all([driveByTalk(target, { does: "visit", clients: 1 }, workMs / 1000), letGo()]);
    const { throughput = 0, p50Seconds = 0, segments = 0 } = figures;
    assert(p50Seconds > workMs / 1000, `answered after ${p50Seconds} s`);
    assert(throughput > 0 && throughput * p50Seconds < 1.05, `${throughput} a second, though each took ${p50Seconds} s`);
    assert(segments >= 7, `${segments} segments`);
  },
});

const measured = await needing("a turn starts, measures and ends a contender and its server", "Linux", "cc");
Deno.test({
  ...measured,
  async fn() {
    await using place = await makePlace({ cc: { path: "cc", version: "" } }, { isCompiled: false }, new AbortController().signal);
    const pace = { rounds: 2, sliceSeconds: 0.1, warmUpMaxMs: 20, idlePairs: 1 };
    const told: string[] = [];
    const listener = {
      onSlice: ({ contender, round }: Slice, rounds: number) => told.push(`${contender} ${round}/${rounds}`),
      onAbsence: () => {},
    };
    const plan = { name: "server-first", wanted: ["direct", "floor", "haproxy"], pace, seed: 1 } as const;
    const { slices, absences } = await runWorkload(plan, place, listener);
    assertEquals(told.toSorted(), ["direct 1/2", "floor 1/2", "floor 2/2"], "direct has a turn in every fourth round");
    assertEquals(absences, [{ workload: "server-first", contender: "haproxy", reason: "haproxy is not there" }]);
    for (const { contender, figures, error } of slices) {
      assertEquals(error, undefined);
      const { cpuSeconds = 0, switches = 0, segments = 0 } = figures ?? {};
      assertEquals([cpuSeconds > 1e-6, switches > 0], [contender === "floor", contender === "floor"], "direct has no process");
      assert(segments > (contender === "floor" ? 14 : 7), `${contender}: ${segments} segments for a connection`);
    }
  },
});

const wrong = await needing("talk: clients that are refused, cut or answered wrongly give no figure", "Linux", "cc");
Deno.test({
  ...wrong,
  async fn() {
    await using place = await makePlace({ cc: { path: "cc", version: "" } }, { isCompiled: false }, new AbortController().signal);
    await using server = new Service({ words: await serverCommand(place, "greet") });
    const port = Number(await server.line(1, place.signal));
    const drive = (port: number) => () => driveByTalk({ place, port }, { does: "ask", clients: 1 }, 0.05);
    await assertRejects(drive(port), Error, "A first request got no answer");
    await assertRejects(drive(freePort()), Error, "A client cannot connect: Connection refused");
    using mute = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    mute.accept().then((socket) => socket.close());
    const visit = () => driveByTalk({ place, port: mute.addr.port }, { does: "visit", clients: 1 }, 0.05);
    await assertRejects(visit, Error, "A connection ended before all had come");
  },
});
