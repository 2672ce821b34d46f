/** Compiles floor.c. The program is kept under a name that is made from what went into it, so each version is compiled once. */

import { runTool } from "./processes.ts";
import type { Tool } from "./tools.ts";

const SOURCE = `${import.meta.dirname}/floor.c`;
const FLAGS = ["-O2"];
/** Compiling takes less than a second; this is for a compiler that hangs. */
const COMPILE_MAX_MS = 60_000;
/** Hexadecimal digits of the digest that are enough to tell versions apart. */
const DIGEST_DIGITS = 16;

/** The path of the compiled program, which is in `folder`. Throws the compiler's first error. */
export async function compileFloor(cc: Tool, folder: string, signal: AbortSignal): Promise<string> {
  const path = `${folder}/floor-${await digest([await Deno.readTextFile(SOURCE), cc.path, cc.version, ...FLAGS])}`;
  if (await Deno.stat(path).then(() => true, () => false)) return path;
  await Deno.mkdir(folder, { recursive: true });
  const draft = await Deno.makeTempFile({ dir: folder, prefix: "floor_" }); // another run may compile it at the same time
  try {
    await runTool({ words: [cc.path, ...FLAGS, "-o", draft, SOURCE] }, { maxMs: COMPILE_MAX_MS, signal });
    await Deno.chmod(draft, 0o755);
    await Deno.rename(draft, path);
    return path;
  } catch (error) {
    await Deno.remove(draft).catch(() => {});
    throw error;
  }
}

/** The words of a command line: listen on `port` of loopback, relay to a server on loopback. */
export function floorCommand(program: string, { port, backendPort, workers }: FloorWiring): readonly string[] {
  return [program, String(port), String(workers), `127.0.0.1:${backendPort}`];
}

/** What the command line depends on. */
export interface FloorWiring {
  readonly port: number;
  readonly backendPort: number;
  readonly workers: number;
}

async function digest(parts: readonly string[]): Promise<string> {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(parts.join("\0")));
  return new Uint8Array(bytes).toHex().slice(0, DIGEST_DIGITS);
}
