/** `balancerctl`: a command line becomes a row of COMMANDS, which asks the daemon and prints what it answered. */

// deno-lint-ignore-file no-console -- a program speaks to its user; the rest of the code logs

import deno from "./deno.json" with { type: "json" };
import { parseCommandLine, type ProgramSpec } from "./lib/command_line.ts";
import { type Command, COMMANDS, situationOf } from "./lib/control/commands.ts";
import { ERROR_KINDS, EXIT, OperatorError } from "./lib/errors.ts";

const PROGRAM: ProgramSpec<Command> = {
  name: "balancerctl",
  summary: "balancerctl controls balancer, which spreads TCP clients over servers by consistent hashing.",
  version: deno.version,
  commands: COMMANDS,
};

async function main(argv: readonly string[]): Promise<number> {
  try {
    const parsed = parseCommandLine(PROGRAM, argv);
    if ("text" in parsed) return print(parsed.text);
    using situation = situationOf(parsed.input, complain);
    return print(await parsed.command.run(parsed.input, situation));
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    complain(error.message);
    return ERROR_KINDS[error.kind].exit;
  }
}

function print(text: string): number {
  console.log(text);
  return EXIT.done;
}

function complain(sentence: string): void {
  console.error(`${PROGRAM.name}: ${sentence}`);
}

if (import.meta.main) Deno.exit(await main(Deno.args));
