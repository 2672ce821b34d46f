/**
 * Where a balancer keeps its files: in systemd's directories if they are set, else in XDG's, else in /run and /var/lib for root.
 * Each name has its own set of files, so several balancers can run on one machine.
 */

import { OperatorError } from "./errors.ts";

/**
 * The files of one balancer. `socket` is in a folder that only its owner can enter; `lock` is held while the daemon runs. `state`
 * is null with --no-state: the other files are then beside the socket.
 */
export interface Paths {
  readonly socket: string;
  readonly lock: string;
  readonly state: string | null;
  readonly log: string;
}

/** What `findPaths` depends on: environment variables, and the user id (null on systems without one). */
export interface PathsWorld {
  readonly env: (name: string) => string | undefined;
  readonly uid: number | null;
}

/** The environment and the user of this process. */
const PROCESS_WORLD: PathsWorld = { env: (name) => Deno.env.get(name), uid: Deno.uid() };

/** The name used when none is given. */
export const DEFAULT_NAME = "default";

/** The longest path of a Unix socket, without the final zero (unix(7): 108 on Linux; 104 on BSD and macOS). */
const SOCKET_PATH_MAX = Deno.build.os === "linux" ? 107 : 103;

/** Checks a balancer's name, which becomes part of file names. Throws a `usage` error. */
export function parseName(text: string): string {
  return requireName(text, "Name");
}

/** Checks the name of a service. Throws a `usage` error. */
export function parseServiceName(text: string): string {
  return requireName(text, "Service name");
}

/** How much of a bad name an error shows. */
const NAME_SHOWN_MAX = 60;

function requireName(text: string, what: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$/.test(text)) return text;
  const shown = text.length > NAME_SHOWN_MAX ? `${text.slice(0, NAME_SHOWN_MAX)}…` : text;
  throw new OperatorError(
    "usage",
    `${what} ${JSON.stringify(shown)} is not 1 to 32 letters, digits, "_", "." or "-", a letter or digit first`,
  );
}

/**
 * The files of the balancer called `name`. Throws an operator error where no folder can be determined or the path of the socket is
 * too long.
 */
export function findPaths(name: string, { keepsState, world = PROCESS_WORLD }: { keepsState: boolean; world?: PathsWorld }): Paths {
  const socket = findSocket(name, world);
  const folder = keepsState ? stateFolder(world) : folderOf(socket);
  const logs = given(world, "LOGS_DIRECTORY") ?? folder;
  return {
    socket,
    lock: `${folder}/${name}.lock`,
    state: keepsState ? `${folder}/${name}.json` : null,
    log: `${logs}/${name}.log`,
  };
}

/** The path of the control socket of the balancer called `name`. Throws an operator error as `findPaths` does. */
export function findSocket(name: string, world: PathsWorld = PROCESS_WORLD): string {
  const socket = `${runtimeFolder(world)}/${name}.sock`;
  const socketBytes = new TextEncoder().encode(socket).length;
  if (socketBytes <= SOCKET_PATH_MAX) return socket;
  const why = `its path has ${socketBytes} bytes and the limit is ${SOCKET_PATH_MAX}; choose a shorter --name or XDG_RUNTIME_DIR`;
  throw new OperatorError("usage", `Cannot use control socket ${JSON.stringify(socket)}: ${why}`);
}

/** The paths where the balancer called `name` may have its lock, for callers that cannot ask the daemon. */
export function findLocks(name: string, world: PathsWorld = PROCESS_WORLD): string[] {
  return [true, false].flatMap((keepsState) => {
    try {
      return [findPaths(name, { keepsState, world }).lock];
    } catch {
      return []; // there is no folder for the state
    }
  });
}

/** Whether a path stands for the same file in every folder. */
export function isAbsolute(path: string): boolean {
  return /^(\/|\\\\|[A-Za-z]:)/.test(path); // the last two are Windows'
}

/** The absolute path that `path` stands for in a folder. */
export function pathFrom(folder: string, path: string): string {
  return isAbsolute(path) ? path : `${folder}/${path}`;
}

/** The folder that a file with an absolute path is in. */
export function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}

function stateFolder(world: PathsWorld): string {
  const systemd = given(world, "STATE_DIRECTORY");
  if (systemd !== undefined) return systemd;
  const xdg = absolute(world.env("XDG_STATE_HOME"));
  if (xdg !== undefined) return `${xdg}/balancer`;
  if (world.uid === 0) return "/var/lib/balancer";
  const home = absolute(world.env("HOME"));
  if (home !== undefined) return `${home}/.local/state/balancer`;
  throw new OperatorError("failed", "Cannot determine the folder for the state: set HOME, XDG_STATE_HOME or STATE_DIRECTORY");
}

/** Without XDG_RUNTIME_DIR the socket is beside the state, because /tmp is not private. */
function runtimeFolder(world: PathsWorld): string {
  const systemd = given(world, "RUNTIME_DIRECTORY");
  if (systemd !== undefined) return systemd;
  const xdg = absolute(world.env("XDG_RUNTIME_DIR"));
  if (xdg !== undefined) return `${xdg}/balancer`;
  return world.uid === 0 ? "/run/balancer" : `${stateFolder(world)}/run`;
}

/** A path set by systemd: the first, if there are several (systemd.exec(5), RuntimeDirectory=). */
function given(world: PathsWorld, variable: string): string | undefined {
  return absolute(world.env(variable)?.split(":")[0]);
}

/** An absolute path without trailing slashes; undefined for any other path (the XDG specification says to ignore those). */
function absolute(path: string | undefined): string | undefined {
  return path?.startsWith("/") ? path.replace(/\/+$/, "") : undefined;
}
