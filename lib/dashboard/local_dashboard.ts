/** The dashboard of `balancerctl dashboard`: served on loopback while the command runs, entered by links that it prints. */

import type { CommandContext } from "../control/commands.ts";
import { messageOf } from "../values/errors.ts";
import { Bridge } from "./bridge.ts";
import type { DashboardWorld } from "./command.ts";
import { linkTo } from "./daemon_link.ts";
import { readPage } from "./page.ts";

/** Viewers at a time. */
const VIEWERS_MAX = 1000;
const HOST = "127.0.0.1";

/** What `serveDashboard` needs. */
interface LocalOptions extends DashboardWorld, Pick<CommandContext, "client" | "name" | "say"> {
  readonly port: number;
  readonly opens: boolean;
  readonly writes: boolean;
  /** Ends it. */
  readonly interrupted: AbortSignal;
}

/** Serves the dashboard until it is interrupted. Returns what is worth saying at the end. Throws an operator error. */
export async function serveDashboard(options: LocalOptions): Promise<string[]> {
  const { client, name, port, writes, say, write, giveUp, interrupted } = options;
  let dropped = 0;
  await using bridge = await Bridge.open({
    address: { host: HOST, port },
    daemon: linkTo(client),
    page: await readPage(),
    writes,
    viewersMax: VIEWERS_MAX,
    onDrop: () => dropped++,
    onFault: (error) => say(`Internal error: ${messageOf(error)}`),
  });
  const link = await bridge.link();
  write(link);
  const may = writes ? "it may change the pool" : "read-only";
  say(
    `Serving the dashboard of balancer ${JSON.stringify(name)} (${may}); the link works once, Enter prints another, Ctrl-C ends it`,
  );
  if (options.opens) options.browse(link).catch((error) => say(messageOf(error)));
  await giveUp();
  void printLinks(bridge, options);
  await ended(interrupted);
  return dropped === 0 ? [] : [`Viewers that did not read and were dropped: ${dropped}`];
}

/** Prints a new link at each press of Enter, also after a used one: for another browser, or the same one a week later. */
async function printLinks(bridge: Bridge, { presses, write, interrupted }: LocalOptions): Promise<void> {
  for await (const _ of presses()) {
    if (interrupted.aborted) return;
    write(await bridge.link());
  }
}

async function ended(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) return;
  signal.addEventListener("abort", () => resolve(), { once: true });
  await promise;
}
