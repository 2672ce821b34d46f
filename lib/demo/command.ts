/** `balancerctl demo` as a row of the table of commands. */

import { type Command, command } from "../control/commands.ts";
import { playDemo } from "./demo.ts";
import { EMPTY_STAGE, type Stage } from "./stage.ts";

/** The row; the demo is shown on the stage, unless `--json` asks for its figures alone. */
export function demoCommand(stage: () => Stage): Command {
  return command({
    summary: "Watch a balancer of its own, five servers and 100 clients, for a few seconds; touches nothing else",
    reads: true,
    isNamed: false,
    act: ({ options }, { takeInterrupts }) => playDemo(options.json === undefined ? stage() : EMPTY_STAGE, takeInterrupts()),
    print: () => "",
  });
}
