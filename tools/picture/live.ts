/**
 * The pictures of what `balancerctl demo --dashboard` shows: its page in a browser, light and dark, and `balancerctl top` as a
 * film, both around the moment when a server is killed. `deno task picture:dashboard` makes them anew; that takes about three
 * minutes, because the page is to have a past.
 */

// deno-lint-ignore-file no-console -- a tool speaks to its user

import type { Page } from "playwright-core";
import { delay } from "@std/async";
import { EMPTY_WORLD } from "../../lib/dashboard/command.ts";
import { showLiveDemo } from "../../lib/demo/live_demo.ts";
import { EMPTY_STAGE } from "../../lib/demo/stage.ts";
import { findChromium, startBrowser } from "./browser.ts";
import { drawFilm } from "./film.ts";
import { shrinkPng } from "./png.ts";

const ROOT = `${import.meta.dirname}/../../`;
const PROGRAM = ["run", "-q", "--no-prompt", "-P=balancerctl", "--config", `${ROOT}deno.json`, `${ROOT}ctl.ts`];
const FILE_BYTES_MAX = 200_000;

/** The page's window. */
const WINDOW = { width: 1280, height: 800 };
const THEMES = ["light", "dark"] as const;
/** From the kill to the picture of the page: the bands have split, and the check has found the server down. */
const SETTLED_MS = 11_000;
/** From the start to the kill: the bands of the page begin at its left edge, and the arrival of the clients is out of sight. */
const STEADY_MS = 135_000;

/** The terminal of the film; its frames before and after the kill, one every two seconds. */
const TERMINAL = { columns: 80, rows: 24 };
const FRAMES = { before: 3, after: 11, everyMs: 2000, shownS: 1.2 };
/** The frame of those who want no motion: some seconds after the kill. */
const STILL = FRAMES.before + 4;

/** The demo, while it runs: what it has said, and how it is ended. */
interface Demo extends AsyncDisposable {
  /** Resolves with the match when the text that it has said matches. */
  said(text: RegExp): Promise<RegExpMatchArray>;
}

function startDemo(): Demo {
  const end = new AbortController();
  let text = "";
  const hear = (line: string) => void (text += `${line}\n`);
  const demo = showLiveDemo({
    port: 0,
    opens: false,
    steadyMs: STEADY_MS,
    world: { ...EMPTY_WORLD, write: hear },
    stage: { ...EMPTY_STAGE, scene: hear, say: hear },
    say: hear,
    interrupted: end.signal,
  });
  const ended = demo.then(() => {
    throw new Error(`The demo ended early:\n${text}`);
  });
  ended.catch(() => {}); // told to who waits for a text
  return {
    async said(pattern) {
      for (;;) {
        const match = text.match(pattern);
        if (match !== null) return match;
        await Promise.race([ended, delay(100)]);
      }
    },
    async [Symbol.asyncDispose]() {
      end.abort();
      await demo;
    },
  };
}

/** One frame of `top`, in colours. */
async function frameOfTop(folder: string): Promise<string> {
  const size = `${TERMINAL.columns}x${TERMINAL.rows}`;
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: [...PROGRAM, "top", "--once", "--size", size, "--color", "always", "--name", "demo"],
    env: { XDG_RUNTIME_DIR: folder, LC_ALL: "C.UTF-8" },
    stderr: "inherit",
  }).output();
  if (!success) throw new Error("balancerctl top failed");
  return new TextDecoder().decode(stdout);
}

/** Frames of `top` around the moment at which the promise resolves. */
async function film(folder: string, moment: Promise<unknown>): Promise<string[]> {
  const frames: string[] = [];
  let kept: number | undefined;
  void moment.then(() => kept = FRAMES.before + FRAMES.after);
  while (kept === undefined || frames.length < kept) {
    const pause = delay(FRAMES.everyMs);
    if (kept === undefined) frames.splice(0, Math.max(0, frames.length - FRAMES.before + 1));
    frames.push(await frameOfTop(folder));
    await pause;
  }
  return frames;
}

/** The pictures of the page by their files. */
async function takePictures(page: Page): Promise<[file: string, png: Uint8Array][]> {
  const pictures: [string, Uint8Array][] = [];
  for (const theme of THEMES) {
    await page.emulateMedia({ colorScheme: theme, reducedMotion: "reduce" });
    await page.waitForTimeout(500);
    pictures.push([`docs/dashboard-${theme}.png`, shrinkPng(await page.screenshot())]);
  }
  return pictures;
}

async function save(file: string, bytes: Uint8Array): Promise<void> {
  await Deno.writeFile(ROOT + file, bytes);
  if (bytes.length > FILE_BYTES_MAX) throw new Error(`${file} has ${bytes.length} bytes; a picture has ${FILE_BYTES_MAX} at most`);
}

async function main(): Promise<void> {
  const path = findChromium();
  if (path === undefined) {
    throw new Error("Needs a Chromium, such as Debian's package chromium: the picture is one of the real page");
  }
  await using demo = startDemo();
  const [, folder] = await demo.said(/XDG_RUNTIME_DIR=(\S+)/);
  const [link] = await demo.said(/http:\S+/);
  const browser = await startBrowser(path);
  try {
    const page = await browser.newPage({ viewport: WINDOW });
    await page.goto(link);
    await page.getByRole("button", { name: "2 min" }).click();
    await demo.said(/All servers are up/);
    const kill = demo.said(/is killed/);
    const filming = film(folder, kill);
    await kill;
    await delay(SETTLED_MS);
    const pictures = await takePictures(page);
    const title = "balancerctl top while a server is killed: its connections move to the other servers";
    const svg = drawFilm({ frames: await filming, columns: TERMINAL.columns, frameS: FRAMES.shownS, still: STILL, title });
    for (const [file, bytes] of [...pictures, ["docs/top.svg", new TextEncoder().encode(svg)] as const]) await save(file, bytes);
  } finally {
    await browser.close();
  }
}

if (import.meta.main) {
  await main().catch((error) => {
    console.error(`picture:dashboard: ${error instanceof Error ? error.message : error}`);
    Deno.exit(1);
  });
}
