/** The programs of others that the benchmark needs: where they are, which version they are, and which Debian package has them. */

/** Each program, and how it tells its version. */
export const TOOLS = {
  haproxy: { package: "haproxy", use: "the load balancer to compare with", version: ["-v"], pattern: /^HAProxy version (\S+)/m },
  nginx: {
    package: "nginx-light",
    use: "the other proxy to compare with, and the web server behind all of them",
    version: ["-v"],
    pattern: /^nginx version: nginx\/(\S+)/m,
  },
  wrk: { package: "wrk", use: "the client of the request workloads", version: ["-v"], pattern: /^wrk (\S+)/m },
  cc: {
    package: "gcc",
    use: "compiles the floor, the least that an epoll proxy can do, and clients and servers of some workloads",
    version: ["--version"],
    pattern: /(\d+\.\d+\.\d+)/,
  },
  iperf3: { package: "iperf3", use: "both ends of the bulk workloads", version: ["--version"], pattern: /^iperf (\S+)/m },
} as const satisfies Record<string, ToolRow>;

interface ToolRow {
  readonly package: string;
  readonly use: string;
  readonly version: readonly string[];
  readonly pattern: RegExp;
}

/** A row of TOOLS. */
export type ToolName = keyof typeof TOOLS;

/** A program that was found. */
export interface Tool {
  readonly path: string;
  readonly version: string;
}

/** What was found. */
export type Tools = { readonly [Name in ToolName]?: Tool };

/** Daemons are in sbin, which is not on everybody's PATH. */
const MORE_FOLDERS = ["/usr/sbin", "/usr/local/sbin"];

/** Where Debian's packages put nginx's dynamic modules, if nginx does not say. */
const NGINX_MODULES = "/usr/lib/nginx/modules";

/** Looks for all programs. */
export async function findTools(): Promise<Tools> {
  const names = Object.keys(TOOLS) as ToolName[];
  const found = await Promise.all(names.map(async (name) => [name, await findTool(name)] as const));
  return Object.fromEntries(found.filter(([, tool]) => tool !== undefined));
}

/** One sentence for each program that is missing. */
export function missingTools(tools: Tools): string[] {
  const missing = Object.entries(TOOLS).filter(([name]) => tools[name as ToolName] === undefined);
  return missing.map(([name, row]) => `${name} is not there (${row.use}): Debian's package ${row.package} has it`);
}

/**
 * How an nginx gets its stream module: a line for its configuration, which is empty where the module is built in. Throws a sentence
 * if there is none. `buildText` is what `nginx -V` says.
 */
export async function nginxStreamModule(buildText: string): Promise<string> {
  if (/--with-stream(?=\s|$)/.test(buildText)) return "";
  const [, folder = NGINX_MODULES] = buildText.match(/--modules-path=(\S+)/) ?? [];
  const path = `${folder}/ngx_stream_module.so`;
  if (await isFile(path)) return `load_module ${path};`;
  throw new Error("nginx has no stream module: Debian's package libnginx-mod-stream has it");
}

/** What a program says, on either output, when asked for its version. */
export async function versionText(path: string, args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await new Deno.Command(path, { args: [...args], stdin: "null" }).output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

async function findTool(name: ToolName): Promise<Tool | undefined> {
  const folders = [...(Deno.env.get("PATH") ?? "").split(":"), ...MORE_FOLDERS].filter((folder) => folder !== "");
  for (const folder of folders) {
    const path = `${folder}/${name}`;
    if (!await isFile(path)) continue;
    const [, version = "of an unknown version"] = (await versionText(path, TOOLS[name].version)).match(TOOLS[name].pattern) ?? [];
    return { path, version };
  }
  return undefined;
}

/** Whether a file is there. */
export function isFile(path: string): Promise<boolean> {
  return Deno.stat(path).then((stat) => stat.isFile, () => false);
}
