/** `balancerctl`: a command line becomes a row of COMMANDS, which asks the daemon and prints what it answered. */

// deno-lint-ignore-file no-console -- a program speaks to its user; the rest of the code logs

import deno from "./deno.json" with { type: "json" };
import { parseCommandLine, type ProgramSpec } from "./lib/command_line.ts";
import { type Command, COMMANDS, situationOf } from "./lib/control/commands.ts";
import { type Stage, textStage } from "./lib/demo/stage.ts";
import { ERROR_KINDS, EXIT, OperatorError } from "./lib/errors.ts";
import { describeVersion } from "./lib/packaging.ts";

const PROGRAM: ProgramSpec<Command> = {
  name: "balancerctl",
  summary: "balancerctl controls balancer, which spreads TCP clients over servers by consistent hashing.",
  version: describeVersion(deno.version),
  commands: COMMANDS,
};

async function main(argv: readonly string[]): Promise<number> {
  try {
    const parsed = parseCommandLine(PROGRAM, argv);
    if ("text" in parsed) return print(parsed.text);
    using situation = situationOf(parsed.input, { say: complain, stage: standardStage(), takeInterrupts });
    return print(await parsed.command.run(parsed.input, situation));
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    complain(error.message);
    return ERROR_KINDS[error.kind].exit;
  }
}

function print(text: string): number {
  if (text !== "") console.log(text);
  return EXIT.done;
}

function standardStage(): Stage {
  const isTerminal = Deno.stdout.isTerminal();
  const write = (text: string) => void Deno.stdout.writeSync(new TextEncoder().encode(text));
  return textStage(write, isTerminal, isTerminal && !Deno.noColor);
}

function takeInterrupts(): AbortSignal {
  const interrupted = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, () => interrupted.abort());
  return interrupted.signal;
}

function complain(sentence: string): void {
  console.error(`${PROGRAM.name}: ${sentence}`);
}

if (import.meta.main) Deno.exit(await main(Deno.args));
