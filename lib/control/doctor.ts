/**
 * `balancerctl doctor`: examines the machine, both programs and, if one runs, a balancer with its servers. FACTS has a row for each
 * fact: how it is read, and the function of `doctor_facts.ts` that judges it.
 */

import deno from "../../deno.json" with { type: "json" };
import { isIp, parseAddress, reaches } from "../values/address.ts";
import { SETTINGS } from "../values/config.ts";
import { messageOf, OperatorError } from "../values/errors.ts";
import { addressesOf, parseListenerText } from "../values/listener_text.ts";
import { programStart } from "../values/packaging.ts";
import { findPaths, folderOf } from "../values/paths.ts";
import { countSources } from "../values/source_addresses.ts";
import type { Style } from "../values/terminal.ts";
import { indent, pad, widthOf } from "../values/text_layout.ts";
import type { Answers } from "./api.ts";
import type { ControlClient } from "./client.ts";
import {
  type CheckReading,
  type ConntrackReading,
  type DaemonReading,
  type DescriptorsReading,
  type EngineReading,
  type Finding,
  judgeChecks,
  judgeClock,
  judgeConntrack,
  judgeDaemon,
  judgeDescriptors,
  judgeEngine,
  judgeLoops,
  judgeMemory,
  judgeNames,
  judgePorts,
  judgeQueue,
  judgeState,
  judgeVersions,
  type Loop,
  type MemoryReading,
  type NamedServer,
  type PortsReading,
  type StateReading,
  type Verdict,
  type VersionsReading,
} from "./doctor_facts.ts";
import {
  ageIn,
  amountIn,
  fileSystemOf,
  lowestLimit,
  memoryLimitFiles,
  numberIn,
  openFilesIn,
  portsIn,
  type ReadFiles,
  readFiles,
} from "./doctor_machine.ts";
import { LIBC_PATHS } from "./peer.ts";

/** Servers that are checked, and how many of them at a time: each check takes as long as `--check-timeout` at most. */
const CHECKED_MAX = 200;
const CHECKED_AT_A_TIME = 16;

/** What is examined. */
interface Patient {
  readonly name: string;
  readonly status?: Answers["status"];
  readonly absence?: DaemonReading["absence"];
  readonly servers: readonly ServerReading[];
  readonly leftOut: number;
  /** The addresses of this machine. */
  readonly ownIps: readonly string[];
  readonly files: ReadFiles;
}

/** A server, and what came of its check. */
interface ServerReading extends CheckReading {
  readonly open: number;
  /** The addresses of its host. */
  readonly ips: readonly string[];
}

/** Where the examination gets what it needs. */
interface Examined {
  readonly client: ControlClient;
  readonly clientOf: (service: string) => ControlClient;
  readonly name: string;
}

/** A finding and the fact that it is about. */
export interface Diagnosis extends Finding {
  readonly fact: string;
}

/** What the doctor says. */
export interface Report {
  readonly name: string;
  /** The worst one. */
  readonly verdict: Verdict;
  readonly facts: readonly Diagnosis[];
}

interface Fact {
  readonly fact: string;
  readonly examine: (patient: Patient) => Promise<Finding[]>;
}

function fact<R>(fact: string, read: (patient: Patient) => R | Promise<R>, judge: (reading: R) => Finding[]): Fact {
  return { fact, examine: async (patient) => judge(await read(patient)) };
}

/** Every fact, in the order of the report. */
const FACTS: readonly Fact[] = [
  fact("balancer", (patient): DaemonReading => patient, judgeDaemon),
  fact("versions", readVersions, judgeVersions),
  fact("engine", readEngine, judgeEngine),
  fact("descriptors", readDescriptors, judgeDescriptors),
  fact("accept queue", async ({ files }) => numberIn((await files(["/proc/sys/net/core/somaxconn"]))[0]), judgeQueue),
  fact("local ports", readPorts, judgePorts),
  fact("conntrack", readConntrack, judgeConntrack),
  fact("memory", readMemory, judgeMemory),
  fact("loops", (patient) => ({ loops: findLoops(patient), servers: patient.servers.length }), judgeLoops),
  fact("names", ({ servers }): NamedServer[] => servers.filter(({ server }) => !isIp(parseAddress(server).host)), judgeNames),
  fact("checks", ({ servers, leftOut }) => ({ checks: servers, leftOut }), judgeChecks),
  fact("clock", readClock, judgeClock),
  fact("state", readState, judgeState),
];

/** Examines everything. A fact that cannot be read is a warning. */
export async function examine(examined: Examined): Promise<Report> {
  const patient = await admit(examined);
  const facts = await Promise.all(FACTS.map(async ({ fact, examine }) => {
    const findings = await examine(patient).catch((error): Finding[] => [
      { verdict: "warning", says: `Nobody can tell: ${messageOf(error)}` },
    ]);
    return findings.map((finding) => ({ fact, ...finding }));
  }));
  const all = facts.flat();
  const verdict = (["bad", "warning"] as const).find((verdict) => all.some((finding) => finding.verdict === verdict)) ?? "good";
  return { name: examined.name, verdict, facts: all };
}

/** The report as people read it. */
export function printReport({ facts, verdict }: Report, style: Style): string {
  const width = Math.max(...facts.map(({ fact }) => fact.length));
  const lines = facts.flatMap(({ fact, verdict, says, type }) => {
    const mark = style.marks[verdict];
    const first = `${style[verdict](mark)} ${pad(fact, width)}  ${says}`;
    return type === undefined ? [first] : [first, ...indent([style.name(type)], widthOf(mark) + width + 3)];
  });
  const ends: Record<Verdict, string> = {
    good: "Nothing is wrong",
    warning: "Nothing is broken; the lines with a ! are worth a look",
    bad: `Something is wrong: see the lines with ${style.marks.bad}`,
  };
  return [...lines, ends[verdict]].join("\n");
}

/** Asks the daemon for all that several facts need. */
async function admit({ client, clientOf, name }: Examined): Promise<Patient> {
  const machine = { name, files: readFiles, ownIps: ownIps() };
  try {
    const status = await client.status();
    return { ...machine, status, ...await checkServers(status, clientOf) };
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    return { ...machine, absence: { isStopped: error.kind === "notRunning", sentence: error.message }, servers: [], leftOut: 0 };
  }
}

function ownIps(): string[] {
  return Deno.networkInterfaces().map(({ address }) => address);
}

/** Makes the check of each server now. */
async function checkServers(
  { services }: Answers["status"],
  clientOf: Examined["clientOf"],
): Promise<Pick<Patient, "servers" | "leftOut">> {
  const all = [];
  for (const { service } of services.filter(({ removing }) => !removing)) {
    const { servers } = await clientOf(service).list();
    all.push(...servers.map(({ server, open }) => ({ service, server, open })));
  }
  const servers: ServerReading[] = [];
  for (let first = 0; first < Math.min(all.length, CHECKED_MAX); first += CHECKED_AT_A_TIME) {
    const group = all.slice(first, Math.min(first + CHECKED_AT_A_TIME, CHECKED_MAX));
    servers.push(
      ...await Promise.all(group.map(async (row) => ({ ...row, ...await checkServer(row.server, clientOf(row.service)) }))),
    );
  }
  return { servers, leftOut: all.length - servers.length };
}

async function checkServer(server: string, client: ControlClient): Promise<Pick<ServerReading, "verdict" | "reason" | "ips">> {
  const { host } = parseAddress(server);
  try {
    const { verdict, reason, steps } = await client.check(server);
    const found = steps.find(({ step }) => step === "resolved")?.detail.split(", ") ?? [];
    return { verdict, reason, ips: isIp(host) ? [host] : found };
  } catch (error) {
    return { verdict: "failed", reason: messageOf(error), ips: isIp(host) ? [host] : [] };
  }
}

async function readVersions({ status }: Patient): Promise<VersionsReading> {
  return { balancerctl: deno.version, balancer: await installedVersion(), daemon: status?.version };
}

/** The version of the program `balancer` beside this one. */
async function installedVersion(): Promise<string | undefined> {
  const { path, args } = programStart("balancer");
  try {
    const { stdout } = await new Deno.Command(path, { args: [...args, "--version"], stdin: "null", stderr: "null" }).output();
    return new TextDecoder().decode(stdout).match(/^balancer (\S+)/)?.[1];
  } catch {
    return undefined;
  }
}

async function readEngine({ status }: Patient): Promise<EngineReading> {
  const found = await Promise.all(LIBC_PATHS.map((path) => Deno.stat(path).then(() => path, () => undefined)));
  return {
    os: Deno.build.os,
    libc: found.find((path) => path !== undefined),
    engine: status?.engine,
    wanted: status?.settings[SETTINGS.engine.flag],
    warnings: status?.warnings ?? [],
  };
}

async function readDescriptors({ status, files }: Patient): Promise<DescriptorsReading> {
  const [limits] = await files([`/proc/${status?.pid ?? "self"}/limits`]);
  return { limit: openFilesIn(limits) ?? Infinity, connections: status?.connections, wanted: wantedConnections(status) };
}

/** `--max-connections`, if it is a number. */
function wantedConnections(status: Answers["status"] | undefined): number | undefined {
  return numberIn(status?.settings[SETTINGS.connectionsMax.flag]);
}

async function readPorts({ status, servers, files }: Patient): Promise<PortsReading> {
  const sources = new Map(
    status?.services.map(({ service, settings }) => {
      const { flag, parse, default: usual } = SETTINGS.sources;
      return [service, parse(settings[flag] ?? usual)];
    }),
  );
  const rows = servers.map(({ service, server, open }) => ({
    service,
    server,
    open,
    sources: countSources(sources.get(service) ?? null, parseAddress(server).host),
  }));
  const [range] = await files(["/proc/sys/net/ipv4/ip_local_port_range"]);
  return { perSource: portsIn(range), servers: rows, wanted: wantedConnections(status) };
}

async function readConntrack({ status, files }: Patient): Promise<ConntrackReading> {
  const [used, max] = (await files(["count", "max"].map((what) => `/proc/sys/net/netfilter/nf_conntrack_${what}`))).map(numberIn);
  const table = used === undefined || max === undefined ? undefined : { used, max };
  return { table, wanted: wantedConnections(status) };
}

async function readMemory({ status, files }: Patient): Promise<MemoryReading | undefined> {
  if (status === undefined) return undefined;
  const { pid, engine, connections } = status;
  const [group, own, machine] = await files([`/proc/${pid}/cgroup`, `/proc/${pid}/status`, "/proc/meminfo"]);
  const limit = lowestLimit(await files(memoryLimitFiles(group)));
  const [resident, total, free] = [amountIn(own, "VmRSS"), amountIn(machine, "MemTotal"), amountIn(machine, "MemAvailable")];
  if (resident === undefined || total === undefined || free === undefined) return undefined;
  if (limit !== undefined && limit < total) return { limitBytes: limit, isGroup: true, usedBytes: resident, engine, connections };
  return { limitBytes: total, isGroup: false, usedBytes: total - free, engine, connections };
}

function findLoops({ status, servers, ownIps }: Patient): Loop[] {
  const listeners =
    status?.services.flatMap(({ service, listeners }) =>
      listeners.flatMap(({ listener }) =>
        addressesOf(parseListenerText(listener)).map((address) => ({ service, listener, address }))
      )
    ) ?? [];
  const byPort = Map.groupBy(listeners, ({ address }) => address.port);
  return servers.flatMap(({ service, server, ips }) => {
    const { port } = parseAddress(server);
    const own = byPort.get(port)?.find(({ address }) => ips.some((ip) => reaches({ host: ip, port }, address, ownIps)));
    return own === undefined ? [] : [{ service, server, listener: own.listener, of: own.service }];
  });
}

async function readClock({ status, files }: Patient) {
  const nowMs = Date.now();
  const [stat, uptime] = status === undefined ? [] : await files([`/proc/${status.pid}/stat`, "/proc/uptime"]);
  const ageMs = ageIn(stat, uptime);
  const written = await Promise.all(
    [status?.stateFile, status?.logFile].map((path) => path ? Deno.stat(path).catch(() => null) : null),
  );
  const times = written.map((info) => info?.mtime?.getTime()).filter((ms) => ms !== undefined);
  return {
    nowMs,
    daemon: status === undefined || ageMs === undefined ? undefined : { ageMs, startedMs: Date.parse(status.startedAt) },
    newestFileMs: times.length === 0 ? undefined : Math.max(...times),
  };
}

async function readState({ name, status, files }: Patient): Promise<StateReading> {
  const path = status === undefined ? findPaths(name, { keepsState: true }).state : status.stateFile;
  if (path === null) return {};
  const folder = await nearestFolder(folderOf(path));
  const [mounts] = await files(["/proc/self/mountinfo"]);
  const fileSystem = fileSystemOf(await Deno.realPath(folder), mounts);
  try {
    await Deno.remove(await Deno.makeTempFile({ dir: folder, prefix: ".doctor-" }));
    return { folder, fileSystem };
  } catch (error) {
    return { folder, fileSystem, fault: messageOf(error) };
  }
}

/** The folder, or the one above it that is there already. */
async function nearestFolder(path: string): Promise<string> {
  const isThere = await Deno.stat(path).then(({ isDirectory }) => isDirectory, () => false);
  return isThere || path === "/" ? path : await nearestFolder(folderOf(path));
}
