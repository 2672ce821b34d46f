/**
 * Fuzzes parsers of what clients send: `deno task fuzz [proxy|hello] [count] [seed]`, or all of them. The first attempt that fails
 * is thrown, with its bytes.
 */

import { assert } from "@std/assert";
import { fuzzClientHellos } from "./client_hello.ts";
import { fuzzProxyHeaders } from "./proxy.ts";

const FUZZERS: Readonly<Record<string, (run: { seed: number; count: number }) => Record<string, number>>> = {
  proxy: fuzzProxyHeaders,
  hello: fuzzClientHellos,
};

const names = Object.keys(FUZZERS);
const chosen = names.filter((name) => name === Deno.args[0]);
const [count = 1_000_000, seed = Date.now() % 1_000_000] = Deno.args.slice(chosen.length).map(Number);
assert(
  Number.isSafeInteger(count) && count > 0 && Number.isSafeInteger(seed),
  `deno task fuzz [${names.join("|")}] [count] [seed]`,
);
for (const name of chosen.length > 0 ? chosen : names) {
  const start = performance.now();
  const outcomes = FUZZERS[name]({ seed, count });
  const seconds = (performance.now() - start) / 1000;
  // deno-lint-ignore no-console
  console.log({ parser: name, seed, count, ...outcomes, seconds: Math.round(seconds), perSecond: Math.round(count / seconds) });
}
