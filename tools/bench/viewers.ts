/**
 * People who watch a balancer while it is measured: each has a `balancerctl dashboard` of their own, and a browser on it that reads
 * its stream. Two people on one dashboard would cost the balancer less: it is asked once a second however many they are.
 */

import type { Place } from "./place.ts";
import { Service } from "./processes.ts";

/** A balancer that can be watched. */
export interface Watched {
  readonly place: Place;
  /** Its `--name`. */
  readonly name: string;
}

/** A dashboard, with somebody who is let in. While nobody watches it asks the balancer nothing. */
export interface Dashboard extends AsyncDisposable {
  /** Reads its stream until the result is disposed of. Resolves once the stream has begun. */
  watch(): Promise<AsyncDisposable>;
}

/** A stream that has begun: the dashboard has asked the balancer for everything. */
const BEGUN = "event: snapshot";

/** Lets so many people watch a balancer until the result is disposed of. Resolves once all see it. */
export async function startViewers(watched: Watched, count: number): Promise<AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  for (const dashboard of await startDashboards(watched, count, stack)) stack.use(await dashboard.watch());
  const kept = stack.move();
  return { [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** Starts so many dashboards; the stack takes them. */
export async function startDashboards(watched: Watched, count: number, stack: AsyncDisposableStack): Promise<Dashboard[]> {
  const started = await Promise.allSettled(Array.from({ length: count }, () => startDashboard(watched)));
  const dashboards = started.flatMap((one) => one.status === "fulfilled" ? [stack.use(one.value)] : []);
  for (const one of started) if (one.status === "rejected") throw one.reason;
  return dashboards;
}

async function startDashboard({ place, name }: Watched): Promise<Dashboard> {
  const { programs, env, folder, signal } = place;
  await using stack = new AsyncDisposableStack();
  const words = [...programs.balancerctl, "dashboard", "--name", name];
  const service = stack.use(new Service({ words, env, cwd: folder }));
  const link = new URL(await service.line(1, signal));
  const cookie = await enter(link);
  const kept = stack.move();
  return { watch: () => readStream(`${link.origin}/live`, cookie), [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** Enters by the link, as a browser does, and gives the session's cookie. */
async function enter(link: URL): Promise<string> {
  const response = await fetch(link, { redirect: "manual" });
  await response.body?.cancel();
  const [cookie] = response.headers.get("set-cookie")?.split(";") ?? [];
  if (cookie === undefined) throw new Error(`The dashboard's link is answered with ${response.status} and no cookie`);
  return cookie;
}

async function readStream(url: string, cookie: string): Promise<AsyncDisposable> {
  const end = new AbortController();
  const response = await fetch(url, { headers: { cookie }, signal: end.signal });
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
