// The token of a fixed place: long, plain, in a file that is its owner's alone.

import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { readToken } from "../../lib/dashboard/fixed_place.ts";
import { OperatorError } from "../../lib/values/errors.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";

async function withFile(text: string, mode: number, use: (path: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "balancer_token_" });
  try {
    const path = `${folder}/token`;
    await Deno.writeTextFile(path, text);
    await Deno.chmod(path, mode);
    await use(path);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (const [what, text] of [["a line", `${TOKEN}\n`], ["no end of line", TOKEN], ["the most", `${"a".repeat(4096)}\n`]]) {
  Deno.test(`readToken() takes ${what}`, () =>
    withFile(text, 0o600, async (path) => {
      assertEquals(await readToken(path), text.trim());
    }));
}

const REFUSED: readonly [what: string, text: string, mode: number, why: string][] = [
  ["a short token", TOKEN.slice(1), 0o600, "it has 31 characters and must have 32 to 4096; make one with openssl rand -hex 32"],
  ["an empty file", "", 0o600, "it has 0 characters"],
  ["a token with a space", `${TOKEN} ${TOKEN}`, 0o600, "without spaces"],
  ["two lines", `${TOKEN}\n${TOKEN}\n`, 0o600, "one line of visible ASCII"],
  ["a token with other letters", `${TOKEN}ä`, 0o600, "visible ASCII"],
  ["a token that is too long", "a".repeat(5000), 0o600, "it has 4098 characters"],
  ["a file that the group can read", TOKEN, 0o640, "its mode is 640, and others can use it; run chmod 600 on it"],
  ["a file that others can read", TOKEN, 0o604, "its mode is 604"],
];

for (const [what, text, mode, why] of REFUSED) {
  Deno.test(`readToken() refuses ${what}`, () =>
    withFile(text, mode, async (path) => {
      const { message } = await assertRejects(() => readToken(path), OperatorError);
      assertStringIncludes(message, `Cannot use dashboard token ${JSON.stringify(path)}: `);
      assertStringIncludes(message, why);
    }));
}

Deno.test("readToken() refuses what is no file", async () => {
  await assertRejects(() => readToken("/nowhere/token"), OperatorError, "Cannot use dashboard token");
  await assertRejects(() => readToken("/dev/zero"), OperatorError, "it is a character device and must be a plain file");
});
