/** What a browser without a session is shown: why, and where the operator has given a token, a form for it. Needs no script. */

import { policyOf } from "./page.ts";

const STYLE = "body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem;color-scheme:light dark}" +
  "input,button{font:inherit;padding:.3rem .6rem}input{width:100%;box-sizing:border-box;margin:.3rem 0 .8rem}";
const FORM = `<form method="post" action="/login"><label for="token">Token</label>` +
  `<input id="token" name="token" type="password" autocomplete="current-password" required autofocus><button>Open</button></form>`;

/** Where the form goes. */
export const LOGIN_PATH = "login";

/** A small page as an answer. `text` is trusted: it is written here and nowhere else. */
interface SmallPage {
  readonly text: string;
  readonly status: number;
  /** Whether there is a form for the token. */
  readonly hasForm?: boolean;
  /** Whether the browser goes on to the dashboard. */
  readonly goesOn?: boolean;
}

/** The page as an answer. */
export async function smallPage({ text, status, hasForm = false, goesOn = false }: SmallPage): Promise<Response> {
  const html = `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">` +
    `<title>balancer</title><style>${STYLE}</style><main><h1>balancer</h1><p>${text}</p>${hasForm ? FORM : ""}</main></html>`;
  const headers = new Headers({ "content-type": "text/html; charset=utf-8", "content-security-policy": await policyOf(html) });
  // Without a referrer, a browser says of a form that it came from nowhere (Fetch Standard, section 3.2).
  if (hasForm) headers.set("referrer-policy", "same-origin");
  if (goesOn) headers.set("refresh", "0;url=/");
  return new Response(html, { status, headers });
}
