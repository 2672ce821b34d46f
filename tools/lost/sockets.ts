/** Which of a port's TCP sockets a process holds, by /proc (proc(5)): it listens, or it has clients' connections. Linux only. */

/** Sockets of a port, by their inodes. */
export interface PortSockets {
  readonly listening: ReadonlySet<string>;
  readonly established: ReadonlySet<string>;
}

/** What processes hold of them. */
export interface Held {
  readonly listens: boolean;
  /** Established connections, each once, whoever shares it. */
  readonly connections: number;
}

/** The states of /proc/net/tcp that matter here. */
const STATES = { listening: "0A", established: "01" } as const;

/** The IPv4 sockets whose own port is this one, by /proc/net/tcp. */
export function parseSockets(text: string, port: number): PortSockets {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const lines = text.matchAll(/^\s*\d+: [0-9A-F]{8}:([0-9A-F]{4}) \S+ ([0-9A-F]{2}) \S+ \S+ \S+\s+\d+\s+\d+ (\d+) /gm);
  const own = [...lines].filter(([, itsPort]) => itsPort === hex);
  const inState = (wanted: string) => new Set(own.filter(([, , state]) => state === wanted).map(([, , , inode]) => inode));
  return { listening: inState(STATES.listening), established: inState(STATES.established) };
}

/** What these processes hold of a port's sockets; those that are gone hold nothing. */
export async function heldBy(pids: readonly number[], port: number): Promise<Held> {
  const held = new Set((await Promise.all(pids.map(socketsOf))).flat());
  const { listening, established } = parseSockets(await Deno.readTextFile("/proc/net/tcp"), port);
  return { listens: held.intersection(listening).size > 0, connections: held.intersection(established).size };
}

/** The inodes of a process's sockets. */
async function socketsOf(pid: number): Promise<string[]> {
  const folder = `/proc/${pid}/fd`;
  try {
    const entries = await Array.fromAsync(Deno.readDir(folder));
    const targets = await Promise.all(entries.map(({ name }) => Deno.readLink(`${folder}/${name}`).catch(() => "")));
    return targets.flatMap((target) => target.match(/^socket:\[(\d+)\]$/)?.[1] ?? []);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
