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

/**
 * How V8 runs a program. What a command makes fits into the young generation (MiB), so that no garbage is collected before it ends:
 * that took 5 ms.
 */
const V8_FLAGS: Readonly<Record<ProgramName, readonly string[]>> = {
  balancer: [],
  balancerctl: ["--v8-flags=--min-semi-space-size=16"],
};

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
    const { main, scripts } = await bundle(name);
    for (const [file, text] of Object.entries(scripts)) await Deno.writeTextFile(`${folder}/${file}`, text);
    const made = `${folder}/${name}`;
    const where = target === undefined ? [] : ["--target", target];
    const flags = ["-q", "--no-prompt", "--no-config", "--no-lock", ...permissionFlags(name), ...V8_FLAGS[name], ...where];
    const { success, complaint } = await runDeno(["compile", ...flags, "--output", made, `${folder}/${main}`]);
    if (success) await replaceFile(output, [await Deno.readFile(made)], 0o755);
    else if (Deno.env.get("DENORT_BIN") !== undefined || !BASE_IS_MISSING.test(complaint)) {
      throw new Error(`deno compile failed: ${complaint}`);
    }
    return success;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/**
 * An import of another script while the program runs, and the same so that the runtime does not see it. Those that it sees it reads
 * and analyses when it starts; `deno compile` must see them, and does that once.
 */
const PLAIN_IMPORT = /\bimport\("(\.\/[\w-]+\.js)"\)/g;
const LATE_IMPORT = 'import(import.meta.resolve("$1"))';

/** Makes a self-extracting program for this machine. */
async function makeSelfExtracting(name: ProgramName, output: string): Promise<void> {
  const { main, scripts } = await bundle(name);
  const runtime = await Deno.readFile(Deno.execPath());
  const texts = Object.entries(scripts).map(([file, text]) => [file, text.replace(PLAIN_IMPORT, LATE_IMPORT)]);
  const program = `${name}-${await digest(encode(JSON.stringify(texts)))}`;
  const runtimeFile = `deno-${await digest(runtime)}`;
  const files = texts.map(([file, text]) => ({ path: `$program/${file}`, bytes: encode(text) }));
  const parts = [
    ...await Promise.all(files.map(async (file) => ({ ...file, compressed: await gzip(file.bytes) }))),
    { path: "$runtime", bytes: runtime, compressed: await compressRuntime(runtime) },
  ];
  const starts = parts.map((_, i) => parts.slice(0, i).reduce((sum, { compressed }) => sum + compressed.length, 0));
  const values = {
    NAME: name,
    VERSION: deno.version,
    PROGRAM: program,
    MAIN: main,
    RUNTIME: runtimeFile,
    // As ls sorts names.
    FILES: parts.map(({ path, bytes }) => `${path} ${bytes.length}`).toSorted().join(" "),
    PARTS: parts.map(({ path, bytes, compressed }, i) => [path, bytes.length, starts[i], compressed.length].join(" ")).join(" "),
    FLAGS: [...permissionFlags(name), ...V8_FLAGS[name]].join(" "),
  };
  const head = withStart(await Deno.readTextFile(`${ROOT}tools/self_extracting.sh`), values);
  await replaceFile(output, [head, ...parts.map(({ compressed }) => compressed)], 0o755);
}

/** Fills in the template, with the place (from 1) where the parts begin: it depends on the length of the head itself. */
function withStart(template: string, values: Readonly<Record<string, string>>): Uint8Array<ArrayBuffer> {
  const headOf = (length: number) => {
    const all: Record<string, string> = { ...values, START: String(length + 1) };
    return encode(template.replace(/@([A-Z_]+)@/g, (_, name) => all[name]));
  };
  let head = headOf(0);
  while (headOf(head.length).length !== head.length) head = headOf(head.length);
  return headOf(head.length);
}

/** How the daemon names the script of its workers, which `deno bundle` does not follow. */
const WORKER_URL = 'new URL("./worker.ts", import.meta.url)';
const WORKER = "lib/engine/epoll/worker.ts";
const WORKER_FILE = "worker.js";

/**
 * A package that few commands need. It is bundled by itself: it requires modules of the runtime, and what that takes would be
 * loaded at every start.
 */
const LATE_PACKAGE = "yaml";
const LATE_PACKAGE_IMPORT = `import("${LATE_PACKAGE}")`;
const LATE_FILE = `${LATE_PACKAGE}.js`;

/** A program as scripts. */
interface Bundle {
  /** The file of the first to run. */
  readonly main: string;
  /** All by their files. */
  readonly scripts: Readonly<Record<string, string>>;
}

/** Makes scripts of a program and the packages that it uses. */
async function bundle(name: ProgramName): Promise<Bundle> {
  return { main: fileOf(MAINS[name]), scripts: await (name === "balancer" ? bundleDaemon() : bundleParts(MAINS[name])) };
}

/** Scripts of a program that ends soon: what few commands need are scripts of their own, which only they read. */
async function bundleParts(path: string): Promise<Record<string, string>> {
  const folder = await Deno.makeTempDir({ prefix: "balancer_bundle_" });
  try {
    await runBundler(["--external", LATE_PACKAGE, "--code-splitting", "--outdir", folder, path]);
    const files = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name).toSorted();
    const texts = await Promise.all(files.map((file) => Deno.readTextFile(`${folder}/${file}`)));
    const whole = withText(texts.join("\0"), LATE_PACKAGE_IMPORT, `import("./${LATE_FILE}")`);
    const linked = whole.split("\0").map((text, i) => [files[i], text]);
    return { ...Object.fromEntries(linked), [LATE_FILE]: await bundleLatePackage() };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Scripts of the daemon. The first has the others as texts, too: it must not depend on files that somebody may remove. */
async function bundleDaemon(): Promise<Record<string, string>> {
  const program = await bundleScript(MAINS.balancer, ["--external", LATE_PACKAGE]);
  const [worker, late] = [await bundleScript(WORKER), await bundleLatePackage()];
  const main = withText(program, WORKER_URL, urlOf(WORKER_FILE, worker));
  return {
    [fileOf(MAINS.balancer)]: withText(main, LATE_PACKAGE_IMPORT, `import(${urlOf(LATE_FILE, late)})`),
    [WORKER_FILE]: worker,
    [LATE_FILE]: late,
  };
}

async function bundleLatePackage(): Promise<string> {
  const script = await bundleScript(import.meta.resolve(LATE_PACKAGE));
  return script.replaceAll("import.meta.url", '"file:///"'); // what it requires is no file, and a text has no place of its own
}

/** The script that is bundled from a main file. */
function fileOf(main: string): string {
  return main.replace(/ts$/, "js");
}

/** The script with something else in the one place of `part`. */
function withText(script: string, part: string, text: string): string {
  const [before, after, ...more] = script.split(part);
  if (after === undefined || more.length > 0) throw new Error(`The bundle must have ${part} once`);
  return `${before}${text}${after}`;
}

/**
 * An expression for the URL of a script: that of its file where there is one, otherwise of its text. The runtime keeps what it has
 * compiled by the URL, and that of a text is new each time: it would be compiled at every use, and kept once more.
 */
function urlOf(file: string, script: string): string {
  const text = `URL.createObjectURL(new Blob([${JSON.stringify(script)}], { type: "text/javascript" }))`;
  const found = `(file) => { try { Deno.statSync(file); return file; } catch { return ${text}; } }`;
  return `(${found})(new URL("./${file}", import.meta.url))`;
}

async function bundleScript(path: string, flags: readonly string[] = []): Promise<string> {
  const output = await Deno.makeTempFile({ suffix: ".js" });
  try {
    await runBundler([...flags, "--output", output, path]);
    return await Deno.readTextFile(output);
  } finally {
    await Deno.remove(output);
  }
}

async function runBundler(args: readonly string[]): Promise<void> {
  const { success, complaint } = await runDeno(["bundle", "-q", ...args]);
  if (!success) throw new Error(`deno bundle failed: ${complaint}`);
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

function encode(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
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
