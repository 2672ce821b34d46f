/** `balancerctl`: a command line becomes a row of COMMANDS, which asks the daemon and prints what it answered. */

// deno-lint-ignore-file no-console -- a program speaks to its user; the rest of the code logs

import deno from "./deno.json" with { type: "json" };
import { parseCommandLine, type ProgramSpec } from "./lib/values/command_line.ts";
import { type Command, COMMANDS, contextOf } from "./lib/control/commands.ts";
import { demoCommand } from "./lib/demo/command.ts";
import { type Stage, textStage } from "./lib/demo/stage.ts";
import { ERROR_KINDS, EXIT, messageOf, OperatorError } from "./lib/values/errors.ts";
import { describeVersion } from "./lib/values/packaging.ts";
import { printable, printableIn } from "./lib/values/printable.ts";

const PROGRAM: ProgramSpec<Command> = {
  name: "balancerctl",
  summary: "balancerctl controls balancer, which spreads TCP clients over servers by consistent hashing.",
  version: describeVersion(deno.version),
  commands: { ...COMMANDS, demo: demoCommand(standardStage) },
};

async function main(argv: readonly string[]): Promise<number> {
  try {
    const parsed = parseCommandLine(PROGRAM, argv);
    if ("text" in parsed) return print(parsed.text);
    using context = contextOf(parsed.input, { say: complain, show: terminalLine(), takeInterrupts });
    return print(await parsed.command.run(parsed.input, context));
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) return EXIT.done; // whoever reads has read enough
    complain(error instanceof OperatorError ? error.message : `A fault of its own: ${messageOf(error)}`);
    return error instanceof OperatorError ? ERROR_KINDS[error.kind].exit : EXIT.failed;
  }
}

function print(text: string): number {
  if (text !== "") write(`${printable(text)}\n`);
  return EXIT.done;
}

function write(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let sent = 0; sent < bytes.length;) sent += Deno.stdout.writeSync(bytes.subarray(sent));
}

function standardStage(): Stage {
  const isTerminal = Deno.stdout.isTerminal() && Deno.env.get("TERM") !== "dumb";
  const columns = isTerminal ? Deno.consoleSize().columns : Infinity;
  return textStage(write, { isTerminal, columns, hasColours: isTerminal && !Deno.noColor });
}

/** A line of the terminal that is written over and over; it goes to standard error, so that results can be piped. */
function terminalLine(): ((line: string) => void) | undefined {
  if (!Deno.stderr.isTerminal() || Deno.env.get("TERM") === "dumb") return undefined;
  const { columns } = Deno.consoleSize();
  return (line) => void Deno.stderr.writeSync(new TextEncoder().encode(`\r\x1b[2K${printableIn(line).slice(0, columns - 1)}`));
}

function takeInterrupts(): AbortSignal {
  const interrupted = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) Deno.addSignalListener(signal, () => interrupted.abort());
  return interrupted.signal;
}

function complain(sentence: string): void {
  console.error(`${PROGRAM.name}: ${printable(sentence)}`);
}

if (import.meta.main) Deno.exit(await main(Deno.args));
