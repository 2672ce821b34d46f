/**
 * What `balancerctl doctor` reads of the machine: files of /proc and /sys, by the shell, since Deno lets a program with our
 * permissions read none of them; and what their texts mean. On a system without them everything is undefined.
 */

/** Reads files; undefined for one that cannot be read. */
export type ReadFiles = (paths: readonly string[]) => Promise<readonly (string | undefined)[]>;

/** Prints each file, and behind it between zero bytes whether it could be read. */
const PRINT_FILES = String.raw`for file; do if cat -- "$file" 2>/dev/null; then printf '\0read\0'; else printf '\0\0'; fi; done`;

/** Reads files by the shell. */
export const readFiles: ReadFiles = async (paths) => {
  const args = ["-c", PRINT_FILES, "sh", ...paths];
  const { stdout } = await new Deno.Command("sh", { args, stdin: "null", stderr: "null" }).output();
  const parts = new TextDecoder().decode(stdout).split("\0");
  return paths.map((_, i) => parts[2 * i + 1] === "read" ? parts[2 * i] : undefined);
};

/** The soft limit on open files in the text of /proc/PID/limits; Infinity for none. */
export function openFilesIn(text: string | undefined): number | undefined {
  const [, soft] = text?.match(/^Max open files +(\S+)/m) ?? [];
  return soft === "unlimited" ? Infinity : numberIn(soft);
}

/** How many ports the text of ip_local_port_range has. */
export function portsIn(text: string | undefined): number | undefined {
  const [, low, high] = text?.match(/^([0-9]+)\s+([0-9]+)/) ?? [];
  return high === undefined ? undefined : Number(high) - Number(low) + 1;
}

/** A file that has one number. */
export function numberIn(text: string | undefined): number | undefined {
  return /^[0-9]+$/.test(text?.trim() ?? "") ? Number(text) : undefined;
}

/** An amount in kB, as /proc/meminfo and /proc/PID/status have it, in bytes. */
export function amountIn(text: string | undefined, name: string): number | undefined {
  const [, kb] = text?.match(new RegExp(`^${name}:\\s+([0-9]+) kB$`, "m")) ?? [];
  return kb === undefined ? undefined : Number(kb) * 1024;
}

/**
 * The files that may limit the memory of a process, by the text of its /proc/PID/cgroup: its group's and those of every group above
 * it, of version 2 or of version 1 (cgroups(7)).
 */
export function memoryLimitFiles(text: string | undefined): string[] {
  return (text ?? "").split("\n").flatMap((line) => {
    const [, controllers, path] = line.match(/^[0-9]+:([^:]*):(\/.*)$/) ?? [];
    if (path === undefined) return [];
    const groups = path.split("/").map((_, i, parts) => parts.slice(0, i + 1).join("/")).filter((group, i) =>
      i === 0 || group !== "/"
    );
    if (controllers === "") return groups.map((group) => `/sys/fs/cgroup${group}/memory.max`);
    if (!controllers.split(",").includes("memory")) return [];
    return groups.map((group) => `/sys/fs/cgroup/memory${group}/memory.limit_in_bytes`);
  });
}

/** Version 1 says "no limit" as nearly 2⁶³ bytes. */
const LIMIT_MAX = 2 ** 60;

/** The lowest of these limits; undefined if there is none ("max"). */
export function lowestLimit(texts: readonly (string | undefined)[]): number | undefined {
  const limits = texts.map(numberIn).filter((limit) => limit !== undefined && limit < LIMIT_MAX);
  return limits.length === 0 ? undefined : Math.min(...limits as number[]);
}

/** The kernel counts in these ticks for programs (USER_HZ), 100 a second on every architecture that Deno runs on. */
const TICKS_PER_SECOND = 100;

/** How long a process has run, by a clock that nobody sets, from /proc/PID/stat and /proc/uptime (proc(5)). In ms. */
export function ageIn(stat: string | undefined, uptime: string | undefined): number | undefined {
  // The 22nd field; the second is the name, in parentheses, and may have anything in it.
  const ticks = numberIn(stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
  const [, seconds] = uptime?.match(/^([0-9.]+) /) ?? [];
  if (ticks === undefined || seconds === undefined) return undefined;
  return Number(seconds) * 1000 - ticks / TICKS_PER_SECOND * 1000;
}

/** The type of the file system that a path is on, by the text of /proc/self/mountinfo: that of the last mount above it. */
export function fileSystemOf(path: string, mounts: string | undefined): string | undefined {
  const rows = (mounts ?? "").split("\n").flatMap((line) => {
    const [, place, type] = line.match(/^\S+ \S+ \S+ \S+ (\S+) .*? - (\S+)/) ?? [];
    const folder = place?.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8)));
    return folder !== undefined && (folder === "/" || path === folder || path.startsWith(`${folder}/`)) ? [{ folder, type }] : [];
  });
  const longest = Math.max(...rows.map(({ folder }) => folder.length));
  return rows.findLast(({ folder }) => folder.length === longest)?.type; // a later mount covers an earlier one
}
