/** Chromium, where the machine has one, for the pictures of the page and for its tests. */

import type { Browser } from "playwright-core";

const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** Where Chromium is; undefined where there is none. */
export function findChromium(): string | undefined {
  return PLACES.find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  });
}

/** Starts the browser at this path. */
export async function startBrowser(path: string): Promise<Browser> {
  const { chromium } = await import("playwright-core");
  // Chromium's own sandbox needs rights that root in a container does not have
  return await chromium.launch({ executablePath: path, args: ["--no-sandbox", "--disable-gpu"] });
}
