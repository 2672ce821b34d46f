/**
 * How the two programs were packaged, and so where one finds the other: run from a checkout, built by `deno compile`, or built as a
 * self-extracting program (a shell script that unpacks the runtime and sets BALANCER_PROGRAM to its own path).
 */

/** A way to package the programs. */
type Packaging = "checkout" | "compiled" | "self-extracting";

/** A program to start: its path, and the arguments that come before its own. */
interface ProgramStart {
  readonly path: string;
  readonly args: readonly string[];
}

/** Flags with which `deno run` starts a program of a checkout. */
const RUN_FLAGS = ["run", "--quiet", "--no-prompt"];

/** Each program's main file in a checkout. */
export const MAINS = { balancer: "main.ts", balancerctl: "ctl.ts" } as const;

export type ProgramName = keyof typeof MAINS;

/** How this program was packaged. */
export function packaging(): Packaging {
  if (Deno.build.standalone) return "compiled";
  return Deno.env.get("BALANCER_PROGRAM") === undefined ? "checkout" : "self-extracting";
}

/** How to start one of the two programs: through Deno in a checkout, otherwise as the file beside this program. */
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

/** The version with everything a bug report needs: packaging, Deno and platform. */
export function describeVersion(version: string): string {
  return `${version} (${packaging()}, Deno ${Deno.version.deno}, ${Deno.build.target})`;
}
