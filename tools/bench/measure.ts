/**
 * What a process and the machine have used, read from /proc (proc(5)): CPU time, context switches, TCP segments, resident memory,
 * and which ports are listened on. A process stands for itself and all its descendants: nginx works in children. Linux only.
 */

/** Ticks of /proc/stat per second, USER_HZ: a constant of the interface on every architecture but Alpha. */
const TICKS_PER_SECOND = 100;

/** What one thread has used since its start. */
interface ThreadUsage {
  readonly cpuNs: number;
  readonly switches: number;
}

/** What the whole machine has used since its start: the kernel, clients and servers included. */
interface SystemUsage {
  readonly cpuSeconds: number;
  /** From one task to another, or to none. */
  readonly switches: number;
  /** Sent: over loopback each is received once, so received ones would be the same again. */
  readonly segments: number;
}

/** What had been used at a moment. */
export interface Snapshot {
  /** Of the process; undefined where none was named. */
  readonly threads?: ReadonlyMap<number, ThreadUsage>;
  readonly system: SystemUsage;
}

/** What was used between two moments. */
export interface Usage {
  /** Undefined where no process was named. */
  readonly process?: { readonly cpuSeconds: number; readonly switches: number };
  readonly system: SystemUsage;
}

/** Nanoseconds on a CPU: the first field of a thread's schedstat. */
export function parseSchedstat(text: string): number {
  const [, cpuNs] = text.match(/^(\d+) /) ?? [];
  if (cpuNs === undefined) throw new Error(`A line of schedstat is not understood: ${JSON.stringify(text)}`);
  return Number(cpuNs);
}

/** The context switches that a thread's status names: those to wait, and those forced by others. */
export function parseSwitches(text: string): number {
  const found = [...text.matchAll(/^(?:non)?voluntary_ctxt_switches:\s+(\d+)$/gm)];
  if (found.length !== 2) throw new Error("A thread's status does not name its context switches");
  return found.reduce((sum, [, switches]) => sum + Number(switches), 0);
}

/** Seconds that all CPUs have worked, by /proc/stat: without idle and iowait, and without steal, which others used. */
export function parseSystemCpuSeconds(text: string): number {
  const [, fields] = text.match(/^cpu\s+([\d ]+)$/m) ?? [];
  if (fields === undefined) throw new Error("/proc/stat has no line for all CPUs");
  const [user, nice, system, _idle, _iowait, irq, softirq] = fields.split(" ").map(Number);
  return (user + nice + system + irq + softirq) / TICKS_PER_SECOND;
}

/** Context switches of all CPUs, by /proc/stat, to idleness and back included. */
export function parseSystemSwitches(text: string): number {
  const [, switches] = text.match(/^ctxt (\d+)$/m) ?? [];
  if (switches === undefined) throw new Error("/proc/stat does not name context switches");
  return Number(switches);
}

/** TCP segments that were sent, by /proc/net/snmp: a line of names, then one of numbers. Those sent again do not count. */
export function parseSegments(text: string): number {
  const [names = [], numbers = []] = [...text.matchAll(/^Tcp: (.+)$/gm)].map(([, fields]) => fields.split(" "));
  const sent = Number(numbers[names.indexOf("OutSegs")]);
  if (Number.isNaN(sent)) throw new Error("/proc/net/snmp does not name the TCP segments that were sent");
  return sent;
}

/** Resident kB, by a process's smaps_rollup (`Rss`, exact) or status (`VmRSS`, which lags by some pages per CPU). */
export function parseResidentKb(text: string): number {
  const [, kb] = text.match(/^(?:Rss|VmRSS):\s+(\d+) kB$/m) ?? [];
  if (kb === undefined) throw new Error("A process does not say how much of it is resident");
  return Number(kb);
}

/** The IPv4 ports that are listened on, by /proc/net/tcp: state 0A. */
export function parseListeningPorts(text: string): Set<number> {
  const lines = text.matchAll(/^\s*\d+: [0-9A-F]{8}:([0-9A-F]{4}) [0-9A-F]{8}:[0-9A-F]{4} 0A /gm);
  return new Set([...lines].map(([, port]) => parseInt(port, 16)));
}

/** Soft limit on open files, by a process's limits. */
export function parseOpenFilesLimit(text: string): number {
  const [, limit] = text.match(/^Max open files\s+(\d+|unlimited)\s/m) ?? [];
  if (limit === undefined) throw new Error("/proc/self/limits does not name the limit on open files");
  return limit === "unlimited" ? Infinity : Number(limit);
}

/** The process and its descendants. Empty if it is gone. */
export async function processTree(pid: number): Promise<number[]> {
  const threads = await threadsOf(pid);
  const texts = await Promise.all(threads.map((thread) => readGone(`/proc/${pid}/task/${thread}/children`)));
  const children = texts.flatMap((text) => (text ?? "").split(" ").filter((word) => word !== "").map(Number));
  const below = await Promise.all(children.map(processTree));
  return threads.length === 0 ? [] : [pid, ...below.flat()];
}

/** What the process (none: nobody) and the machine have used until now. Throws if the process is gone. */
export async function takeSnapshot(pid?: number): Promise<Snapshot> {
  const system = await systemUsage();
  if (pid === undefined) return { system };
  const perProcess = await Promise.all((await processTree(pid)).map(threadUsages));
  const threads = new Map(perProcess.flat());
  if (threads.size === 0) throw new Error(`Process ${pid} has ended, or the kernel does not account for its threads`);
  return { threads, system };
}

/** What was used from one moment to the other. What a thread that ended in between had used in that time is lost. */
export function usageBetween(before: Snapshot, after: Snapshot): Usage {
  const system = {
    cpuSeconds: after.system.cpuSeconds - before.system.cpuSeconds,
    switches: after.system.switches - before.system.switches,
    segments: after.system.segments - before.system.segments,
  };
  const { threads } = after;
  if (threads === undefined) return { system };
  const used = [...threads].map(([thread, now]) => {
    const then = before.threads?.get(thread) ?? { cpuNs: 0, switches: 0 };
    return { cpuNs: now.cpuNs - then.cpuNs, switches: now.switches - then.switches };
  });
  const process = {
    cpuSeconds: used.reduce((sum, { cpuNs }) => sum + cpuNs, 0) / 1e9,
    switches: used.reduce((sum, { switches }) => sum + switches, 0),
  };
  return { process, system };
}

/** Does something, and says what the process and the machine used meanwhile. */
export async function metered<T>(pid: number | undefined, act: () => Promise<T>): Promise<{ result: T; usage: Usage }> {
  const before = await takeSnapshot(pid);
  const result = await act();
  return { result, usage: usageBetween(before, await takeSnapshot(pid)) };
}

/** The resident memory of a process and its descendants. */
export async function residentKb(pid: number): Promise<number> {
  const sizes = await Promise.all((await processTree(pid)).map(async (one) => {
    const text = await readGone(`/proc/${one}/smaps_rollup`) ?? await Deno.readTextFile(`/proc/${one}/status`);
    return parseResidentKb(text);
  }));
  return sizes.reduce((sum, kb) => sum + kb, 0);
}

/** Whether anybody listens on the port, found out without a connection: iperf3 would take one for a client. */
export async function isListening(port: number): Promise<boolean> {
  return parseListeningPorts(await Deno.readTextFile("/proc/net/tcp")).has(port);
}

/** The limit on open files that this process and its children have. */
export async function openFilesLimit(): Promise<number> {
  return parseOpenFilesLimit(await Deno.readTextFile("/proc/self/limits"));
}

async function systemUsage(): Promise<SystemUsage> {
  const [stat, snmp] = await Promise.all(["/proc/stat", "/proc/net/snmp"].map((path) => Deno.readTextFile(path)));
  return { cpuSeconds: parseSystemCpuSeconds(stat), switches: parseSystemSwitches(stat), segments: parseSegments(snmp) };
}

async function threadUsages(pid: number): Promise<[thread: number, usage: ThreadUsage][]> {
  const usages = await Promise.all((await threadsOf(pid)).map(async (thread) => {
    const folder = `/proc/${pid}/task/${thread}`;
    const [schedstat, status] = await Promise.all([readGone(`${folder}/schedstat`), readGone(`${folder}/status`)]);
    if (schedstat === undefined || status === undefined) return [];
    return [[thread, { cpuNs: parseSchedstat(schedstat), switches: parseSwitches(status) }] as [number, ThreadUsage]];
  }));
  return usages.flat();
}

async function threadsOf(pid: number): Promise<number[]> {
  try {
    const entries = await Array.fromAsync(Deno.readDir(`/proc/${pid}/task`));
    return entries.map(({ name }) => Number(name));
  } catch {
    return [];
  }
}

/** The text of a file, or undefined: threads and processes end while they are looked at. */
async function readGone(path: string): Promise<string | undefined> {
  try {
    const text = await Deno.readTextFile(path);
    return text === "" && !path.endsWith("/children") ? undefined : text;
  } catch {
    return undefined;
  }
}
