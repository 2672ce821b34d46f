/** Serves the dashboard's page with a story behind it: what the bridge does, with the same answers and the same policy. */

import type { PoolChange } from "../../lib/routing/plan.ts";
import type { LiveMessages } from "../../lib/page/model/contract.ts";
import { policyOf } from "../../lib/dashboard/page.ts";
import type { Story } from "./story.ts";

/** A server of the page. */
export interface PageServer extends AsyncDisposable {
  readonly url: string;
  /** The story passes these seconds, and pages are told. */
  pass(seconds: number): void;
  /** Ends every stream, and refuses everything, until `back`. */
  lose(): void;
  back(): void;
  /** Tells pages that the daemon is gone, or there again. */
  tellDaemon(connected: boolean, why: string | null): void;
  /** Paths that were asked for. */
  readonly asked: string[];
}

const encoder = new TextEncoder();

/** Serves on a free port of loopback. */
export async function servePage(html: string, story: Story, port = 0): Promise<PageServer> {
  const policy = await policyOf(html);
  const streams = new Set<ReadableStreamDefaultController<Uint8Array>>();
  const asked: string[] = [];
  let isLost = false;
  let told = story.events.length;
  const send = <Name extends keyof LiveMessages>(
    to: Iterable<ReadableStreamDefaultController<Uint8Array>>,
    name: Name,
    data: LiveMessages[Name],
  ) => {
    const bytes = encoder.encode(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
    for (const stream of to) stream.enqueue(bytes);
  };
  const snapshot = (): LiveMessages["snapshot"] => ({
    at: new Date(1000 * story.now).toISOString(),
    writes: false,
    status: story.status(),
    servers: [{ service: story.service, ...story.servers() }],
  });
  const live = () => {
    let own: ReadableStreamDefaultController<Uint8Array>;
    return new Response(
      new ReadableStream<Uint8Array>({
        start(stream) {
          streams.add(own = stream);
          send([stream], "daemon", { connected: true, why: null });
          send([stream], "snapshot", snapshot());
        },
        cancel: () => void streams.delete(own),
      }),
      { headers: { "content-type": "text/event-stream", "cache-control": "no-store" } },
    );
  };
  const server = Deno.serve({ hostname: "127.0.0.1", port, onListen: () => {} }, (request) => {
    const url = new URL(request.url);
    asked.push(url.pathname);
    if (isLost) return new Response("gone", { status: 503 });
    if (url.pathname === "/live") return live();
    if (url.pathname === "/") {
      return new Response(html, { headers: { "content-type": "text/html; charset=utf-8", "content-security-policy": policy } });
    }
    return answer(story, url);
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}/`,
    asked,
    pass(seconds) {
      for (let i = 0; i < seconds; i++) {
        story.pass(1);
        for (; told < story.events.length; told++) send(streams, "event", story.events[told]);
        send(streams, "second", {
          at: new Date(1000 * story.now).toISOString(),
          status: story.status(),
          servers: [{ service: story.service, servers: story.servers().servers, gone: [] }],
          gone: [],
          series: story.series({ seconds: 1 }),
        });
      }
    },
    lose() {
      isLost = true;
      for (const stream of streams) stream.close();
      streams.clear();
    },
    back: () => void (isLost = false),
    tellDaemon(connected, why) {
      send(streams, "daemon", { connected, why });
      if (connected) send(streams, "snapshot", snapshot());
    },
    async [Symbol.asyncDispose]() {
      for (const stream of streams) stream.close();
      await server.shutdown();
    },
  };
}

/** Answers as the API does. */
function answer(story: Story, { pathname, searchParams }: URL): Response {
  const query = Object.fromEntries(searchParams);
  const routes: Readonly<Record<string, () => unknown>> = {
    "/v1/status": () => story.status(),
    "/v1/servers": () => story.servers(),
    "/v1/series": () => story.series({ seconds: Number(query.seconds), step: Number(query.step) }),
    "/v1/events": () => ({ startId: story.startId, first: 1, last: story.events.length, events: story.events }),
    "/v1/plan": () => story.plan(changeOf(query)!),
    "/v1/ring": () => story.ring(720, changeOf(query)),
    "/v1/explain": () => story.explain(query.client),
    "/v1/connections": () => story.connections(query),
  };
  try {
    if (!Object.hasOwn(routes, pathname)) throw new Error(`There is no ${pathname}`);
    return Response.json(routes[pathname]());
  } catch (error) {
    return Response.json({ error: { kind: "usage", message: (error as Error).message } }, { status: 400 });
  }
}

function changeOf({ change, server, weight = "1" }: Record<string, string>): PoolChange | undefined {
  if (change === undefined) return undefined;
  return change === "remove" ? { kind: "remove", server } : { kind: change as "add" | "weight", server, weight: Number(weight) };
}
