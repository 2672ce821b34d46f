// What the completion of shells offers, for every command and every setting.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type CommandSpec, type OptionSpec, parseCommandLine, type ProgramSpec } from "../../lib/values/command_line.ts";
import { SETTINGS } from "../../lib/values/config.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { SERVER_SETTINGS } from "../../lib/values/server_settings.ts";
import { wordsOfValue } from "../../lib/values/word_sources.ts";
import { COMMANDS } from "../../lib/control/commands.ts";
import { offerFor, printOffer } from "../../lib/control/completion.ts";
import { DAEMON_PROGRAM } from "../../lib/control/daemon_program.ts";

const hidden: CommandSpec = { summary: "Be used by a script", isHidden: true, arguments: [], options: [] };
const PROGRAM: ProgramSpec = {
  name: "balancerctl",
  summary: "",
  version: "1",
  commands: { ...COMMANDS, secret: hidden },
};
const DAEMON: ProgramSpec = { ...DAEMON_PROGRAM, version: "1" };

/** The words offered for the last word of a line; one space separates words. */
function wordsFor(line: string, program = PROGRAM): string[] {
  const { words, prefix } = offerFor(program, line.split(" "));
  return words.map(({ word }) => prefix + word);
}

Deno.test("a line without a command is offered commands, the hidden ones left out, and options of the program", () => {
  const firsts = [...new Set(Object.keys(COMMANDS).map((name) => name.split(" ")[0]))];
  assertEquals(wordsFor(""), firsts);
  assertEquals(wordsFor("--name other "), firsts);
  assertEquals(wordsFor("--"), ["--color", "--help", "--version"]);
  assertEquals(wordsFor("nonsense "), []);
  assertEquals(wordsFor("", DAEMON), ["run"]);
});

Deno.test("the first word of several commands is offered once, and then their second words", () => {
  const { words } = offerFor(PROGRAM, [""]);
  assertEquals(words.filter(({ word }) => word === "service"), [
    { word: "service", summary: "add, remove, list, set, listen, unlisten" },
  ]);
  assertEquals(wordsFor("service "), ["add", "remove", "list", "set", "listen", "unlisten"]);
});

Deno.test("options are offered once, with what they mean, wherever they may stand", () => {
  assertEquals(wordsFor("drain -"), ["--service", "--name", "--color", "--help"]);
  assertEquals(wordsFor("drain --service web -"), ["--name", "--color", "--help"]);
  assertEquals(wordsFor("--service=web drain --"), ["--name", "--color", "--help"]);
  assertEquals(wordsFor("last --lim"), wordsFor("recent --lim"), "an earlier name of a command");
  assertEquals(wordsFor("start --connections 5 -").includes("--max-connections"), false, "an earlier spelling of a flag");
  const { words } = offerFor(PROGRAM, ["apply", "--"]);
  assertEquals(words[0], { word: "--plan", summary: "show what would change, and change nothing" });
});

Deno.test("where no argument is left, options are offered", () => {
  assertEquals(wordsFor("drain 10.0.0.1 80 "), ["--service", "--name", "--color", "--help"]);
  assertEquals(wordsFor("list "), wordsFor("list -"));
  assertEquals(wordsFor("drain 10.0.0.1 -- 80 "), []);
});

Deno.test("values are offered behind a flag and behind its equals sign", () => {
  assertEquals(wordsFor("start --log-level "), ["debug", "info", "warning", "error"]);
  assertEquals(wordsFor("start --log-level=d"), ["debug", "info", "warning", "error"].map((level) => `--log-level=${level}`));
  assertEquals(wordsFor("start --policy r"), ["ring", "least-connections", "random", "round-robin", "first"]);
  assertEquals(wordsFor("apply --plan="), [], "a switch has no value");
  assertEquals(wordsFor("apply --nonsense="), []);
  assertEquals(wordsFor("--color "), ["auto", "always", "never"]);
  assertEquals(wordsFor("plan "), ["add", "remove", "weight"]);
  assertEquals(wordsFor("completion "), ["bash", "zsh", "fish"]);
});

Deno.test("files are offered where a file is meant", () => {
  const filesAt = (line: string) => {
    const { filesAfter, prefix } = offerFor(PROGRAM, line.split(" "));
    return filesAfter === undefined ? undefined : prefix + filesAfter;
  };
  assertEquals(filesAt("validate "), "");
  assertEquals(filesAt("start --access-log="), "--access-log=");
  assertEquals(filesAt("start --allow "), "@");
  assertEquals(filesAt("start --deny=@/etc"), "--deny=@");
  assertEquals(filesAt("add 10.0.0.1 80 --check-ca "), "");
  assertEquals(filesAt("explain "), undefined);
});

Deno.test("live names are asked for with the balancer, the service and the arguments that were typed", () => {
  const liveAt = (line: string) => offerFor(PROGRAM, line.split(" ")).live;
  const nowhere = { name: undefined, service: undefined, before: [] };
  assertEquals(liveAt("remove "), { ...nowhere, kind: "serverHosts" });
  assertEquals(liveAt("--name edge remove ::1 --service=web "), {
    kind: "serverPorts",
    name: "edge",
    service: "web",
    before: ["::1"],
  });
  assertEquals(liveAt("list --service "), { ...nowhere, kind: "services" });
  assertEquals(liveAt("service set "), { ...nowhere, kind: "services" });
  assertEquals(liveAt("service unlisten web "), { ...nowhere, kind: "listenerHosts", before: ["web"] });
  assertEquals(liveAt("plan remove "), { ...nowhere, kind: "serverHosts", before: ["remove"] });
  assertEquals(liveAt("undo --to "), { ...nowhere, kind: "generations" });
  assertEquals(liveAt("recent --server "), { ...nowhere, kind: "servers" });
  assertEquals(liveAt("stop --name "), { ...nowhere, kind: "balancers" });
  for (const line of ["add ", "add 10.0.0.1 ", "service add ", "start ", "explain "]) assertEquals(liveAt(line), undefined, line);
});

Deno.test("an offer is printed as a line for files and a line for each word", () => {
  const words = [{ word: "off" }, { word: "web", summary: "0.0.0.0:80" }];
  assertEquals(printOffer({ words, prefix: "" }), "words\noff\nweb 0.0.0.0:80");
  assertEquals(printOffer({ words: [], prefix: "--allow=", filesAfter: "@" }), "files --allow=@");
  assertEquals(printOffer({ words: [], prefix: "", filesAfter: "" }), "files");
});

Deno.test("every word that is offered as a value is one", () => {
  type Row = OptionSpec & { parse(text: string): unknown };
  const rows: readonly Row[] = [...Object.values(SETTINGS), ...Object.values(SERVER_SETTINGS)];
  for (const { flag, value = "", completes, parse } of rows) {
    for (const word of wordsOfValue(value, completes).fixed) {
      const whole = /[:/]$/.test(word) ? `${word}x` : word;
      try {
        parse(whole);
      } catch (error) {
        throw new Error(`--${flag} is offered ${word}: ${error}`);
      }
    }
  }
});

Deno.test("every form in capitals that stands for a file is one that is known", () => {
  const options = Object.values(PROGRAM.commands).flatMap(({ options }) => options);
  for (const { flag, value = "" } of [...options, ...DAEMON.commands.run.options]) {
    const isFile = /\b(FILE|PATH)\b/.test(value) && !value.includes("/PATH");
    assertEquals(wordsOfValue(value).filesAfter !== undefined, isFile, `--${flag} ${value}`);
  }
});

Deno.test("every option that is offered is accepted, and no line is too strange", () => {
  for (const [name, command] of Object.entries(COMMANDS)) {
    for (const { word } of offerFor(PROGRAM, [...name.split(" "), "-"]).words) {
      const words = [...name.split(" "), ...command.arguments, word];
      const option = command.options.find(({ flag }) => `--${flag}` === word);
      const line = option?.value === undefined ? words : [...words, "x"];
      try {
        parseCommandLine(PROGRAM, word === "--color" ? [...words, "never"] : line);
      } catch (error) {
        throw new Error(`${line.join(" ")}: ${error}`);
      }
    }
  }
  const word = fc.oneof(fc.constantFrom("--", "-", "", "--name", "--name=", "service", "add", "recent", "--x="), fc.string());
  fc.assert(fc.property(fc.array(word), (line) => {
    const { words, prefix } = offerFor(PROGRAM, line);
    assert(words.every(({ word }) => !/\s/.test(word)) && (line.at(-1) ?? "").startsWith(prefix));
  }));
});

Deno.test("a command that takes more takes any number of words, and one that is hidden is not proposed", () => {
  const program = { ...PROGRAM, commands: { ...PROGRAM.commands, secret: { ...hidden, takesMore: true } } };
  const parsed = parseCommandLine(program, ["secret", "--", "a", "--b", ""]);
  assert("input" in parsed);
  assertEquals(parsed.input.arguments, ["a", "--b", ""]);
  try {
    parseCommandLine(program, ["secre"]);
  } catch (error) {
    assert(error instanceof OperatorError && !error.message.includes("secret"), String(error));
  }
  assert("text" in parseCommandLine(program, ["--help"]));
  assert(!JSON.stringify(parseCommandLine(program, ["--help"])).includes("secret"));
});
