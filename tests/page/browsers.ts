/** A real browser for the tests of the page: Chromium, where the machine has one. */

import type { Browser, Page } from "playwright-core";
import { findChromium, startBrowser as start } from "../../tools/picture/browser.ts";
import { makePage } from "../../tools/page.ts";
import { type PageServer, servePage } from "./page_server.ts";
import type { Story } from "./story.ts";

/** Where Chromium is; undefined where there is none: then the tests that need it are ignored. */
export const CHROMIUM: string | undefined = findChromium();

/** As a person with a busy machine would wait. */
export const PATIENCE_MS = 20_000;

/** How a page is opened. */
export interface Opening {
  readonly width?: number;
  readonly height?: number;
  readonly theme?: "light" | "dark";
  readonly reducedMotion?: boolean;
  /** Whether the page may change the pool. */
  readonly writes?: boolean;
}

/** A page with a story behind it. */
export interface OpenPage extends AsyncDisposable {
  readonly page: Page;
  readonly server: PageServer;
  /** What went wrong in the page: errors, and what its policy has refused. */
  readonly faults: string[];
  /** Everything that it asked for, anywhere. */
  readonly requests: string[];
}

/** Starts the browser. */
export async function startBrowser(): Promise<Browser> {
  return await start(CHROMIUM!);
}

let html: Promise<string> | undefined;

/** Opens the page, made of its sources, on a story, and waits until it shows the pool. */
export async function openPage(browser: Browser, story: Story, opening: Opening = {}): Promise<OpenPage> {
  const { width = 1280, height = 800, theme = "light", reducedMotion = false, writes = false } = opening;
  const server = await servePage(await (html ??= makePage()), story, { writes });
  const page = await browser.newPage({
    viewport: { width, height },
    colorScheme: theme,
    reducedMotion: reducedMotion ? "reduce" : "no-preference",
    acceptDownloads: true,
  });
  page.setDefaultTimeout(PATIENCE_MS);
  const faults: string[] = [];
  const requests: string[] = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" && !/status of (400|404|409|503)|ERR_/.test(message.text())) faults.push(message.text());
  });
  page.on("request", (request) => requests.push(request.url()));
  await page.goto(server.url);
  await page.waitForSelector("table.pool tbody th");
  await page.waitForSelector("#events li, #events .none:not([hidden])");
  return {
    page,
    server,
    faults,
    requests,
    async [Symbol.asyncDispose]() {
      await page.close();
      await server[Symbol.asyncDispose]();
    },
  };
}
