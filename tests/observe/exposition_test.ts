// Metrics as text: what is escaped, how a histogram is written, and which format a scraper gets.

import { assertEquals } from "@std/assert";
import { chooseFormat, type Format, histogramSamples, labels, writeHead, writeSample } from "../../lib/observe/exposition.ts";
import { FAMILIES } from "../../lib/observe/metrics.ts";

const PROMETHEUS_2 = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4," +
  "text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
const PROMETHEUS_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6," +
  "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";

for (
  const [accept, format] of [
    ["", "prometheus"],
    ["*/*", "prometheus"],
    ["text/html,*/*;q=0.8", "prometheus"],
    ["text/plain", "prometheus"],
    ["application/openmetrics-text", "openMetrics"],
    ['Application/OpenMetrics-Text; Version="1.0.0"; charset=utf-8', "openMetrics"],
    ["application/openmetrics-text;version=0.0.1", "prometheus"],
    ["application/openmetrics-text;q=0", "prometheus"],
    ["application/openmetrics-text;q=none", "prometheus"],
    ["application/openmetrics-text;q=0.2,text/plain;q=0.3", "prometheus"],
    [PROMETHEUS_2, "openMetrics"],
    [PROMETHEUS_3, "openMetrics"],
    [";;=,,q", "prometheus"],
  ] as const satisfies readonly (readonly [string, Format])[]
) {
  Deno.test(`chooseFormat() of ${JSON.stringify(accept)} is ${format}`, () => assertEquals(chooseFormat(accept), format));
}

Deno.test("labels() escapes what would end a value or a line", () => {
  assertEquals(labels({ a: 'b"c\\d\ne', server: "[::1]:80" }), 'a="b\\"c\\\\d\\ne",server="[::1]:80"');
  assertEquals(labels({}), "");
});

Deno.test("writeHead() names the family of a counter as each format does", () => {
  const head = { name: "a_total", type: "counter", help: "Of a" } as const;
  assertEquals(writeHead(head, "prometheus"), "# HELP a_total Of a\n# TYPE a_total counter\n");
  assertEquals(writeHead(head, "openMetrics"), "# HELP a Of a\n# TYPE a counter\n");
  assertEquals(writeHead({ ...head, type: "gauge" }, "openMetrics"), "# HELP a_total Of a\n# TYPE a_total gauge\n");
});

Deno.test("histogramSamples() are cumulative, and their bounds are written as floats", () => {
  const samples = histogramSamples([0.5, 1], { counts: [2, 0, 3], sum: 7.5 }, 'server="x"');
  assertEquals(samples.map((sample) => writeSample("h", sample)), [
    'h_bucket{server="x",le="0.5"} 2\n',
    'h_bucket{server="x",le="1.0"} 2\n',
    'h_bucket{server="x",le="+Inf"} 5\n',
    'h_sum{server="x"} 7.5\n',
    'h_count{server="x"} 5\n',
  ]);
  assertEquals(writeSample("h", histogramSamples([], { counts: [1], sum: 0 })[0]), 'h_bucket{le="+Inf"} 1\n');
});

Deno.test("no help text needs to be escaped", () => {
  for (const { name, help } of FAMILIES) assertEquals(/["\\\n]/.test(help), false, name);
});
