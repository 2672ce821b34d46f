// Frames: as they look (tests/top/frames/, written anew with WRITE_FRAMES=1), and that none is wider or higher than its terminal.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { type Line, lineWidth, widthOf } from "../../lib/top/cells.ts";
import { composeFrame, SIZE_MIN } from "../../lib/top/frame.ts";
import { ASCII, UNICODE } from "../../lib/top/glyphs.ts";
import { shareRows } from "../../lib/top/layout.ts";
import { type Moment, poolRows, type Sort, SORTS } from "../../lib/top/moment.ts";
import { plainText } from "../../lib/top/screen.ts";
import { FIRST_VIEW, PANES, type View } from "../../lib/top/view.ts";
import { anyText } from "./any_text.ts";
import { type FixtureOptions, moment, NOW_MS } from "./fixture.ts";

const FRAMES = `${import.meta.dirname}/frames/`;

/** How a frame differs from the usual. */
interface FrameOptions {
  readonly view?: Partial<View>;
  readonly isAscii?: boolean;
  readonly isLost?: boolean;
  readonly isLive?: boolean;
  readonly mayWrite?: boolean;
}

function frame(of: Moment, [columns, rows]: readonly [number, number], options: FrameOptions = {}): Line[] {
  const view = { ...FIRST_VIEW, ...options.view };
  const why = 'No balancer "default" is running: start it with balancerctl start <inet_address> <inet_port>';
  return composeFrame(of, poolRows(of, view.sort, view.filter), view, {
    glyphs: options.isAscii ? ASCII : UNICODE,
    size: { columns, rows },
    nowMs: NOW_MS,
    lost: options.isLost ? { sinceMs: NOW_MS - 5000, why } : undefined,
    mayWrite: options.mayWrite ?? false,
    isLive: options.isLive ?? true,
  });
}

function textOf(lines: readonly Line[]): string {
  return lines.map(plainText).join("\n");
}

const question = { service: "default", server: "10.0.0.2:8001", draining: true };

/** Every frame that is kept: its name, the balancer, its size, and what else. */
const KEPT: readonly [name: string, balancer: FixtureOptions, size: readonly [number, number], options?: FrameOptions][] = [
  ["80x24", {}, [80, 24]],
  ["120x40", {}, [120, 40]],
  ["60x20", {}, [60, 20]],
  ["200x50", {}, [200, 50]],
  ["once_80x24", {}, [80, 24], { isLive: false }],
  ["ascii_80x24", {}, [80, 24], { isAscii: true }],
  ["well_80x24", { isHurt: false }, [80, 24]],
  ["lost_80x24", {}, [80, 24], { isLost: true }],
  ["help_80x24", {}, [80, 24], { view: { isHelp: true }, mayWrite: true }],
  ["question_60x20", {}, [60, 20], {
    view: { question: { ...question, effect: "Its 524 open connections can move" } },
    mayWrite: true,
  }],
  ["thousand_100x30", { servers: 1000 }, [100, 30]],
  ["connections_80x24", {}, [80, 24], { view: { pane: "connections" } }],
  ["events_60x20", { eventText: "Server 10.0.0.3:8001 answers again: 服务器 🔥\x1b[31m" }, [60, 20], { view: { pane: "events" } }],
  ["filter_80x24", {}, [80, 24], { view: { filter: "0.0.2" } }],
  ["small_20x5", {}, [20, 5]],
];

for (const [name, balancer, size, options] of KEPT) {
  Deno.test(`the frame ${name} looks as it did`, async () => {
    const text = `${textOf(frame(moment(balancer), size, options))}\n`;
    const path = `${FRAMES}${name}.txt`;
    if (Deno.env.get("WRITE_FRAMES") === "1") await Deno.writeTextFile(path, text);
    assertEquals(text, await Deno.readTextFile(path));
  });
}

Deno.test("clients that wait for a server stand beside the open ones", () => {
  assertStringIncludes(textOf(frame(moment({ waiting: 812 }), [80, 24])), "waiting 812");
});

const HURT = moment();
/** A balancer with texts that nobody has foreseen. */
const anyBalancer = fc.record({ reason: anyText(80), eventText: anyText(80), service: fc.constantFrom("default", "web") });
const anyView: fc.Arbitrary<Partial<View>> = fc.record({
  pane: fc.constantFrom(...PANES),
  sort: fc.constantFrom<Sort>(...SORTS),
  filter: fc.oneof(fc.constant(""), fc.constant("10."), anyText(20)),
  isTyping: fc.boolean(),
  isHelp: fc.boolean(),
  isPaused: fc.boolean(),
  selected: fc.constantFrom(undefined, "default 10.0.0.4:8001", "nobody"),
  offset: fc.nat(2000),
  notice: fc.option(anyText(80), { nil: undefined }),
  question: fc.option(fc.constant({ ...question, effect: "Of its 524 open connections 500 can move, 24 stay until they end" }), {
    nil: undefined,
  }),
});
const anySize = fc.tuple(fc.integer({ min: 1, max: 250 }), fc.integer({ min: 1, max: 80 }));

function checkFits(of: Moment, [columns, rows]: readonly [number, number], options: FrameOptions): void {
  const lines = frame(of, [columns, rows], options);
  assert(lines.length <= rows, `${lines.length} lines in ${rows} rows`);
  for (const line of lines) {
    const text = line.spans.map(({ text }) => text).join("");
    assert(lineWidth(line) <= columns, `${lineWidth(line)} cells in ${columns} columns: ${text}`);
    assert(!/[\p{C}\p{M}\p{Zl}\p{Zp}]/u.test(text), `not printable: ${JSON.stringify(text)}`);
    if (options.isAscii) assert(/^[ -~]*$/.test(text), `not ASCII: ${JSON.stringify(text)}`);
  }
}

Deno.test("no line is wider than the terminal, no frame higher, and every character printable, for any size and any text", () => {
  const flags = fc.record({ isAscii: fc.boolean(), isLost: fc.boolean(), isLive: fc.boolean(), mayWrite: fc.boolean() });
  fc.assert(
    fc.property(
      anyBalancer,
      anySize,
      anyView,
      flags,
      (balancer, size, view, flags) => checkFits(moment(balancer), size, { ...flags, view }),
    ),
    { numRuns: 40 },
  );
});

Deno.test("every size from 1 to 250 columns fits", () => {
  for (let columns = 1; columns <= 250; columns++) {
    checkFits(HURT, [columns, 24], {});
    checkFits(HURT, [columns, 1 + columns % 60], { view: { pane: PANES[columns % 5] } });
  }
});

Deno.test("a terminal that is too small is told so, and what it needs", () => {
  assertEquals(textOf(frame(HURT, [20, 5])), "Too small: 20×5; top\nneeds 40×10");
  assertEquals(textOf(frame(HURT, [20, 5], { isAscii: true })), "Too small: 20x5; top\nneeds 40x10");
  const least = frame(HURT, [SIZE_MIN.columns, SIZE_MIN.rows]);
  assertStringIncludes(textOf(least), "4 of 6 servers up");
  assertEquals(least.length, SIZE_MIN.rows);
});

Deno.test("the verdict comes before everything, in every size that is of use", () => {
  for (const size of [[40, 10], [60, 20], [80, 24], [200, 60]] as const) {
    const [, second] = frame(HURT, size);
    assertStringIncludes(plainText(second), "✗ 4 of 6 servers up");
  }
});

Deno.test("the selected server is in sight, wherever it is in a long list", () => {
  const of = moment({ servers: 300, isHurt: false });
  for (const server of ["10.0.0.1:8001", "10.0.0.150:8001", "10.0.1.100:8001"]) {
    const lines = frame(of, [80, 24], { view: { selected: `default ${server}` } });
    const selected = lines.filter(({ isSelected }) => isSelected);
    assertEquals(selected.length, 1);
    assertStringIncludes(plainText(selected[0]), server);
  }
});

Deno.test("an event that has no room for its end says that it goes on", () => {
  const endings = Array.from({ length: 30 }, (_, i) => {
    const text = textOf(frame(moment({ eventText: "Something else" }), [60, 16 + i]));
    return text.match(/✗ Server 10.0.0.3:8001 is down: connection( …|\n +refused)?/)?.[1]?.trim();
  });
  assertEquals(new Set(endings), new Set([undefined, "…", "refused"]));
  assert(endings.lastIndexOf(undefined) < endings.indexOf("…"), "it is not there, or it is there with its end or a mark");
});

Deno.test("a filter leaves what contains it, in all panes", () => {
  const text = textOf(frame(HURT, [120, 40], { view: { filter: "0.0.2:" } }));
  assertStringIncludes(text, "1 of 6 servers");
  const panes = text.slice(text.indexOf("1 Pool"));
  assert(!panes.includes("10.0.0.6:8001"), panes);
  assertStringIncludes(text, "only /0.0.2:");
});

Deno.test("rows are shared so that no pane has more than it wants, and none one row only", () => {
  assertEquals(shareRows(20, [9, 4, 5, 20]), [9, 4, 4, 3]);
  assertEquals(shareRows(8, [1000, 4, 4]), [5, 3, 0]);
  assertEquals(shareRows(100, [9, 4, 5, 20]), [9, 4, 5, 20]);
  fc.assert(fc.property(fc.nat(100), fc.array(fc.integer({ min: 2, max: 200 }), { minLength: 1, maxLength: 4 }), (rows, wants) => {
    const given = shareRows(rows, wants);
    assert(given.reduce((sum, one) => sum + one, 0) <= rows);
    for (const [i, one] of given.entries()) {
      assert(one <= wants[i]);
      assert(i === 0 || one === 0 || one >= Math.min(3, wants[i]), String(given));
    }
  }));
});

Deno.test("widths are those of a terminal", () => assertEquals(widthOf("10.0.0.3:8001 → 服"), 18));
