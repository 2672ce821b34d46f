/** `balancerctl dashboard` as a row of the table of commands. What serves it is loaded when it runs. */

import { type Command, command, type CommandContext } from "../control/commands.ts";
import type { CommandInput } from "../values/command_line.ts";
import { parsePort } from "../values/address.ts";

/** What the command needs of the program. */
export interface DashboardWorld {
  /** Writes a line to standard output now. */
  readonly write: (line: string) => void;
  /** Each time that somebody presses Enter; ends with standard input. */
  readonly presses: () => AsyncIterable<unknown>;
  /** Opens the URL in the person's browser; may resolve no sooner than that is closed. Rejects with an operator error. */
  readonly browse: (url: string) => Promise<void>;
  /** Gives up what a program that serves need not do: run others. */
  readonly giveUp: () => Promise<void>;
}

/** The world of who only shows the row. */
export const EMPTY_WORLD: DashboardWorld = {
  write: () => {},
  presses: async function* () {},
  browse: () => Promise.resolve(),
  giveUp: () => Promise.resolve(),
};

/** The row. */
export function dashboardCommand(world: () => DashboardWorld): Command {
  return command({
    group: "Observe",
    summary: "Show the balancer in a browser",
    description:
      "Serves a page on this machine's loopback address, for as long as it runs, and prints a link that works once and for ten " +
      "minutes; Enter prints another. It changes nothing without --write. Ctrl-C ends it.",
    examples: ["balancerctl dashboard --open", "balancerctl dashboard --port 8090 --write"],
    options: [
      { flag: "port", value: "N", default: "0", summary: "port to serve on; 0: any free one" },
      { flag: "open", summary: "open the link in the browser" },
      { flag: "write", summary: "let the page change the pool: add, drain, remove" },
    ],
    act: (input, context) => serve(input, context, world()),
    print: (lines) => lines.join("\n"),
  });
}

async function serve({ options }: CommandInput, context: CommandContext, world: DashboardWorld): Promise<string[]> {
  const port = parsePort(options.port ?? "0", 0);
  await context.client.status(); // a mistyped name is told now
  const { serveDashboard } = await import("./local_dashboard.ts");
  const switches = { port, opens: options.open !== undefined, writes: options.write !== undefined };
  return await serveDashboard({ ...switches, ...world, ...context, interrupted: context.takeInterrupts() });
}
