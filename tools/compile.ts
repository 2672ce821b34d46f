/**
 * Makes `dist/balancer` and `dist/balancerctl`, each one file that needs no Deno: by `deno compile`, or, where Deno's runtime base
 * cannot be had, as self-extracting programs with the same contract (see self_extracting.sh). Made again only when something that
 * goes into them has changed.
 */

// deno-lint-ignore-file no-console -- a tool speaks to its user

import deno from "../deno.json" with { type: "json" };
import { MAINS, type ProgramName } from "../lib/values/packaging.ts";
import { parseArgs } from "@std/cli";

const ROOT = `${import.meta.dirname}/../`;

/** Where the programs go. */
export const DIST = `${ROOT}dist`;

/** What `deno compile` says when it cannot get the runtime base; anything else that it says is an error. */
const BASE_IS_MISSING = /error sending request|denort|dl\.deno\.land|timed out|dns error/i;

/** No download takes longer: a site that is silent counts as one that cannot be reached. */
const COMPILE_MAX_MS = 60_000;

type Permissions = Readonly<Record<string, boolean | readonly string[]>>;

/** The flags that give a program the permissions of its set in deno.json, and no others. */
export function permissionFlags(name: ProgramName): string[] {
  return Object.entries(deno.permissions[name] as Permissions).map(([permission, scope]) =>
    scope === true ? `--allow-${permission}` : `--allow-${permission}=${(scope as readonly string[]).join(",")}`
  );
}

/** Runs Deno in the checkout; its output is shown only if it fails. */
async function runDeno(args: readonly string[]): Promise<{ success: boolean; complaint: string }> {
  const signal = AbortSignal.timeout(COMPILE_MAX_MS);
  const env = { NO_COLOR: "1" };
  const { success, stderr } = await new Deno.Command(Deno.execPath(), { args: [...args], cwd: ROOT, env, stdin: "null", signal })
    .output();
  return { success, complaint: signal.aborted ? "timed out" : new TextDecoder().decode(stderr).trim() };
}

/**
 * Compiles a program for a target triple (undefined: this machine). False where the runtime base cannot be had. What is compiled is
 * the bundled program: given the packages themselves, `deno compile` 2.9.6 overflowed its stack on one of them.
 */
export async function compileByDeno(name: ProgramName, output: string, target?: string): Promise<boolean> {
  const folder = await Deno.makeTempDir({ prefix: "balancer_compile_" });
  try {
    const [script, made] = [`${folder}/${name}.js`, `${folder}/${name}`];
    await Deno.writeTextFile(script, await bundle(name));
    const where = target === undefined ? [] : ["--target", target];
    const flags = ["-q", "--no-prompt", "--no-config", "--no-lock", ...permissionFlags(name), ...where];
    const { success, complaint } = await runDeno(["compile", ...flags, "--output", made, script]);
    if (success) await replaceFile(output, [await Deno.readFile(made)], 0o755);
    else if (Deno.env.get("DENORT_BIN") !== undefined || !BASE_IS_MISSING.test(complaint)) {
      throw new Error(`deno compile failed: ${complaint}`);
    }
    return success;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Makes a self-extracting program for this machine. */
async function makeSelfExtracting(name: ProgramName, output: string): Promise<void> {
  const script = new TextEncoder().encode(await bundle(name));
  const runtime = await Deno.readFile(Deno.execPath());
  const [program, compressed] = [await gzip(script), await compressRuntime(runtime)];
  const values = {
    NAME: name,
    VERSION: deno.version,
    PROGRAM_FILE: `${name}-${await digest(script)}.js`,
    RUNTIME_FILE: `deno-${await digest(runtime)}`,
    PROGRAM_SIZE: script.length,
    RUNTIME_SIZE: runtime.length,
    PROGRAM_BYTES: program.length,
    RUNTIME_BYTES: compressed.length,
    PERMISSIONS: permissionFlags(name).join(" "),
  };
  const head = withOffsets(await Deno.readTextFile(`${ROOT}tools/self_extracting.sh`), values);
  await replaceFile(output, [head, program, compressed], 0o755);
}

/** Fills in the template, with the places (from 1) where the parts begin: they depend on the length of the head itself. */
function withOffsets(template: string, values: Readonly<Record<string, string | number>>): Uint8Array<ArrayBuffer> {
  const encode = (start: number) => {
    const all: Record<string, string | number> = {
      ...values,
      PROGRAM_START: start + 1,
      RUNTIME_START: start + Number(values.PROGRAM_BYTES) + 1,
    };
    const text = template.replace(/@([A-Z_]+)@/g, (_, name) => String(all[name]));
    return new TextEncoder().encode(text);
  };
  let head = encode(0);
  while (encode(head.length).length !== head.length) head = encode(head.length);
  return encode(head.length);
}

/** How the daemon names the script of its workers, which `deno bundle` does not follow. */
const WORKER_URL = 'new URL("./worker.ts", import.meta.url)';
const WORKER = "lib/engine/epoll/worker.ts";

/** A package that few commands need: it stays a text until one does, because reading it as code would slow every start. */
const LATE_PACKAGE = "yaml";
const LATE_IMPORT = `import("${LATE_PACKAGE}")`;

/** Makes one script of a program and the packages it uses; what runs apart or later becomes a text in it. */
async function bundle(name: ProgramName): Promise<string> {
  const program = await withText(await bundleScript(MAINS[name], ["--external", LATE_PACKAGE]), LATE_IMPORT, async () => {
    const late = await bundleScript(import.meta.resolve(LATE_PACKAGE));
    // It requires modules of the runtime, relative to a file that a text does not have.
    return `import(${urlOf(late.replaceAll("import.meta.url", '"file:///"'))})`;
  });
  const whole = await withText(program, WORKER_URL, async () => urlOf(await bundleScript(WORKER)));
  if (name === "balancer" && whole === program) throw new Error("The bundle of balancer must name its workers' script");
  return whole;
}

/** The script with something else in the one place of `part`; as it is where there is none. */
async function withText(script: string, part: string, make: () => Promise<string>): Promise<string> {
  const [before, after, ...more] = script.split(part);
  if (after === undefined) return script;
  if (more.length > 0) throw new Error(`The bundle must have ${part} once`);
  return `${before}${await make()}${after}`;
}

/** An expression for the URL of a script. */
function urlOf(script: string): string {
  return `URL.createObjectURL(new Blob([${JSON.stringify(script)}], { type: "text/javascript" }))`;
}

async function bundleScript(path: string, flags: readonly string[] = []): Promise<string> {
  const output = await Deno.makeTempFile({ suffix: ".js" });
  try {
    const { success, complaint } = await runDeno(["bundle", "-q", ...flags, "--output", output, path]);
    if (!success) throw new Error(`deno bundle failed: ${complaint}`);
    return await Deno.readTextFile(output);
  } finally {
    await Deno.remove(output);
  }
}

/** Compressing the runtime takes seconds and its content rarely changes: the result is kept. */
async function compressRuntime(runtime: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const kept = `${DIST}/.parts/deno-${await digest(runtime)}.gz`;
  try {
    return await Deno.readFile(kept);
  } catch {
    const compressed = await gzip(runtime);
    await replaceFile(kept, [compressed], 0o644);
    return compressed;
  }
}

async function gzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const compressed = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(compressed).arrayBuffer());
}

/** The first 16 hexadecimal digits of the SHA-256 of the parts. */
async function digest(...parts: readonly Uint8Array<ArrayBuffer>[]): Promise<string> {
  const whole = new Uint8Array(await new Blob([...parts]).arrayBuffer());
  return new Uint8Array(await crypto.subtle.digest("SHA-256", whole)).toHex().slice(0, 16);
}

/** Whole or not at all: the old file may be running. */
async function replaceFile(path: string, parts: readonly Uint8Array[], mode: number): Promise<void> {
  const temporary = `${path}.${Deno.pid}.new`;
  {
    using file = await Deno.open(temporary, { write: true, createNew: true, mode });
    for (const part of parts) for (let sent = 0; sent < part.length;) sent += await file.write(part.subarray(sent));
  }
  await Deno.chmod(temporary, mode);
  await Deno.rename(temporary, path);
}

/** What goes into the programs, as one digest. */
async function stampOf(forced: boolean): Promise<string> {
  const files = [
    "deno.json",
    "deno.lock",
    "main.ts",
    "ctl.ts",
    "tools/compile.ts",
    "tools/self_extracting.sh",
    ...await libFiles("lib/"),
  ];
  const parts = await Promise.all(files.toSorted().map((file) => Deno.readFile(ROOT + file)));
  const world = `${Deno.version.deno} ${Deno.build.target} ${Deno.env.get("DENORT_BIN") ?? ""} ${forced}`;
  return await digest(new TextEncoder().encode(world), ...parts);
}

async function libFiles(folder: string): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(ROOT + folder));
  const nested = entries.map(({ name, isDirectory }) =>
    isDirectory ? libFiles(`${folder}${name}/`) : Promise.resolve([folder + name])
  );
  return (await Promise.all(nested)).flat();
}

/** Makes both programs in `dist` if something has changed. True if they are self-extracting ones. */
export async function makePrograms(forceSelfExtracting = false): Promise<boolean> {
  const stampPath = `${DIST}/.parts/stamp`;
  const stamp = await stampOf(forceSelfExtracting);
  await Deno.mkdir(`${DIST}/.parts`, { recursive: true });
  const [made, kind] = (await Deno.readTextFile(stampPath).catch(() => "")).split(" ");
  const names = Object.keys(MAINS) as ProgramName[];
  const areThere = await Promise.all(names.map((name) => Deno.stat(`${DIST}/${name}`).then(({ isFile }) => isFile, () => false)));
  if (made === stamp && areThere.every((isThere) => isThere)) return kind === "self-extracting";
  let selfExtracting = forceSelfExtracting;
  for (const name of names) {
    if (!selfExtracting && await compileByDeno(name, `${DIST}/${name}`)) continue;
    if (!selfExtracting) {
      console.error("Deno's runtime base cannot be had here (DENORT_BIN may name one): making self-extracting programs");
    }
    selfExtracting = true;
    await makeSelfExtracting(name, `${DIST}/${name}`);
  }
  await Deno.writeTextFile(stampPath, `${stamp} ${selfExtracting ? "self-extracting" : "compiled"}`);
  console.error(`Made ${names.map((name) => `dist/${name}`).join(" and ")}`);
  return selfExtracting;
}

if (import.meta.main) await makePrograms(parseArgs(Deno.args, { boolean: ["self-extracting"] })["self-extracting"] === true);
