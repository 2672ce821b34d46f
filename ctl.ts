/** `balancerctl`: a command line selects a command, which asks the daemon and prints its answer. */

// deno-lint-ignore-file no-console -- a program speaks to its user; the rest of the code logs

import deno from "./deno.json" with { type: "json" };
import { parseCommandLine, type ProgramSpec } from "./lib/values/command_line.ts";
import { type Command, contextOf } from "./lib/control/commands.ts";
import { completeCommand } from "./lib/control/complete_command.ts";
import { DAEMON_PROGRAM } from "./lib/control/daemon_program.ts";
import type { DashboardWorld } from "./lib/dashboard/command.ts";
import { type Stage, textStage } from "./lib/demo/stage.ts";
import { everyCommand } from "./lib/program/commands.ts";
import { ERROR_KINDS, EXIT, messageOf, OperatorError } from "./lib/values/errors.ts";
import { describeVersion } from "./lib/values/packaging.ts";
import { printable, printableIn } from "./lib/values/printable.ts";
import { inLocale, type Page, pageOf, printableOn } from "./lib/values/terminal.ts";

/** The pages of the two outputs. */
interface Pages {
  readonly out: Page;
  readonly error: Page;
}

function programOf({ out }: Pages): ProgramSpec<Command> {
  const version = describeVersion(deno.version);
  const program: ProgramSpec<Command> = {
    name: "balancerctl",
    summary: "balancerctl controls balancer, which spreads TCP clients over servers by consistent hashing.",
    version,
    commands: {
      ...everyCommand({ stage: () => standardStage(out), dashboard: dashboardWorld }),
      complete: completeCommand(() => [program, { ...DAEMON_PROGRAM, version }]),
    },
  };
  return program;
}

/** Runs the command that the words give; its exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  const pages = { out: inLocale(pageOf(Deno.stdout, argv), Deno.env.get), error: pageOf(Deno.stderr, argv) };
  const say = (sentence: string) => complain(sentence, pages.error);
  let failure: number = EXIT.failed;
  try {
    const parsed = parseCommandLine(programOf(pages), argv, pages.out);
    if ("text" in parsed) return print(parsed.text, pages.out);
    failure = parsed.command.failure;
    using context = contextOf(parsed.input, {
      style: pages.out.style,
      say,
      printLine: (line) => write(`${printableOn(pages.out, line)}\n`),
      show: terminalLine(),
      print: framer(pages.out),
      confirm: asker(),
      takeInterrupts,
    });
    const { text, exit } = await parsed.command.run(parsed.input, context);
    print(text, pages.out);
    return exit;
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) return EXIT.done; // the reader has read enough
    say(error instanceof OperatorError ? error.message : `Internal error: ${messageOf(error)}`);
    const exit = error instanceof OperatorError ? ERROR_KINDS[error.kind].exit : EXIT.failed;
    return exit === EXIT.failed ? failure : exit;
  }
}

function print(text: string, page: Page): number {
  try {
    if (text !== "") write(`${printableOn(page, text)}\n`);
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error; // otherwise the reader has read enough
  }
  return EXIT.done;
}

function write(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let sent = 0; sent < bytes.length;) sent += Deno.stdout.writeSync(bytes.subarray(sent));
}

function standardStage({ style }: Page): Stage {
  const isTerminal = Deno.stdout.isTerminal() && Deno.env.get("TERM") !== "dumb";
  const columns = isTerminal ? Deno.consoleSize().columns : Infinity;
  return textStage(write, { isTerminal, columns, style });
}

function dashboardWorld(): DashboardWorld {
  return {
    write: (line) => write(`${line}\n`),
    presses: () => Deno.stdin.readable,
    browse,
    giveUp: async () => void await Deno.permissions.revoke({ name: "run" }),
  };
}

/** The programs that open a URL in the person's browser, by system. */
const BROWSERS: Readonly<Record<string, readonly [path: string, ...args: string[]]>> = {
  darwin: ["open"],
  windows: ["rundll32", "url.dll,FileProtocolHandler"],
};

async function browse(url: string): Promise<void> {
  const [path, ...args] = BROWSERS[Deno.build.os] ?? ["xdg-open"];
  const { success } = await launch(path, [...args, url]);
  if (!success) throw new OperatorError("failed", `Cannot open a browser by ${path}: it failed; open the link yourself`);
}

/** Runs a program that outlives this one if it is ended by Ctrl-C. */
async function launch(path: string, args: readonly string[]): Promise<Deno.CommandStatus> {
  try {
    const options: Deno.CommandOptions = { args: [...args], stdin: "null", stdout: "null", stderr: "null", detached: true };
    const program = new Deno.Command(path, options).spawn();
    program.unref();
    return await program.status;
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound ? "there is no such program" : messageOf(error);
    throw new OperatorError("failed", `Cannot open a browser by ${path}: ${why}; open the link yourself`);
  }
}

/** Writes one line of the terminal again and again. It goes to standard error, so that results can be piped. */
function terminalLine(): ((line: string) => void) | undefined {
  if (!Deno.stderr.isTerminal() || Deno.env.get("TERM") === "dumb") return undefined;
  const { columns } = Deno.consoleSize();
  return (line) => void Deno.stderr.writeSync(new TextEncoder().encode(`\r\x1b[2K${printableIn(line).slice(0, columns - 1)}`));
}

/** Prints one result after another: on a terminal each in place of the one before, as far as there is room. */
function framer(page: Page): (text: string) => void {
  if (!Deno.stdout.isTerminal() || Deno.env.get("TERM") === "dumb") return (text) => write(`${printableOn(page, text)}\n`);
  return (text) => {
    const rows = Deno.consoleSize().rows || Infinity; // a terminal that does not know its height says 0
    const lines = printableOn(page, text).split("\n").slice(0, rows - 1);
    // Home, each line up to its end, the rest of the screen; all of it at once (synchronized output).
    write(`\x1b[?2026h\x1b[H${lines.map((line) => `${line}\x1b[K\n`).join("")}\x1b[J\x1b[?2026l`);
  };
}

/** Asks at a terminal. */
function asker(): ((question: string) => boolean) | undefined {
  return Deno.stdin.isTerminal() ? (question) => confirm(question) : undefined;
}

function takeInterrupts(): AbortSignal {
  const interrupted = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) Deno.addSignalListener(signal, () => interrupted.abort());
  return interrupted.signal;
}

function complain(sentence: string, { style }: Page): void {
  console.error(`${style.bad("balancerctl:")} ${printable(sentence)}`);
}

if (import.meta.main) Deno.exit(await main(Deno.args));
