/** The contenders: how each is started between a port and the server behind it, and ended. */

import { type Backend, listening, nginxCommand } from "./backends.ts";
import { balancerArguments, haproxyConfiguration, nginxConfiguration } from "./configurations.ts";
import type { Place } from "./place.ts";
import { freePort, runTool, Service } from "./processes.ts";
import type { ToolName } from "./tools.ts";

/** How long `balancerctl add` may take, unpacking included. */
const ADD_MAX_MS = 20_000;

/** What a contender is started with. */
export interface Setting {
  readonly place: Place;
  /** Unlike that of any other process of the run: for files, and as a balancer's `--name`. */
  readonly name: string;
  readonly backendPort: number;
  readonly workers: number;
  readonly isBulk: boolean;
}

/** A contender that runs: where clients connect, and whose CPU counts. */
export interface Running extends Backend {
  readonly pid?: number;
}

interface Contender {
  /** For tables. */
  readonly title: string;
  readonly tool?: ToolName;
  start(setting: Setting): Promise<Running>;
}

const ROWS = {
  direct: { title: "direct (no proxy)", start: startDirect },
  epoll: { title: "balancer, epoll", start: (setting: Setting) => startOurs("epoll", setting) },
  streams: { title: "balancer, streams", start: (setting: Setting) => startOurs("streams", setting) },
  haproxy: { title: "HAProxy", tool: "haproxy", start: startHaproxy },
  nginx: { title: "nginx", tool: "nginx", start: startNginx },
} satisfies Record<string, Contender>;

/** A row of CONTENDERS. */
export type ContenderName = keyof typeof ROWS;

/** Every contender. */
export const CONTENDERS: Readonly<Record<ContenderName, Contender>> = ROWS;

function startDirect({ backendPort }: Setting): Promise<Running> {
  return Promise.resolve({ port: backendPort, [Symbol.asyncDispose]: () => Promise.resolve() });
}

/** Ours prints its address when clients can connect; its server is added over its control socket. */
async function startOurs(engine: "epoll" | "streams", { place, name, backendPort, workers }: Setting): Promise<Running> {
  const { programs, env, signal, folder } = place;
  await using stack = new AsyncDisposableStack();
  const words = [...programs.balancer, ...balancerArguments(engine, { port: freePort(), workers }), "--name", name];
  const service = stack.use(new Service({ words, env, cwd: folder }));
  const port = Number((await service.firstLine(signal)).replace(/^.*:/, ""));
  const add = [...programs.balancerctl, "add", "127.0.0.1", String(backendPort), "--name", name];
  await runTool({ words: add, env, cwd: folder }, { maxMs: ADD_MAX_MS, signal });
  const kept = stack.move();
  return { port, pid: service.pid, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

async function startHaproxy({ place, name, ...wiring }: Setting): Promise<Running> {
  const port = freePort();
  const path = `${await place.subfolder(name)}/haproxy.cfg`;
  await Deno.writeTextFile(path, haproxyConfiguration({ ...wiring, port, openFiles: place.openFiles }));
  const words = [place.tools.haproxy?.path ?? "haproxy", "-db", "-f", path];
  return await listening(new Service({ words }), port, place.signal);
}

async function startNginx({ place, name, ...wiring }: Setting): Promise<Running> {
  const port = freePort();
  const text = nginxConfiguration({ ...wiring, port, openFiles: place.openFiles }, await place.streamModule());
  return await listening(new Service({ words: await nginxCommand(place, name, text) }), port, place.signal);
}
