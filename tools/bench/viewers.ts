/**
 * People who watch a balancer while it is measured: each has a `balancerctl dashboard` of their own, and a browser on it that reads
 * its stream. Two people on one dashboard would cost the balancer less: it is asked once a second however many they are.
 */

import type { Place } from "./place.ts";
import { Service } from "./processes.ts";

/** A balancer that is watched. */
export interface Watched {
  readonly place: Place;
  /** Its `--name`. */
  readonly name: string;
}

/** A stream that has begun: the dashboard has asked the balancer for everything. */
const BEGUN = "event: snapshot";

/** Lets so many people watch the balancer of this name, until it is disposed of. Resolves once all see it. */
export async function startViewers({ place, name }: Watched, count: number): Promise<AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const viewers = await Promise.allSettled(Array.from({ length: count }, () => startViewer({ place, name })));
  for (const viewer of viewers) if (viewer.status === "fulfilled") stack.use(viewer.value);
  for (const viewer of viewers) if (viewer.status === "rejected") throw viewer.reason;
  const kept = stack.move();
  return { [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

async function startViewer({ place, name }: Watched): Promise<AsyncDisposable> {
  const { programs, env, folder, signal } = place;
  await using stack = new AsyncDisposableStack();
  const words = [...programs.balancerctl, "dashboard", "--name", name];
  const dashboard = stack.use(new Service({ words, env, cwd: folder }));
  const link = new URL(await dashboard.line(1, signal));
  stack.use(await readStream(link));
  const kept = stack.move();
  return { [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** Enters by the link, as a browser does, and reads the stream until it is disposed of. */
async function readStream(link: URL): Promise<AsyncDisposable> {
  const entered = await fetch(link, { redirect: "manual" });
  await entered.body?.cancel();
  const [cookie] = entered.headers.get("set-cookie")?.split(";") ?? [];
  if (cookie === undefined) throw new Error(`The dashboard's link is answered with ${entered.status} and no cookie`);
  const end = new AbortController();
  const response = await fetch(`${link.origin}/live`, { headers: { cookie }, signal: end.signal });
  const begun = Promise.withResolvers<void>();
  const ended = follow(response, () => begun.resolve()).catch(() => {}); // it is disposed of, or the dashboard has ended
  void ended.then(() => begun.reject(new Error("The dashboard's stream ended before it began")));
  await begun.promise;
  return {
    [Symbol.asyncDispose]: async () => {
      end.abort();
      await ended;
    },
  };
}

async function follow(response: Response, onBegun: () => void): Promise<void> {
  for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
    if (text.includes(BEGUN)) onBegun();
  }
}
