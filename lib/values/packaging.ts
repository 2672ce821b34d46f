/**
 * How the two programs were packaged, and so where one finds the other: run from a checkout, made by `deno compile`, or made as a
 * self-extracting program (a head in sh that unpacks the runtime and says in BALANCER_PROGRAM which file it is).
 */

/** How this program was packaged. */
export type Packaging = "checkout" | "compiled" | "self-extracting";

/** A program to start: its path, and the arguments that come before its own. */
export interface ProgramStart {
  readonly path: string;
  readonly args: readonly string[];
}

/** Flags with which `deno run` starts a program of a checkout. */
const RUN_FLAGS = ["run", "--quiet", "--no-prompt"];

/** Each program's main file in a checkout. */
export const MAINS = { balancer: "main.ts", balancerctl: "ctl.ts" } as const;

/** The names of the two programs. */
export type ProgramName = keyof typeof MAINS;

/** How this program was packaged. */
export function packaging(): Packaging {
  if (Deno.build.standalone) return "compiled";
  return Deno.env.get("BALANCER_PROGRAM") === undefined ? "checkout" : "self-extracting";
}

/** How to start one of the two programs: in a checkout by Deno, else as the file beside this one. */
export function programStart(name: ProgramName): ProgramStart {
  if (packaging() === "checkout") {
    const checkout = `${import.meta.dirname}/../../`;
    return {
      path: Deno.execPath(),
      args: [...RUN_FLAGS, `--permission-set=${name}`, "--config", `${checkout}deno.json`, checkout + MAINS[name]],
    };
  }
  const self = Deno.env.get("BALANCER_PROGRAM") ?? Deno.execPath();
  return { path: `${self.slice(0, self.lastIndexOf("/"))}/${name}`, args: [] };
}

/** The version, and all that a report of a fault should say with it. */
export function describeVersion(version: string): string {
  return `${version} (${packaging()}, Deno ${Deno.version.deno}, ${Deno.build.target})`;
}
