/**
 * Where the page's knowledge comes from: the stream `/live`, and answers of the API. A stream that ends is opened again, and what
 * was missed meanwhile is read.
 */

import type { BalancerEvent, LiveMessages, Series } from "../model/contract.ts";
import type { Deed } from "../model/deeds.ts";
import type { Desk } from "../model/desk.ts";
import { SECONDS } from "../model/history.ts";

/** Numbers that one answer may have: more would keep the browser busy. */
const NUMBERS_MAX = 600_000;
/** Columns of a server in a series. */
const COLUMNS = 14;
const STEP_MAX = 60;
/** Before a stream is opened again. */
const PAUSE_MS = 1000;
/** A stream that says nothing for so long is dead, whatever the browser believes. */
const SILENCE_MAX_MS = 20_000;

/** What was asked is not done: the sentence of the answer. */
export class Refusal extends Error {
  /** `kind` is the API's: usage, conflict, unknown …; undefined if whoever answered named none. */
  constructor(message: string, readonly kind: string | undefined) {
    super(message);
  }
}

/** Asks the API. Rejects with the sentence of the answer. */
export async function ask<T>(path: string, query: Readonly<Record<string, string>>): Promise<T> {
  return await send<T>(path, query, { headers: { accept: "application/json" } });
}

/** Changes something by the API. Rejects with the sentence of the answer. */
export async function tell<T>({ method, path, query, body }: Deed): Promise<T> {
  const headers = { accept: "application/json", "content-type": "application/json" };
  return await send<T>(path, query, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
}

async function send<T>(path: string, query: Readonly<Record<string, string>>, init: RequestInit): Promise<T> {
  const text = new URLSearchParams(query).toString();
  let response: Response;
  try {
    response = await fetch(text === "" ? path : `${path}?${text}`, { ...init, credentials: "same-origin" });
  } catch {
    throw new Error("The dashboard does not answer: is balancerctl dashboard still running?");
  }
  const answer = await response.json().catch(() => undefined) as { error?: { kind?: string; message?: string } } | undefined;
  if (response.ok && answer !== undefined) return answer as T;
  const { kind, message = `The dashboard answered with status ${response.status}` } = answer?.error ?? {};
  throw new Refusal(message, kind);
}

/** Feeds the desk from now on. `onNews` is called whenever it knows something new. */
export function feed(desk: Desk, onNews: () => void): void {
  let stream: EventSource | undefined;
  let silence = 0;
  const lose = (why: string) => {
    desk.trouble = why;
    onNews();
  };
  const listen = <Name extends keyof LiveMessages>(name: Name, take: (data: LiveMessages[Name]) => void) =>
    stream!.addEventListener(name, (message) => {
      heard();
      take(JSON.parse((message as MessageEvent<string>).data));
      onNews();
    });
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => {
      lose("The dashboard has said nothing for 20 seconds. Trying again");
      open();
    }, SILENCE_MAX_MS);
  };
  const open = () => {
    stream?.close();
    stream = new EventSource("/live");
    listen("snapshot", (snapshot) => {
      desk.takeSnapshot(snapshot);
      desk.trouble = null;
      void readPast(desk).then(onNews, (error: Error) => lose(error.message));
    });
    listen("second", (second) => desk.takeSecond(second));
    listen("event", (event) => desk.takeEvent(event));
    listen("gap", () => void readEvents(desk).then(onNews, () => {}));
    listen("daemon", ({ connected, why }) => desk.trouble = connected ? null : why ?? "The balancer does not answer");
    stream.addEventListener("error", () => {
      lose("The dashboard does not answer: is balancerctl dashboard still running? Trying again");
      clearTimeout(silence);
      silence = setTimeout(open, PAUSE_MS); // a browser gives up after some answers
    });
    heard();
  };
  open();
}

/** The last 15 minutes, in steps that keep the answers small. */
async function readPast(desk: Desk): Promise<void> {
  const series = desk.services.map((service) => {
    const numbers = desk.countServers(service) * COLUMNS * SECONDS;
    const step = Math.min(STEP_MAX, Math.max(1, Math.ceil(numbers / NUMBERS_MAX)));
    return ask<Series>("/v1/series", { service, seconds: String(SECONDS), step: String(step) }).then((series) =>
      desk.takeSeries(series)
    );
  });
  await Promise.all([...series, readEvents(desk)]);
}

async function readEvents(desk: Desk): Promise<void> {
  desk.takeEvents((await ask<{ events: BalancerEvent[] }>("/v1/events", { since: "15m", limit: "1000" })).events);
}
