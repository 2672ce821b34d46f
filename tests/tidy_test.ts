// The house is in order: layers, documents that say what the code says, no file without a use.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import deno from "../deno.json" with { type: "json" };
import { SETTINGS } from "../lib/values/config.ts";
import { LIBC_PATHS as PEER_LIBC_PATHS } from "../lib/control/peer.ts";
import { LIBC_PATHS } from "../lib/engine/system/libc.ts";
import { ENGINES } from "../lib/engine/mod.ts";
import { readDocuments, sectionsOf, TABLES, withTables } from "../tools/tables.ts";
import { outcomeOf } from "./programs.ts";

const ROOT = `${import.meta.dirname}/../`;

/** Rooms from the ground up: a file may import from its own room and from lower ones. */
const ROOMS: readonly string[] = [
  "lib/std/",
  "lib/values/",
  "lib/routing/",
  "lib/health/",
  "lib/observe/",
  "lib/engine/",
  "lib/balancer/",
  "lib/control/",
  "lib/top/",
  "lib/dashboard/",
  "lib/demo/",
  "lib/program/",
  "lib/page/",
];

/** Within the engines' room: an engine knows the system and what engines share, and no other engine. */
const ENGINE_FOLDERS: readonly [folder: string, mayImport: RegExp][] = [
  ["lib/engine/system/", /^lib\/engine\/system\//],
  ["lib/engine/streams/", /^lib\/engine\/(streams\/|(?!mod)[a-z_]+\.ts)/],
  ["lib/engine/epoll/", /^lib\/engine\/(epoll\/|system\/|(?!mod)[a-z_]+\.ts)/],
];

/** A program of its own: the daemon starts it by its name, not by an import. */
const WORKER = "lib/engine/epoll/worker.ts";
/** The dashboard's page: it runs in a browser, and the programs have it as a text (`tools/page.ts`). */
const PAGE = "lib/page/main.ts";

/** Files that must not reach others, through any number of imports that run (not `import type`). */
const OUT_OF_REACH: readonly [from: string, never: RegExp][] = [
  ["ctl.ts", /^lib\/(engine\/|balancer\/|page\/|control\/(api|openapi|server)\.ts)|^(hono|zod|@logtape)/],
  ["lib/balancer/balancer.ts", /^lib\/engine\/(?!engine\.ts$)|^lib\/control\//],
  ["lib/engine/mod.ts", /^lib\/(balancer\/|control\/)/],
  [WORKER, /^lib\/(balancer\/|control\/|observe\/(metrics|log)\.ts|engine\/(epoll\/engine|mod)\.ts|engine\/streams\/)/],
  [WORKER, /^@logtape/],
  ["lib/routing/route.ts", /^lib\/(engine|balancer|control|observe|health)\//],
  [PAGE, /^lib\/(?!page\/|values\/|routing\/|observe\/(verdict|outages)\.ts$)|^(deno-std|xxhash-wasm|@)/],
];

/** Files that must not reach others by what is loaded at the start: it takes 2 to 60 ms, which every command would wait for. */
const OUT_OF_START: readonly [from: string, never: RegExp][] = [
  [
    "ctl.ts",
    /^lib\/(routing\/(hash|ring)|std\/assert\.ts|demo\/demo|control\/doctor|dashboard\/(?!command)|top\/(?!command))|^node:/,
  ],
  ["main.ts", /^lib\/std\/assert\.ts$/],
];

/** Who may import a package; everybody else goes through them. */
const GATEKEEPERS: readonly [specifier: RegExp, allowed: RegExp][] = [
  [/^deno-std\//, /^lib\/std\//],
  [/^@logtape\//, /^lib\/observe\/log\.ts$/],
  [/^xxhash-wasm$/, /^lib\/routing\/hash\.ts$/],
  [/^hono/, /^lib\/control\/server\.ts$/],
  [/^zod/, /^lib\/control\/(api|openapi)\.ts$/],
  [/^yaml$/, /^lib\/values\/yaml_tree\.ts$/],
];

/** A reader decides in a minute. */
const README_LINES_MAX = 132;

/** All test files are read, compiled and loaded in it, on a machine that is busy. */
const LOAD_MAX_MS = 120_000;

interface Import {
  readonly specifier: string;
  readonly typeOnly: boolean;
  readonly isLate: boolean;
}

async function filesUnder(folder: string, ending: string): Promise<string[]> {
  const files: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(ROOT + folder)) {
    if (isDirectory) files.push(...await filesUnder(`${folder}${name}/`, ending));
    else if (name.endsWith(ending)) files.push(folder + name);
  }
  return files;
}

/** The import and export-from lines of a file, with paths from the root. */
async function importsOf(file: string): Promise<Import[]> {
  const text = await Deno.readTextFile(ROOT + file);
  const early = [...text.matchAll(/^(?:import|export)\s(type\s)?(?:[^;"=]*?\sfrom\s)?"([^"]+)"/gm)];
  const late = [...text.matchAll(/\bawait import(type)?\("([^"]+)"\)/g)]; // what is loaded when it is needed
  return [...early, ...late].map(([, type, specifier], i) => {
    const path = specifier.startsWith(".") ? new URL(specifier, `file:///${file}`).pathname.slice(1) : specifier;
    return { specifier: path, typeOnly: type !== undefined, isLate: i >= early.length };
  });
}

async function programFiles(): Promise<string[]> {
  return ["main.ts", "ctl.ts", ...(await filesUnder("lib/", ".ts")).filter((file) => !file.endsWith(".d.ts"))];
}

function floorOf(file: string): number {
  return file.startsWith("lib/") ? ROOMS.findIndex((room) => file.startsWith(room)) : ROOMS.length;
}

/** `atStart`: without what is loaded when it is needed. */
async function reachedFrom(file: string, atStart = false, seen = new Set<string>()): Promise<Set<string>> {
  for (const { specifier, typeOnly, isLate } of await importsOf(file)) {
    if (typeOnly || (atStart && isLate) || seen.has(specifier)) continue;
    seen.add(specifier);
    const mapped = (deno.imports as Record<string, string>)[specifier];
    if (specifier.endsWith(".ts")) await reachedFrom(specifier, atStart, seen);
    else if (mapped?.startsWith("./")) await reachedFrom(mapped.slice(2), atStart, seen.add(mapped.slice(2)));
  }
  return seen;
}

/** Targets of links and pictures within the repository; what is in code is no link. */
function linksOf(markdown: string): string[] {
  const prose = withoutCode(markdown).replace(/`[^`]*`/g, "");
  const found = [...prose.matchAll(/\]\(([^)\s]+)\)/g), ...prose.matchAll(/<(?:img|a) [^>]*(?:src|href)="([^"]+)"/g)];
  return found.map(([, target]) => target).filter((target) => !/^[a-z]+:/.test(target));
}

/** The anchors that GitHub gives to headings: lower case, spaces as hyphens, other punctuation left out, repeated ones numbered. */
function anchorsOf(markdown: string): string[] {
  const seen = new Map<string, number>();
  return [...withoutCode(markdown).matchAll(/^#{1,6} (.+)$/gm)].map(([, heading]) => {
    const text = heading.replace(/\]\([^)]*\)/g, "");
    const anchor = text.toLowerCase().replace(/[^\p{L}\p{N}\p{M}_ -]/gu, "").trim().replaceAll(" ", "-");
    const count = seen.get(anchor) ?? 0;
    seen.set(anchor, count + 1);
    return count === 0 ? anchor : `${anchor}-${count}`;
  });
}

function withoutCode(markdown: string): string {
  return markdown.replace(/^```[^]*?^```$/gm, "");
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(ROOT + path).then(() => true, () => false);
}

Deno.test("imports go one way", async () => {
  for (const file of await programFiles()) {
    assert(floorOf(file) >= 0, `${file} is in no room: move it into one of ROOMS and give it a row in lib/README.md`);
    for (const { specifier } of await importsOf(file)) {
      if (!specifier.endsWith(".ts")) continue;
      assert(floorOf(specifier) <= floorOf(file), `${file} imports ${specifier} from a higher room`);
    }
  }
});

Deno.test("an engine imports no other engine", async () => {
  for (const [folder, mayImport] of ENGINE_FOLDERS) {
    for (const file of await filesUnder(folder, ".ts")) {
      for (const { specifier } of await importsOf(file)) {
        if (specifier.startsWith("lib/engine/")) assert(mayImport.test(specifier), `${file} imports ${specifier}`);
      }
    }
  }
});

Deno.test("what must not be reached is not reached", async () => {
  for (const [from, never] of OUT_OF_REACH) {
    for (const reached of await reachedFrom(from)) assert(!never.test(reached), `${from} reaches ${reached}`);
  }
  for (const [from, never] of OUT_OF_START) {
    for (const reached of await reachedFrom(from, true)) assert(!never.test(reached), `${from} loads ${reached} at its start`);
  }
});

Deno.test("each package is imported through its one door", async () => {
  for (const file of await programFiles()) {
    for (const { specifier } of await importsOf(file)) {
      for (const [pattern, allowed] of GATEKEEPERS) {
        if (pattern.test(specifier)) assert(allowed.test(file), `${file} imports ${specifier}`);
      }
    }
  }
});

Deno.test("no file is without a use", async () => {
  const files = await programFiles();
  const used = new Set<string>([
    "main.ts",
    "ctl.ts",
    WORKER,
    PAGE,
    ...Object.values(deno.imports).map((path) => path.replace("./", "")),
  ]);
  for (const file of files) for (const { specifier } of await importsOf(file)) used.add(specifier);
  for (const file of files) assert(used.has(file), `nobody imports ${file}`);
});

/** A type that is derived from a table in the same file: the table's comment is enough. */
const DERIVED_TYPE = /^export type \w+ = (keyof typeof \w+|\(?typeof [\w.]+\)?\[(number|keyof typeof \w+)\]);$/;

Deno.test("every export of the programs says what it is for", async () => {
  for (const file of await programFiles()) {
    const lines = (await Deno.readTextFile(ROOT + file)).split("\n");
    assert(lines[0].startsWith("/**"), `${file} must open with what it owns`);
    for (const [i, line] of lines.entries()) {
      if (!/^export (async )?(function\*?|const|class|interface|type) /.test(line) || DERIVED_TYPE.test(line)) continue;
      assert(/\*\/$/.test(lines[i - 1]), `${file}:${i + 1} has no comment: ${line}`);
    }
  }
});

/** As in deno.json; `deno fmt` does not wrap comments and texts. */
const LINE_WIDTH_MAX = deno.fmt.lineWidth;

Deno.test("no line is longer than the line width", async () => {
  const folders = await Promise.all(["lib/", "tests/", "tools/"].map((folder) => filesUnder(folder, ".ts")));
  for (const file of ["main.ts", "ctl.ts", ...folders.flat()]) {
    const long = (await Deno.readTextFile(ROOT + file)).split("\n").findIndex((line) => [...line].length > LINE_WIDTH_MAX);
    assertEquals(long, -1, `${file}:${long + 1} is longer than ${LINE_WIDTH_MAX} columns`);
  }
});

Deno.test("the map names every file", async () => {
  const map = await Deno.readTextFile(`${ROOT}lib/README.md`);
  for (const file of await programFiles()) {
    const name = file.replace(/^lib\//, "").replace(/^std\/.*/, "std/");
    assertStringIncludes(map, `\`${name.replace(/^(main|ctl)\.ts$/, "../$1.ts")}\``, `lib/README.md does not name ${file}`);
  }
});

/** In one process and one isolate: what test files share is loaded once. */
Deno.test("every test file loads where there is no program at all", async () => {
  const files = (await filesUnder("tests/", "_test.ts")).map((file) => new URL(`../${file}`, import.meta.url).href);
  const path = await Deno.makeTempFile({ prefix: "balancer_load_", suffix: "_test.ts" });
  try {
    await Deno.writeTextFile(path, files.map((file) => `import ${JSON.stringify(file)};\n`).join(""));
    const args = ["test", "-q", "--no-prompt", "--no-check", "-P=test", "--config", `${ROOT}deno.json`, "--filter", "/^$/", path];
    const env = { PATH: "/nowhere", NO_COLOR: "1" };
    const { code, stdout, stderr } = await outcomeOf(new Deno.Command(Deno.execPath(), { args, env, cwd: ROOT }), LOAD_MAX_MS);
    assertEquals(code, 0, stdout + stderr);
    const tests = Number(stdout.match(/([0-9]+) filtered out/)?.[1]);
    assert(tests > files.length, stdout);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("the documents' tables are what the code says", async () => {
  const documents = await readDocuments();
  for (const [path, text] of documents) assertEquals(text, withTables(text, documents), `${path}: run deno task tables`);
});

Deno.test("rows of the same group stand in a table of their own, under a heading", () => {
  const rows = [{ group: "pool", cells: ["`add`"] }, { group: "daemon", cells: ["`start`"] }, { group: "pool", cells: ["`a|b`"] }];
  const table = (...cells: string[]) => ["| Command |", "| ------- |", ...cells.map((cell) => `| ${cell.padEnd(7)} |`)].join("\n");
  assertEquals(
    sectionsOf({ heading: ["Command"], rows }),
    `### Pool\n\n${table("`add`", "`a\\|b`")}\n\n### Daemon\n\n${table("`start`")}`,
  );
  assertEquals(sectionsOf({ heading: ["Command"], rows: [{ cells: ["`add`"] }] }), table("`add`"));
});

Deno.test("every table of the code stands in a document", async () => {
  const all = [...(await readDocuments()).values()].join("\n");
  for (const name of Object.keys(TABLES)) {
    assertStringIncludes(
      all,
      `<!-- table: ${name} -->`,
      `no document has the table ${name}: give it a mark, and run deno task tables`,
    );
  }
});

Deno.test("the README can be read in a minute", async () => {
  const lines = (await Deno.readTextFile(`${ROOT}README.md`)).trimEnd().split("\n").length;
  assert(lines <= README_LINES_MAX, `README.md has ${lines} lines and may have ${README_LINES_MAX}: move details to docs/`);
});

Deno.test("the README leads to every document", async () => {
  const documents = await readDocuments();
  for (const path of documents.keys()) {
    if (path !== "README.md") assertStringIncludes(documents.get("README.md")!, `](${path})`, `README.md does not name ${path}`);
  }
});

Deno.test("a page in docs/ begins with the question that it answers", async () => {
  for (const [path, text] of await readDocuments()) {
    if (path !== "README.md") {
      assert(/^# .+\n\nThis page answers: /.test(text), `${path} does not begin with "This page answers: "`);
    }
  }
});

Deno.test("every link of the documents leads somewhere", async () => {
  const documents = new Map(await readDocuments());
  for (const path of ["lib/README.md", "CHANGELOG.md"]) documents.set(path, await Deno.readTextFile(ROOT + path));
  for (const [path, text] of documents) {
    for (const link of linksOf(text)) {
      const [target, anchor] = link.split("#");
      const file = target === "" ? path : new URL(target, `file:///${path}`).pathname.slice(1);
      assert(await exists(file), `${path} links to ${link}, and there is no ${file}`);
      if (anchor === undefined) continue;
      assert(
        anchorsOf(await Deno.readTextFile(ROOT + file)).includes(anchor),
        `${path} links to ${link}, and ${file} has no such heading`,
      );
    }
  }
});

Deno.test("the README gives a reason for every dependency", async () => {
  const readme = await Deno.readTextFile(`${ROOT}README.md`);
  for (const name of Object.keys(deno.imports)) {
    const asked = name.replace(/\/$/, "");
    assertStringIncludes(readme, `\`${asked}\``, `the table of dependencies does not have ${asked}`);
  }
});

Deno.test("every dependency is pinned", () => {
  for (const [name, target] of Object.entries(deno.imports)) {
    if (target.startsWith("npm:")) assert(/@\d+\.\d+\.\d+\/?$/.test(target), `${name} is not pinned: ${target}`);
  }
});

Deno.test("Deno's version stands in one place, and whoever must repeat it agrees", async () => {
  const [, version] = (await Deno.readTextFile(`${ROOT}.tool-versions`)).match(/^deno (\S+)$/m) ?? [];
  const texts = [...(await readDocuments()).values()].join("\n");
  const named = [...texts.matchAll(/deno@([0-9.]+)/g)].map(([, named]) => named);
  assert(named.length > 0);
  for (const other of named) assertEquals(other, version);
});

Deno.test("the programs may load libc where they look for it, and nothing else", () => {
  for (const { ffi } of [deno.permissions.balancer, deno.permissions.balancerctl]) {
    const allowed = ffi.filter((path) => !/(x86_64|aarch64)/.test(path) || path.includes(Deno.build.arch));
    assertEquals(allowed.toSorted(), [...LIBC_PATHS].toSorted());
  }
  assertEquals(PEER_LIBC_PATHS, LIBC_PATHS);
});

Deno.test("nobody but libc.ts and peer.ts touches a pointer", async () => {
  for (const file of await programFiles()) {
    const text = await Deno.readTextFile(ROOT + file);
    if (!["lib/engine/system/libc.ts", "lib/control/peer.ts"].includes(file)) {
      assert(!/Deno\.(Unsafe|dlopen)/.test(text), `${file} uses FFI by itself`);
    }
  }
});

Deno.test("the --engine flag names every engine", () => {
  assertEquals(SETTINGS.engine.value, ["auto", ...Object.keys(ENGINES)].join("|"));
});
