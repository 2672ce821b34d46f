/** The servers behind the contenders: one of its own for each, so that none meets what another left behind. */

import { webConfiguration } from "./configurations.ts";
import { isListening } from "./measure.ts";
import type { Place } from "./place.ts";
import { freePort, Service } from "./processes.ts";
import { serverCommand } from "./talk.ts";
import type { ToolName } from "./tools.ts";

/** A server that runs. */
export interface Backend extends AsyncDisposable {
  readonly port: number;
  /** Where it expects connections to begin with a PROXY header, if it can. */
  readonly proxyPort?: number;
}

interface BackendKind {
  readonly tool?: ToolName;
  start(place: Place, name: string, workers: number): Promise<Backend>;
}

const ROWS = {
  /** A web server with one small answer. */
  web: { tool: "nginx", start: startWeb },
  /** The server side of iperf3, one test after the other. */
  iperf3: { tool: "iperf3", start: startIperf3 },
  /** Sends each client a banner at once, and closes when it leaves. */
  greeter: { tool: "cc", start: (place: Place) => startTalk(place, "greet") },
  /** Answers small requests on connections that stay: less than a web server does, so that the proxy is more of the whole. */
  answerer: { tool: "cc", start: (place: Place) => startTalk(place, "answer") },
  /** Answers a byte with a byte and holds the connection. */
  holder: { start: startHolder },
} satisfies Record<string, BackendKind>;

/** A row of BACKENDS. */
export type BackendName = keyof typeof ROWS;

/** The kinds of servers. */
export const BACKENDS: Readonly<Record<BackendName, BackendKind>> = ROWS;

/** A server and where it listens, once it does. It is ended if it does not. */
export async function listening(service: Service, port: number, signal: AbortSignal): Promise<Backend & { pid: number }> {
  await using stack = new AsyncDisposableStack();
  stack.use(service);
  await service.until(() => isListening(port), signal);
  const kept = stack.move();
  return { port, pid: service.pid, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** The command line of an nginx that lives in a folder, whose `nginx.conf` this writes. */
export async function nginxCommand(place: Place, name: string, configuration: string): Promise<readonly string[]> {
  const folder = await place.subfolder(name);
  await Deno.writeTextFile(`${folder}/nginx.conf`, configuration);
  return [place.tools.nginx?.path ?? "nginx", "-p", folder, "-c", "nginx.conf", "-e", "stderr"];
}

async function startWeb(place: Place, name: string, workers: number): Promise<Backend> {
  const port = freePort();
  const proxyPort = freePort();
  const text = webConfiguration({ port, proxyPort, workers, openFiles: place.openFiles });
  const words = await nginxCommand(place, `${name}-web`, text);
  return { ...await listening(new Service({ words }), port, place.signal), proxyPort };
}

async function startIperf3(place: Place): Promise<Backend> {
  const port = freePort();
  const words = [place.tools.iperf3?.path ?? "iperf3", "-s", "-B", "127.0.0.1", "-p", String(port)];
  return await listening(new Service({ words }), port, place.signal);
}

async function startTalk(place: Place, kind: "greet" | "answer"): Promise<Backend> {
  return await tellingItsPort(new Service({ words: await serverCommand(place, kind) }), place.signal);
}

async function startHolder({ signal }: Place): Promise<Backend> {
  return await tellingItsPort(new Service(holderCommand("server")), signal);
}

/** A server whose first line is its port. */
async function tellingItsPort(service: Service, signal: AbortSignal): Promise<Backend> {
  await using stack = new AsyncDisposableStack();
  stack.use(service);
  const port = Number(await service.line(1, signal));
  const kept = stack.move();
  return { port, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** The command line of holder.ts. */
export function holderCommand(...args: string[]): { words: readonly string[] } {
  const script = `${import.meta.dirname}/holder.ts`;
  return { words: [Deno.execPath(), "run", "-q", "--no-prompt", "--no-config", "--allow-net=127.0.0.1", script, ...args] };
}
