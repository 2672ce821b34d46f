/** Serves the dashboard's page with a story behind it: what the bridge does, with the same answers and the same policy. */

import type { PoolChange } from "../../lib/routing/plan.ts";
import type { LiveMessages } from "../../lib/page/model/contract.ts";
import { changesBetween, pictureOf } from "../../lib/dashboard/live_changes.ts";
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
  /** Changes that were asked for: method, path, query, type, and the body. */
  readonly changes: string[];
}

const encoder = new TextEncoder();

/** Serves on a free port of loopback. `writes`: what the page asks to be changed is done. */
export async function servePage(
  html: string,
  story: Story,
  { port = 0, writes = false }: { readonly port?: number; readonly writes?: boolean } = {},
): Promise<PageServer> {
  const policy = await policyOf(html);
  const streams = new Set<ReadableStreamDefaultController<Uint8Array>>();
  const asked: string[] = [];
  const changes: string[] = [];
  let isLost = false;
  let told = story.events.length;
  const look = () => pictureOf({ status: story.status(), servers: [{ service: story.service, ...story.servers() }] });
  let before = look();
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
    writes,
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
  const server = Deno.serve({ hostname: "127.0.0.1", port, onListen: () => {} }, async (request) => {
    const url = new URL(request.url);
    asked.push(url.pathname);
    if (isLost) return new Response("gone", { status: 503 });
    if (url.pathname === "/live") return live();
    if (url.pathname === "/") {
      return new Response(html, { headers: { "content-type": "text/html; charset=utf-8", "content-security-policy": policy } });
    }
    if (request.method === "GET") return answer(story, url);
    const body = await request.text();
    changes.push(`${request.method} ${url.pathname}${url.search} ${request.headers.get("content-type")} ${body}`);
    return change(story, request.method, url, body);
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}/`,
    asked,
    changes,
    pass(seconds) {
      for (let i = 0; i < seconds; i++) {
        story.pass(1);
        for (; told < story.events.length; told++) send(streams, "event", story.events[told]);
        const now = look();
        const at = new Date(1000 * story.now).toISOString();
        send(streams, "second", { at, ...changesBetween(before, now), series: story.series({ seconds: 1 }) });
        before = now;
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
    return refused("usage", (error as Error).message, 400);
  }
}

/** Changes the pool, or a connection, as the API does. */
function change(story: Story, method: string, { pathname }: URL, body: string): Response {
  const [, , what, name, verb] = pathname.split("/").map(decodeURIComponent);
  return what === "connections" ? part(story, name, verb, JSON.parse(body)) : changeServer(story, method, name, body);
}

function changeServer(story: Story, method: string, server: string, body: string): Response {
  const open = story.servers().servers.find((one) => one.server === server)?.open;
  if (open === undefined) return refused("unknown", `Server ${server} is not in the pool`, 404);
  if (method === "DELETE") {
    story.remove(server);
    return Response.json({ server, open, moved: open, ended: 0 });
  }
  if (JSON.parse(body).draining) story.drain(server);
  else story.undrain(server);
  return Response.json(story.servers().servers.find((one) => one.server === server));
}

function part(story: Story, id: string, verb: string, body: { server?: string; force?: boolean }): Response {
  try {
    return Response.json(verb === "close" ? story.closeConnection(id) : story.moveConnection(id, body));
  } catch (error) {
    const { message } = error as Error;
    return message.includes("is not open") ? refused("unknown", message, 404) : refused("conflict", message, 409);
  }
}

function refused(kind: string, message: string, status: number): Response {
  return Response.json({ error: { kind, message } }, { status });
}

function changeOf({ change, server, weight = "1" }: Record<string, string>): PoolChange | undefined {
  if (change === undefined) return undefined;
  return change === "remove" ? { kind: "remove", server } : { kind: change as "add" | "weight", server, weight: Number(weight) };
}
