/** `balancerctl complete` as a row of the table of commands: what the scripts of `completion_scripts.ts` ask. */

import type { ProgramSpec } from "../values/command_line.ts";
import { type Command, command } from "./commands.ts";
import { offerFor, printOffer } from "./completion.ts";
import { liveNames } from "./live_names.ts";

/** The row. `programs` are those whose command lines can be completed; the first argument says which one, by its path. */
export function completeCommand(programs: () => readonly ProgramSpec[]): Command {
  return command({
    summary: "Print what the last word of a command line can be",
    isHidden: true,
    isNamed: false,
    arguments: ["program"],
    takesMore: true,
    async act({ arguments: [path, ...line] }) {
      const program = programs().find(({ name }) => name === path.slice(path.lastIndexOf("/") + 1));
      if (program === undefined) return { words: [], prefix: "" };
      const offer = offerFor(program, line);
      const live = offer.live === undefined ? [] : await liveNames(offer.live);
      return { ...offer, words: [...live, ...offer.words] };
    },
    print: printOffer,
  });
}
