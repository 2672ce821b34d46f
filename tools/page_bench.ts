/**
 * How smooth the dashboard's page is, and what memory its script takes after minutes: `deno task bench:page`. The page of this
 * checkout in a Chromium, fed once a second by a story in which every server changes every second; once a minute a server is lost
 * or comes back, and somebody looks at the past, at the connections and at a plan. The measured tables are in docs/dashboard.md.
 */

// deno-lint-ignore-file no-console -- a tool speaks to its user

import type { CDPSession, Page } from "playwright-core";
import { delay } from "@std/async";
import { parseArgs } from "@std/cli";
import { CHROMIUM, openPage, startBrowser } from "../tests/page/browsers.ts";
import type { PageServer } from "../tests/page/page_server.ts";
import { Story } from "../tests/page/story.ts";

/** What the page has behind it when it is opened. */
const PAST_S = 900;
/** Frames are looked at for so long, while nobody touches the page. */
const FRAMES_S = 30;
/** Between the opening of the page and that. */
const SETTLE_S = 5;
const SECOND_MS = 1000;
/** A server whose place says that it is lost and comes back. */
const LOST = 2;

const DEFAULTS = { servers: "1000", connections: "200000", minutes: "1,5,10" } as const;

interface Options {
  readonly servers: number;
  readonly connections: number;
  /** The minutes at which memory is measured, in order. */
  readonly minutes: readonly number[];
}

function parseOptions(argv: readonly string[]): Options {
  const parsed = parseArgs([...argv], {
    string: Object.keys(DEFAULTS),
    unknown: (text) => {
      throw new Error(`${text} is no option; there are --servers N, --connections N and --minutes N,N`);
    },
  });
  const text = (name: keyof typeof DEFAULTS) => parsed[name] as string | undefined ?? DEFAULTS[name];
  return {
    servers: numberOf(text("servers")),
    connections: numberOf(text("connections")),
    minutes: text("minutes").split(",").map(numberOf),
  };
}

function numberOf(text: string): number {
  if (/^[1-9][0-9]{0,6}$/.test(text)) return Number(text);
  throw new Error(`${JSON.stringify(text)} is not a whole number from 1 to 9999999`);
}

/** Lets the story go on once a second until it is disposed of. */
function startClock(server: PageServer): Disposable {
  const timer = setInterval(() => server.pass(1), SECOND_MS);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** The times between the frames of so many seconds, sorted, in milliseconds. */
async function measureFrames(page: Page, seconds: number): Promise<number[]> {
  const times = await page.evaluate<number[]>(`new Promise((resolve) => {
    const times = [];
    const take = (now) => {
      times.push(now);
      if (now - times[0] < ${seconds * SECOND_MS}) requestAnimationFrame(take);
      else resolve(times);
    };
    requestAnimationFrame(take);
  })`);
  return times.slice(1).map((time, i) => time - times[i]).sort((a, b) => a - b);
}

/** What the page holds after its garbage is collected. */
async function measureMemory(cdp: CDPSession): Promise<{ heapBytes: number; nodes: number; listeners: number }> {
  await cdp.send("HeapProfiler.collectGarbage");
  const { usedSize, backingStorageSize } = await cdp.send("Runtime.getHeapUsage"); // typed arrays are not in the heap itself
  const { nodes, jsEventListeners } = await cdp.send("Memory.getDOMCounters");
  return { heapBytes: usedSize + backingStorageSize, nodes, listeners: jsEventListeners };
}

/** What a person does in a minute: looks at the connections, at a plan and at a moment of the past, and comes back. */
async function useThePage(page: Page, server: string): Promise<void> {
  await page.locator("#connections").scrollIntoViewIfNeeded();
  await page.locator("table.connections tbody tr").first().waitFor();
  await page.getByLabel("If I").selectOption("drain");
  await page.locator("#what-if").getByLabel(/^server/).selectOption(server);
  await page.locator(".figures div").first().waitFor();
  await page.getByLabel("If I").selectOption("");
  await page.getByRole("slider").press("PageDown");
  await page.getByRole("slider").press("Escape");
  await page.evaluate("scrollTo(0, 0)");
}

async function main(options: Options): Promise<void> {
  if (CHROMIUM === undefined) throw new Error("Needs a Chromium, such as Debian's package chromium");
  const { servers, connections, minutes } = options;
  const story = new Story({ start: Math.floor(Date.now() / SECOND_MS) - PAST_S, servers, open: connections });
  story.pass(PAST_S);
  const [lost, kept] = [story.names[LOST], story.names[0]];
  const browser = await startBrowser();
  try {
    await using open = await openPage(browser, story);
    const { page, server, faults } = open;
    const startMs = Date.now();
    using _clock = startClock(server);
    const cdp = await page.context().newCDPSession(page);
    await delay(SETTLE_S * SECOND_MS);
    tellFrames(await measureFrames(page, FRAMES_S));
    for (let minute = 1; minute <= Math.max(...minutes); minute++) {
      if (minute % 2 === 1) story.kill(lost);
      else story.revive(lost);
      await useThePage(page, kept);
      await delay(startMs + minute * 60 * SECOND_MS - Date.now());
      if (minutes.includes(minute)) tellMemory(minute, await measureMemory(cdp));
    }
    if (faults.length > 0) throw new Error(`The page has complained: ${faults.join("; ")}`);
  } finally {
    await browser.close();
  }
}

function tellFrames(frames: readonly number[]): void {
  const part = (share: number) => frames[Math.min(frames.length - 1, Math.floor(share * frames.length))].toFixed(0);
  console.log(
    `${frames.length} frames in ${FRAMES_S} s: 95 of 100 within ${part(0.95)} ms, 99 of 100 within ${part(0.99)} ms, all within ${
      part(1)
    } ms`,
  );
}

function tellMemory(minute: number, { heapBytes, nodes, listeners }: Awaited<ReturnType<typeof measureMemory>>): void {
  console.log(`minute ${minute}: the script has ${(heapBytes / 1e6).toFixed(1)} MB, ${nodes} nodes, ${listeners} listeners`);
}

if (import.meta.main) {
  await main(parseOptions(Deno.args)).catch((error) => {
    console.error(`bench:page: ${error instanceof Error ? error.message : error}`);
    Deno.exit(1);
  });
}
