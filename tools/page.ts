/**
 * Makes lib/dashboard/page_bundle.ts from lib/page/: the dashboard's page as one file with its style and its script inline, so that
 * a program serves it without a file beside it. The result is committed: who builds the programs needs no bundler of pages, and
 * `tests/dashboard/page_test.ts` says when it is old.
 */

// deno-lint-ignore-file no-console -- a tool speaks to its user

import { PAGE_BYTES_MAX } from "../lib/dashboard/page.ts";

const ROOT = `${import.meta.dirname}/../`;
const SOURCES = `${ROOT}lib/page/`;
const BUNDLE = `${ROOT}lib/dashboard/page_bundle.ts`;
/** Characters of a line of base64. */
const LINE = 128;

const HEAD =
  `/** The dashboard's page as \`deno task page\` has made it from lib/page/, compressed by gzip, in base64. Not written by hand. */

/** See \`page.ts\`, which unpacks it. */
export const PAGE_GZIP = \`
`;

/** The page: the shell with the style and the script in their places. */
export async function makePage(): Promise<string> {
  const [shell, style, script] = await Promise.all([
    Deno.readTextFile(`${SOURCES}index.html`),
    stylesheet(),
    bundle(`${SOURCES}main.ts`, "js"),
  ]);
  const page = place(place(shell, "@STYLE@", style), "@SCRIPT@", script);
  const bytes = new TextEncoder().encode(page).length;
  if (bytes > PAGE_BYTES_MAX) throw new Error(`The page has ${bytes} bytes and may have ${PAGE_BYTES_MAX}`);
  return page;
}

/** All style sheets of the page, by name: what stands in a later one goes before. */
async function stylesheet(): Promise<string> {
  const entries = await Array.fromAsync(Deno.readDir(SOURCES));
  const sheets = entries.map(({ name }) => name).filter((name) => name.endsWith(".css")).toSorted();
  return (await Promise.all(sheets.map((name) => Deno.readTextFile(SOURCES + name)))).map(withoutSpace).join("");
}

/** A style sheet without comments and the space that nobody needs. Texts in quotes stay as they are. */
function withoutSpace(sheet: string): string {
  return sheet.replace(/("[^"]*"|'[^']*')|\/\*[^]*?\*\/|\s+/g, (_, quoted) => quoted ?? " ")
    .replace(/("[^"]*"|'[^']*')|\s*([{};,])\s*/g, (_, quoted, mark) => quoted ?? mark)
    .replaceAll(";}", "}")
    .trim();
}

/** The text with something in its one place. */
function place(text: string, mark: string, part: string): string {
  const [before, after, ...more] = text.split(mark);
  if (after === undefined || more.length > 0) throw new Error(`lib/page/index.html must have ${mark} once`);
  return `${before}${part.trim()}${after}`;
}

async function bundle(path: string, ending: string): Promise<string> {
  const output = await Deno.makeTempFile({ suffix: `.${ending}` });
  try {
    const args = ["bundle", "-q", "--platform", "browser", "--minify", "--output", output, path];
    const { success, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT, env: { NO_COLOR: "1" } }).output();
    if (!success) throw new Error(`deno bundle failed: ${new TextDecoder().decode(stderr).trim()}`);
    return withoutEnd(await Deno.readTextFile(output));
  } finally {
    await Deno.remove(output);
  }
}

/** A script that HTML does not end, wherever the text of its end stands in it: in a literal, where a backslash changes nothing. */
function withoutEnd(script: string): string {
  return script.replaceAll(/<\/(?=script)/gi, "<\\/").replaceAll("<!--", "\\x3c!--");
}

/** The file of the bundle with this page in it. */
async function bundleFile(page: string): Promise<string> {
  const packed = new Blob([page]).stream().pipeThrough(new CompressionStream("gzip"));
  const text = new Uint8Array(await new Response(packed).arrayBuffer()).toBase64();
  return `${HEAD}${text.match(new RegExp(`.{1,${LINE}}`, "g"))!.join("\n")}\n\`;\n`;
}

if (import.meta.main) {
  const page = await makePage();
  await Deno.writeTextFile(BUNDLE, await bundleFile(page));
  console.error(`Made lib/dashboard/page_bundle.ts: the page has ${new TextEncoder().encode(page).length} bytes`);
}
