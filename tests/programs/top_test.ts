// `balancerctl top` as a program: on a pseudo-terminal, in a pipe, on a terminal that knows no codes.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type Address, formatAddress } from "../../lib/values/address.ts";
import { LEAVE } from "../../lib/top/screen.ts";
import { echo, startServer } from "../helpers.ts";
import { makePlace, outcomeOf, type Place } from "../programs.ts";
import { needing } from "../tools.ts";

/** A step of pseudo_terminal.py. */
type Step =
  | readonly ["await" | "type" | "signal", string]
  | readonly ["resize", columns: number, rows: number]
  | readonly ["run", readonly string[]];

/** What pseudo_terminal.py tells. */
interface Told {
  readonly code: number;
  readonly texts: readonly string[];
  readonly isRestored: boolean;
}

const ENTERED = "\x1b[?1049h";

/** Runs `balancerctl top` on a terminal of 80 × 24. */
async function onTerminal(place: Place, steps: readonly Step[], ...args: string[]): Promise<Told> {
  const script = `${import.meta.dirname}/pseudo_terminal.py`;
  const words = [script, "80", "24", JSON.stringify(steps), place.program("balancerctl"), "top", ...args];
  const env = { ...place.env, TERM: "xterm-256color", LC_ALL: "C.UTF-8" };
  const { code, stdout, stderr } = await outcomeOf(new Deno.Command("python3", { args: words, env, stdin: "null" }));
  assertEquals(code, 0, stderr);
  return JSON.parse(stdout);
}

async function startPool(place: Place, ...servers: readonly Address[]): Promise<void> {
  await place.start("--check", "off");
  for (const { host, port } of servers) await place.do("add", host, String(port));
}

function checkRestored({ isRestored, texts }: Told): void {
  assertEquals(isRestored, true);
  assertStringIncludes(texts.at(-1)!, LEAVE);
  assertEquals(texts.join("").split(ENTERED).length, 2);
}

Deno.test({
  ...await needing("top follows the terminal's size, takes keys, and gives the terminal back", "python3", "pseudo-terminals"),
  async fn() {
    await using place = await makePlace();
    await using server = startServer(echo);
    await startPool(place, server.address);
    const told = await onTerminal(place, [
      ["await", "1 Pool: 1 server by trouble"],
      ["resize", 100, 30],
      ["await", "\x1b[30;1H"],
      ["type", "s?"],
      ["await", "Any key leads back"],
      ["type", "x/nobody\r"],
      ["await", "no server contains nobody"],
      ["type", "q"],
    ]);
    assertEquals(told.code, 0);
    checkRestored(told);
    const [first, second, third] = told.texts;
    assertStringIncludes(first, "The only server is up");
    assertStringIncludes(first, formatAddress(server.address));
    assert(first.startsWith(ENTERED), JSON.stringify(first.slice(0, 40)));
    assertStringIncludes(second, "\x1b[?2026h");
    assertStringIncludes(third, "by name");
  },
});

for (
  const [how, step] of [["Ctrl-C", ["type", "\x03"]], ["SIGTERM", ["signal", "SIGTERM"]], ["SIGINT", ["signal", "SIGINT"]]] as const
) {
  Deno.test({
    ...await needing(`top gives the terminal back at ${how}`, "python3", "pseudo-terminals"),
    async fn() {
      await using place = await makePlace();
      await startPool(place);
      const told = await onTerminal(place, [["await", "The pool is empty"], step]);
      assertEquals(told.code, 0);
      checkRestored(told);
    },
  });
}

Deno.test({
  ...await needing(
    "top says that the daemon has gone, goes on with the next one, and drains with --write",
    "python3",
    "pseudo-terminals",
  ),
  async fn() {
    await using place = await makePlace();
    await using server = startServer(echo);
    await startPool(place, server.address);
    const { host, port } = server.address;
    const ctl = (...args: string[]) => ["run", [place.program("balancerctl"), ...args]] as const;
    const told = await onTerminal(
      place,
      [
        ["await", "The only server is up"],
        ctl("stop"),
        ["await", 'No balancer "default" is running'],
        ctl("start", "127.0.0.1", "0", "--check", "off"),
        ["await", "The only server is up"],
        ["type", "d"],
        ["await", `Drain ${formatAddress({ host, port })}? It has no open connections`],
        ["type", "y"],
        ["await", "is draining since"],
        ["type", "q"],
      ],
      "--write",
      "--interval",
      "200ms",
    );
    assertEquals(told.code, 0);
    checkRestored(told);
    assertStringIncludes(told.texts[1], "No news since");
    const { servers } = JSON.parse(await place.do("list", "--json"));
    assertEquals(servers[0].state, "draining");
  },
});

Deno.test("top --once prints a frame of its size into a pipe, without codes", async () => {
  await using place = await makePlace();
  await using server = startServer(echo);
  await startPool(place, server.address);
  const text = await place.do("top", "--once", "--size", "80x24");
  const lines = text.trimEnd().split("\n");
  assert(lines.length <= 24 && lines.every((line) => Array.from(line).length <= 80), text);
  assertStringIncludes(lines[1], "The only server is up");
  assertStringIncludes(text, formatAddress(server.address));
  assert(!text.includes("\x1b"), JSON.stringify(text));
  assert(/^[ -~\n]*$/.test(await place.do("top", "--once", "--ascii")));
  assertStringIncludes(await place.do("top", "--once", "--size", "20x5"), "Too small: 20");
  assertStringIncludes(await place.do("top", "--once", "--color", "always"), "\x1b[1m");
});

Deno.test({
  ...await needing("top refuses a terminal without codes, and says what works there", "python3", "pseudo-terminals"),
  async fn() {
    await using place = await makePlace();
    await startPool(place);
    const script = `${import.meta.dirname}/pseudo_terminal.py`;
    const words = [script, "80", "24", '[["await","once"]]', place.program("balancerctl"), "top"];
    const env = { ...place.env, TERM: "dumb" };
    const { stdout, stderr } = await outcomeOf(new Deno.Command("python3", { args: words, env, stdin: "null" }));
    assertEquals(stderr, "");
    const { code, texts } = JSON.parse(stdout) as Told;
    assertEquals(code, 2);
    assertStringIncludes(texts.join(""), 'Cannot show top on a terminal of the type "dumb"; use balancerctl top --once');
  },
});

/** Bad input: words, exit code, what the sentence says. */
const MISTAKES: readonly [words: readonly string[], code: number, says: string][] = [
  [["top"], 2, "Cannot show top: standard output is no terminal; use balancerctl top --once"],
  [["top", "--once", "--size", "80"], 2, 'Size "80" is not COLUMNSxROWS, each from 1 to 1000, such as 80x24'],
  [["top", "--once", "--size", "0x24"], 2, 'Size "0x24"'],
  [["top", "--once", "--size", "80x24x3"], 2, 'Size "80x24x3"'],
  [["top", "--size", "80x24"], 2, "Cannot use --size without --once"],
  [["top", "--once", "--interval", "soon"], 2, 'Interval "soon"'],
  [["top", "--interval", "1ms"], 2, 'Interval "1ms"'],
  [["top", "--once"], 3, 'No balancer "default" is running'],
  [["top", "--once", "10.0.0.1"], 2, 'Unexpected argument "10.0.0.1"'],
];

Deno.test("each mistake is answered with a sentence", async () => {
  await using place = await makePlace();
  for (const [words, expected, says] of MISTAKES) {
    const { code, stderr, stdout } = await place.ctl(...words);
    assertEquals([code, stdout], [expected, ""], stderr);
    assertStringIncludes(stderr, says);
  }
});
