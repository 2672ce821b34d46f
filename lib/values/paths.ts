/**
 * Where a balancer keeps its files: systemd's directories if they are given, then XDG's, then /run and /var/lib for root. One
 * name, one set of files, so several balancers live on one machine side by side.
 */

import { OperatorError } from "./errors.ts";

/**
 * The files of one balancer. `socket` lies in a folder for its owner only; `lock` is held for as long as the daemon lives. `state`
 * is null where none is kept: everything is beside the socket then.
 */
export interface Paths {
  readonly socket: string;
  readonly lock: string;
  readonly state: string | null;
  readonly log: string;
}

/** The world that `findPaths` looks at: environment variables, and the user's number (null where there is none). */
export interface PathsWorld {
  readonly env: (name: string) => string | undefined;
  readonly uid: number | null;
}

/** This process's world. */
export const PROCESS_WORLD: PathsWorld = { env: (name) => Deno.env.get(name), uid: Deno.uid() };

/** The name used when none is given. */
export const DEFAULT_NAME = "default";

/** Length of a Unix socket's path that the system allows, less the final zero (unix(7): 108 on Linux; 104 on BSD and macOS). */
const SOCKET_PATH_MAX = Deno.build.os === "linux" ? 107 : 103;

/** A balancer's name: it becomes part of file names. Throws a `usage` error. */
export function parseName(text: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$/.test(text)) return text;
  throw new OperatorError(
    "usage",
    `Name ${JSON.stringify(text)} is not 1 to 32 letters, digits, "_", "." or "-", a letter or digit first`,
  );
}

/**
 * The files of the balancer called `name`, which keeps its state or does not. Throws an operator error where no folder can be found
 * or the socket's path is too long.
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

/** The control socket of the balancer called `name`. Throws an operator error where there can be none. */
export function findSocket(name: string, world: PathsWorld = PROCESS_WORLD): string {
  const socket = `${runtimeFolder(world)}/${name}.sock`;
  const socketBytes = new TextEncoder().encode(socket).length;
  if (socketBytes <= SOCKET_PATH_MAX) return socket;
  const why =
    `its path has ${socketBytes} bytes and the system allows ${SOCKET_PATH_MAX}; choose a shorter --name or XDG_RUNTIME_DIR`;
  throw new OperatorError("usage", `Cannot use control socket ${JSON.stringify(socket)}: ${why}`);
}

/** Where the balancer called `name` may have its lock, for who has no answer of it. */
export function findLocks(name: string, world: PathsWorld = PROCESS_WORLD): string[] {
  return [true, false].flatMap((keepsState) => {
    try {
      return [findPaths(name, { keepsState, world }).lock];
    } catch {
      return []; // no folder for the state
    }
  });
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
  throw new OperatorError("failed", "Cannot tell where to keep the state: set HOME, XDG_STATE_HOME or STATE_DIRECTORY");
}

/** Without a runtime folder of the user's own the socket goes beside the state: /tmp is not private. */
function runtimeFolder(world: PathsWorld): string {
  const systemd = given(world, "RUNTIME_DIRECTORY");
  if (systemd !== undefined) return systemd;
  const xdg = absolute(world.env("XDG_RUNTIME_DIR"));
  if (xdg !== undefined) return `${xdg}/balancer`;
  return world.uid === 0 ? "/run/balancer" : `${stateFolder(world)}/run`;
}

/** A path that systemd gives: the first, if there are several (systemd.exec(5), RuntimeDirectory=). */
function given(world: PathsWorld, variable: string): string | undefined {
  return absolute(world.env(variable)?.split(":")[0]);
}

/** The path without a slash at its end, if it is an absolute one; others are to be ignored (XDG Base Directory Specification). */
function absolute(path: string | undefined): string | undefined {
  return path?.startsWith("/") ? path.replace(/\/+$/, "") : undefined;
}
