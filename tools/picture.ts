/**
 * The pictures of the documentation: real sessions of the programs in this checkout, recorded on a pseudo-terminal of 80 columns
 * and drawn as SVG. `deno task picture` makes them anew.
 */

import { drawTerminal } from "./picture/svg.ts";
import { record } from "./picture/terminal.ts";

const ROOT = `${import.meta.dirname}/../`;
const TERMINAL = { columns: 80, rows: 60 };

/** What GitHub shows without being asked to is small. */
const SVG_BYTES_MAX = 100_000;

const PICTURES = [
  { file: "docs/demo.svg", args: ["demo"] },
  { file: "docs/help.svg", args: ["--help"] },
];

/** A prompt as many shells have it, and the command behind it. */
function prompt(args: readonly string[]): string {
  return `\x1b[1;32m$\x1b[0m \x1b[1mbalancerctl ${args.join(" ")}\x1b[0m\n`;
}

async function draw(args: readonly string[]): Promise<string> {
  const program = [Deno.execPath(), "run", "-q", "--no-prompt", "-P=balancerctl", `${ROOT}ctl.ts`];
  const output = await record([...program, ...args], TERMINAL);
  return drawTerminal({
    text: prompt(args) + output,
    columns: TERMINAL.columns,
    title: `balancerctl ${args.join(" ")} on a terminal`,
  });
}

if (import.meta.main) {
  for (const { file, args } of PICTURES) {
    const svg = await draw(args);
    if (svg.length > SVG_BYTES_MAX) throw new Error(`${file} has ${svg.length} bytes; a picture has ${SVG_BYTES_MAX} at most`);
    await Deno.writeTextFile(ROOT + file, svg);
  }
}
