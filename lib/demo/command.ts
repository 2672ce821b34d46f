/** `balancerctl demo` as a row of the table of commands. What it does is loaded when it runs. */

import { type Command, command, type CommandContext } from "../control/commands.ts";
import type { DashboardWorld } from "../dashboard/command.ts";
import { parsePort } from "../values/address.ts";
import type { CommandInput } from "../values/command_line.ts";
import { OperatorError } from "../values/errors.ts";
import { EMPTY_STAGE, type Stage } from "./stage.ts";

/** The row. The demo is shown on the stage, or only its figures with `--json`; with `--dashboard` in a browser, too. */
export function demoCommand(stage: () => Stage, dashboard: () => DashboardWorld): Command {
  return command<unknown>({
    group: "Daemon",
    summary: "Run a self-contained demo",
    description:
      "Starts a balancer of its own with five servers and 100 clients, removes one server and kills another, and shows what " +
      "happens to the clients. Takes a few seconds and touches nothing else. With --dashboard it goes on until Ctrl-C: clients " +
      "come and go, servers are killed, drained and added again and again, and a page on this machine's loopback address shows it.",
    examples: ["balancerctl demo", "balancerctl demo --dashboard --open"],
    options: [
      { flag: "dashboard", summary: "go on until Ctrl-C, and show it in a browser" },
      { flag: "port", value: "N", default: "0", summary: "port of the page; 0: any free one" },
      { flag: "open", summary: "open the page in the browser" },
    ],
    reads: true,
    isNamed: false,
    act: (input, context) => act(input, context, stage, dashboard),
    print: () => "",
  });
}

async function act(
  { options }: CommandInput,
  context: CommandContext,
  stage: () => Stage,
  dashboard: () => DashboardWorld,
): Promise<unknown> {
  const { port, open, json } = options;
  if (options.dashboard === undefined) {
    if (port !== undefined) throw new OperatorError("usage", "Cannot use --port without --dashboard: only the page has a port");
    if (open !== undefined) throw new OperatorError("usage", "Cannot use --open without --dashboard: there is no page to open");
    const { playDemo } = await import("./demo.ts");
    return await playDemo(json === undefined ? stage() : EMPTY_STAGE, context.takeInterrupts());
  }
  if (json !== undefined) {
    throw new OperatorError(
      "usage",
      "Cannot use --json with --dashboard: that demo has no end and no figures; leave one of them out",
    );
  }
  const place = { port: parsePort(port ?? "0", 0), opens: open !== undefined };
  const { showLiveDemo } = await import("./live_demo.ts");
  return await showLiveDemo({
    ...place,
    world: dashboard(),
    stage: stage(),
    say: context.say,
    interrupted: context.takeInterrupts(),
  });
}
