/**
 * The manual pages balancer(1) and balancerctl(1), from the rows of commands and settings, in the macros of man(7). Nothing but
 * ASCII is written, so that every renderer reads it.
 */

import deno from "../../deno.json" with { type: "json" };
import {
  COMMAND_OPTIONS,
  type CommandSpec,
  type OptionSpec,
  PROGRAM_OPTIONS,
  type ProgramSpec,
} from "../../lib/values/command_line.ts";
import { EXIT } from "../../lib/values/errors.ts";
import { shownCommands } from "../../lib/values/help.ts";
import { everyCommand } from "../../lib/program/commands.ts";
import { DAEMON_PROGRAM } from "../../lib/control/daemon_program.ts";
import { beyondSettings, exitRows, settingsOf } from "../tables.ts";

/** When the prose of this file was last changed; the rest follows the version. */
const DATE = "2026-11-29";

/** A term and what it means, as a tagged paragraph. Both are texts with \`code\` and *placeholders*. */
type Row = readonly [term: string, meaning: string];

/** The files of a balancer, by what holds them; docs/operating.md has the whole table. */
const FILES: readonly Row[] = [
  ["`/run/balancer/`*NAME*`.sock`, `$XDG_RUNTIME_DIR/balancer/`*NAME*`.sock`", "The control socket: of root, of other users."],
  [
    "`/var/lib/balancer/`*NAME*`.json`, `~/.local/state/balancer/`*NAME*`.json`",
    "The state: services, servers and settings, which survive a restart. History, lock and log are beside it.",
  ],
];

const ENVIRONMENT: readonly Row[] = [
  ["`RUNTIME_DIRECTORY`, `STATE_DIRECTORY`, `LOGS_DIRECTORY`", "Folders of control socket, state and log, as systemd sets them."],
  ["`XDG_RUNTIME_DIR`, `XDG_STATE_HOME`", "Folders that hold a folder `balancer` for the control socket and for the state."],
  ["`LC_ALL`, `LC_CTYPE`, `LANG`", "The marks of `balancerctl doctor` are ASCII unless the locale is one of UTF-8."],
  ["`NO_COLOR`", "No colours, unless `--color always` is given."],
];

/** Of the exit codes, those of the daemon. */
const DAEMON_EXITS: readonly Row[] = [
  [String(EXIT.done), "it has stopped, as it was told"],
  [String(EXIT.failed), "it failed; standard error says why"],
  [String(EXIT.usage), "the command line is wrong"],
];

const SIGNALS: readonly Row[] = [
  ["`SIGTERM`, `SIGINT`", "Stop as `balancerctl stop` does. A second one ends at once."],
  [
    "`SIGHUP`",
    "Open the log file and the access log again, read the files of `--allow` and `--deny` again, and apply that of `--config`.",
  ],
];

/** balancer(1). */
export function writeDaemonManual(): string {
  const { name, commands: { run } } = DAEMON_PROGRAM;
  const options = [...run.options, ...COMMAND_OPTIONS];
  return page(name, "a TCP load balancer whose clients keep their server", [
    ["SYNOPSIS", paragraphs(`${usage(name, "run", run)} [*options*]`)],
    [
      "DESCRIPTION",
      paragraphs(
        "`balancer` spreads TCP clients over servers by consistent hashing. When a server is removed or dies, every client that " +
          "TCP lets it keep is kept. It relays bytes: it reads no request and ends no TLS.",
        `\`balancer run\` serves in the foreground. ${run.description} \`balancerctl start\` runs it in the background.`,
      ),
    ],
    ["OPTIONS", grouped(options)],
    ["EXIT STATUS", rows(DAEMON_EXITS)],
    ["SIGNALS", rows(SIGNALS)],
    ["ENVIRONMENT", rows(ENVIRONMENT)],
    ["FILES", rows(FILES)],
    ["EXAMPLES", examples(run.examples ?? [])],
    ["SEE ALSO", ".BR balancerctl (1)\n"],
  ]);
}

/** balancerctl(1). */
export function writeControlManual(): string {
  const commands = everyCommand();
  const program: ProgramSpec = { name: "balancerctl", summary: "", version: deno.version, commands };
  const groups = Map.groupBy(shownCommands(program), ([, { group = "" }]) => group);
  const all = [...groups].map(([group, members]) =>
    `.SS ${escape(group)}\n` + members.map(([name, command]) => describe(name, command)).join("")
  );
  return page(program.name, "control balancer, a TCP load balancer", [
    ["SYNOPSIS", paragraphs("`balancerctl` *command* [*options*]")],
    [
      "DESCRIPTION",
      paragraphs(
        "`balancerctl` controls a `balancer` that runs in the background. Options may stand before or behind the command. " +
          "Addresses are IPv4 addresses, IPv6 addresses or host names; times are written 250ms, 30s, 5m or 1h.",
      ),
    ],
    ["OPTIONS", taggedOptions([...PROGRAM_OPTIONS, ...commonOptions(commands)])],
    ["COMMANDS", all.join("")],
    ["EXIT STATUS", rows(exitRows())],
    ["ENVIRONMENT", rows(ENVIRONMENT)],
    ["FILES", rows(FILES)],
    ["SEE ALSO", ".BR balancer (1)\n"],
  ]);
}

function page(name: string, what: string, sections: readonly (readonly [heading: string, text: string])[]): string {
  const head = [
    '.\\" Made by deno task man from the rows of commands and settings.',
    `.TH ${name.toUpperCase()} 1 ${DATE} "balancer ${deno.version}" "User Commands"`,
    ".SH NAME",
    `${name} \\- ${escape(what)}`,
  ];
  return `${head.join("\n")}\n${sections.map(([heading, text]) => `.SH ${heading}\n${text}`).join("")}`;
}

/** A command: how it is called, what it does, its own options, examples. */
function describe(name: string, command: CommandSpec): string {
  const settings = settingsOf(name);
  const own = (settings === undefined ? command.options : beyondSettings(command.options)).filter(({ flag }) => !isCommon(flag));
  const common = command.options.filter(({ flag }) => isCommon(flag)).map(({ flag }) => `\`--${flag}\``);
  const texts = [
    `${command.summary}.`,
    command.description ?? "",
    settings === undefined ? "" : `It takes ${settings} as an option; see balancer(1).`,
    common.length === 0 ? "" : `Further options: ${common.join(", ")}.`,
  ];
  const shown = examples(command.examples ?? []);
  const more = taggedOptions(own) + (shown === "" ? "" : `.PP\n${shown}`);
  const text = texts.filter((text) => text !== "").map(markup).join(" ");
  return `.TP\n${markup(usage("", name, command).trim())}\n${text}\n` + (more === "" ? "" : `.RS\n${more}.RE\n`);
}

/** Options that most commands have are explained once. */
function isCommon(flag: string): boolean {
  return ["json", "service", "name"].includes(flag);
}

function commonOptions(commands: Readonly<Record<string, CommandSpec>>): OptionSpec[] {
  const all = Object.values(commands).flatMap(({ options }) => options).filter(({ flag }) => isCommon(flag));
  return [...new Map(all.map((option) => [option.flag, option])).values()];
}

/** How a command is called, in markup. */
function usage(program: string, name: string, { arguments: args, optionalArguments = 0 }: CommandSpec): string {
  const shown = args.map((argument) => `*${argument}*`);
  const needed = shown.slice(0, args.length - optionalArguments);
  const others = shown.slice(needed.length);
  return [`\`${[program, name].join(" ").trim()}\``, ...needed, ...(others.length === 0 ? [] : [`[${others.join(" ")}]`])].join(
    " ",
  );
}

/** Options under the headings that the help has; those without one come first. */
function grouped(options: readonly OptionSpec[]): string {
  const groups = Map.groupBy(options, ({ group }) => group ?? "");
  const first = taggedOptions(groups.get("") ?? []);
  return first +
    [...groups].filter(([group]) => group !== "").map(([group, members]) => `.SS ${escape(group)}\n${taggedOptions(members)}`).join(
      "",
    );
}

function taggedOptions(options: readonly OptionSpec[]): string {
  return rows(options.map(({ flag, value, summary, default: usual }) => [
    [`\`--${flag}\``, ...(value === undefined ? [] : [`*${value}*`])].join(" "),
    `${summary[0].toUpperCase()}${summary.slice(1)}${usual === undefined ? "" : ` (default: ${usual})`}.`,
  ]));
}

function rows(rows: readonly Row[]): string {
  return rows.map(([term, meaning]) => `.TP\n${markup(term)}\n${markup(meaning)}\n`).join("");
}

function examples(lines: readonly string[]): string {
  return lines.length === 0 ? "" : `.nf\n${lines.map((line) => markup(`\`${line}\``)).join("\n")}\n.fi\n`;
}

/** The first paragraph of a section has no macro. */
function paragraphs(...texts: readonly string[]): string {
  return texts.map((text) => `${markup(text)}\n`).join(".PP\n");
}

/** \`code\` becomes bold, *placeholders* italic; the rest is escaped. */
function markup(text: string): string {
  const parts = text.split(/(`[^`]*`|\*[^*\n]+\*)/).filter((part) => part !== "");
  const line = parts.map((part) => {
    if (part.startsWith("`")) return `\\fB${literal(part.slice(1, -1))}\\fR`;
    return part.length > 2 && part.startsWith("*") && part.endsWith("*") ? `\\fI${literal(part.slice(1, -1))}\\fR` : escape(part);
  }).join("");
  return line.replace(/^(?=[.'])/, "\\&");
}

/** What is typed as it stands: a hyphen is a minus, which can be copied. */
function literal(text: string): string {
  return escape(text).replaceAll("-", "\\-");
}

/** Text without a meaning to roff. A quote character would become a typographic one. */
function escape(text: string): string {
  const named: Readonly<Record<string, string>> = { "\\": "\\e", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti" };
  return [...text].map((character) =>
    named[character] ??
      (character <= "~" ? character : `\\[u${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}]`)
  ).join("").replace(/^\./, "\\&.");
}
