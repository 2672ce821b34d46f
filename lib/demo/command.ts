/** `balancerctl demo` as a row of the table of commands. */

import { type Command, command } from "../control/commands.ts";
import { playDemo } from "./demo.ts";
import { EMPTY_STAGE, type Stage } from "./stage.ts";

/** The row. The demo is shown on the stage, or only its figures with `--json`. */
export function demoCommand(stage: () => Stage): Command {
  return command({
    group: "Daemon",
    summary: "Run a self-contained demo",
    description:
      "Starts a balancer of its own with five servers and 100 clients, removes one server and kills another, and shows what " +
      "happens to the clients. Takes a few seconds and touches nothing else.",
    reads: true,
    isNamed: false,
    act: ({ options }, { takeInterrupts }) => playDemo(options.json === undefined ? stage() : EMPTY_STAGE, takeInterrupts()),
    print: () => "",
  });
}
