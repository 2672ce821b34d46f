/**
 * The page that the dashboard serves, and its policy: what a browser may load and run with it. Everything is in the page itself, so
 * the policy names its script and its style by their digests, and allows nothing from anywhere else.
 */

import { PAGE_GZIP } from "./page_bundle.ts";

/** A page that takes longer to come than a person notices is too large: with it, a phone waits a second on 3G. */
export const PAGE_BYTES_MAX = 150_000;

/** The page as it is sent. */
export interface Page {
  /** UTF-8. */
  readonly html: string;
  /** The same, compressed. */
  readonly gzip: Uint8Array<ArrayBuffer>;
  /** The value of its Content-Security-Policy header. */
  readonly policy: string;
}

/** The page of this program. */
export async function readPage(): Promise<Page> {
  const gzip = Uint8Array.fromBase64(PAGE_GZIP); // ignores the ends of lines
  const html = await new Response(new Blob([gzip]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  return { html, gzip, policy: await policyOf(html) };
}

/** The Content-Security-Policy of a page: its own inline scripts and styles, requests to its own origin, and nothing else. */
export async function policyOf(html: string): Promise<string> {
  const [scripts, styles] = await Promise.all(["script", "style"].map((tag) => digestsOf(html, tag)));
  return [
    "default-src 'none'",
    `script-src ${scripts}`,
    `style-src ${styles}`,
    "connect-src 'self'",
    "img-src data: blob:", // the icon, and pictures that the page makes of itself
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join("; ");
}

/** The digests of the contents of all elements of this name (CSP level 3, section 2.3.1); `'none'` without one. */
async function digestsOf(html: string, tag: string): Promise<string> {
  const contents = [...html.matchAll(new RegExp(`<${tag}(?:\\s[^>]*)?>([^]*?)</${tag}>`, "gi"))].map(([, content]) => content);
  const digests = await Promise.all(contents.map(async (content) => {
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(content));
    return `'sha256-${new Uint8Array(digest).toBase64()}'`;
  }));
  return digests.join(" ") || "'none'";
}
