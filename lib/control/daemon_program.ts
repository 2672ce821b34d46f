/** The command line of `balancer`, the daemon, as a table: `main.ts` parses by it, completion and manual are made from it. */

import type { CommandSpec, ProgramSpec } from "../values/command_line.ts";
import { DETACHED, NO_STATE, SETTINGS } from "../values/config.ts";
import { DEFAULT_NAME } from "../values/paths.ts";
import { OWN_ADDRESSES } from "../values/word_sources.ts";
import { TAKE_OVER } from "./handover_wire.ts";

/** How `balancerctl upgrade` and `restart` start a balancer. */
export const TAKE_OVER_OPTION = {
  flag: "take-over",
  value: TAKE_OVER.join("|"),
  summary: "take the place of the balancer of this name that runs, or check whether that is possible; see balancerctl upgrade",
  completes: TAKE_OVER,
};
/** See TAKE_OVER_OPTION. */
export const FORCED = { flag: "force", summary: "with --take-over: even from a newer version, or with fewer descriptors" };

/** The program without its version. */
export const DAEMON_PROGRAM: Omit<ProgramSpec<CommandSpec>, "version"> = {
  name: "balancer",
  summary: "balancer spreads TCP clients over servers by consistent hashing; balancerctl controls it.",
  commands: {
    run: {
      summary: "Run a balancer in the foreground",
      description: "Prints its address on standard output as soon as clients can connect, and logs to standard error.",
      examples: ["balancer run 127.0.0.1 8080 --redistribute idle"],
      arguments: ["inet_address", "inet_port"],
      completes: { inet_address: OWN_ADDRESSES, inet_port: [] },
      optionalArguments: 2,
      options: [
        ...Object.values(SETTINGS),
        {
          flag: "log-file",
          value: "PATH",
          summary: "log to this file, which is rotated, not to standard error",
          group: SETTINGS.logLevel.group,
        },
        { flag: "name", value: "NAME", default: DEFAULT_NAME, summary: "name of the balancer", completes: "balancers" },
        {
          flag: "config",
          value: "FILE",
          summary: "be what this declared file says, and nothing else; applied again at SIGHUP",
        },
        NO_STATE,
        DETACHED,
        { flag: "stop-at-eof", summary: "stop at once when standard input ends" },
        TAKE_OVER_OPTION,
        FORCED,
      ],
    },
  },
};
