// The page: made of its sources, small, and served with a policy under which nothing else is loaded or run.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { PAGE_BYTES_MAX, policyOf, readPage } from "../../lib/dashboard/page.ts";
import { makePage } from "../../tools/page.ts";

Deno.test("the page in the programs is what its sources make", async () => {
  const [{ html }, made] = await Promise.all([readPage(), makePage()]);
  assert(html === made, "lib/dashboard/page_bundle.ts is old: run deno task page");
});

Deno.test("the page is small, and names nothing outside of itself", async () => {
  const { html, gzip } = await readPage();
  assert(new TextEncoder().encode(html).length <= PAGE_BYTES_MAX);
  assert(gzip.length < html.length);
  const outside = html.match(/(?:src|href|action)\s*=\s*["']?(?:https?:)?\/\/|@import|url\(\s*["']?(?:https?:)?\/\//i);
  assertEquals(outside, null);
});

Deno.test("the page's policy allows its own script and style, by their digests", async () => {
  const { html, policy } = await readPage();
  assertEquals(policy, await policyOf(html));
  assertMatch(policy, /^default-src 'none'; script-src 'sha256-[A-Za-z0-9+/]{43}='; style-src 'sha256-[A-Za-z0-9+/]{43}=';/);
  for (const never of ["unsafe-inline", "unsafe-eval", "http:", "https:", "*"]) assert(!policy.includes(never), never);
});

Deno.test("policyOf() digests every script and style of the page, and allows none where there is none", async () => {
  assertStringIncludes(await policyOf("<main></main>"), "script-src 'none'; style-src 'none'");
  // echo -n 1 | openssl dgst -sha256 -binary | base64
  const one = "'sha256-a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0s='";
  assertStringIncludes(await policyOf('<script type="module">1</script><SCRIPT>1</SCRIPT>'), `script-src ${one} ${one};`);
});
