/** Compiles the programs in C. Each is kept under a name that is made from what went into it, so each version is compiled once. */

import { runTool } from "./processes.ts";
import type { Tool } from "./tools.ts";

/** The programs: `floor` is floor.c. */
export type ProgramName = "floor" | "talk";

const FLAGS = ["-O2"];
/** Compiling takes less than a second; this is for a compiler that hangs. */
const COMPILE_MAX_MS = 60_000;
/** Hexadecimal digits of the digest that are enough to tell versions apart. */
const DIGEST_DIGITS = 16;

/** What compiles, and where to. */
export interface Workshop {
  /** The compiler; undefined where there is none. */
  readonly cc?: Tool;
  /** The folder of the compiled programs. */
  readonly folder: string;
  readonly signal: AbortSignal;
}

/** The path of the compiled program. Throws the compiler's first error. */
export async function compileProgram(name: ProgramName, { cc, folder, signal }: Workshop): Promise<string> {
  if (cc === undefined) throw new Error("cc is not there");
  const source = `${import.meta.dirname}/${name}.c`;
  const path = `${folder}/${name}-${await digest([await Deno.readTextFile(source), cc.path, cc.version, ...FLAGS])}`;
  if (await Deno.stat(path).then(() => true, () => false)) return path;
  await Deno.mkdir(folder, { recursive: true });
  const draft = await Deno.makeTempFile({ dir: folder, prefix: `${name}_` }); // another run may compile it at the same time
  try {
    await runTool({ words: [cc.path, ...FLAGS, "-o", draft, source] }, { maxMs: COMPILE_MAX_MS, signal });
    await Deno.chmod(draft, 0o755);
    await Deno.rename(draft, path);
    return path;
  } catch (error) {
    await Deno.remove(draft).catch(() => {});
    throw error;
  }
}

async function digest(parts: readonly string[]): Promise<string> {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(parts.join("\0")));
  return new Uint8Array(bytes).toHex().slice(0, DIGEST_DIGITS);
}
