/** `balancerctl top` as a row of the table of commands. What it does is loaded when it runs. */

import type { Style } from "../values/terminal.ts";
import { type Command, command } from "../control/commands.ts";

/** The row. */
export const TOP: Command = command<{ draw: (style: Style) => string }>({
  group: "Observe",
  summary: "Show servers and clients live",
  ofService: true,
  description:
    "Full screen: what is wrong, the pool sorted by trouble, where connections moved in the last minute, events, connections. " +
    "The keys stand in the last line; ? explains them. Nothing can be changed unless --write is given.",
  examples: ["balancerctl top --interval 5s", "balancerctl top --once --size 120x40"],
  options: [
    { flag: "once", summary: "print one frame and end, for scripts" },
    { flag: "interval", value: "TIME", default: "1s", summary: "time between two looks" },
    { flag: "write", summary: "let the key d drain servers; it asks first" },
    { flag: "ascii", summary: "draw with ASCII only, as where the locale has no UTF-8" },
    { flag: "size", value: "COLUMNSxROWS", summary: "size of the frame of --once (default: the terminal's, or 80x24)" },
  ],
  act: async (input, context) => {
    const { runTop } = await import("./run.ts");
    return { draw: await runTop(input, context) };
  },
  print: ({ draw }, style) => draw(style),
});
