/**
 * The file of the control socket: in a private folder of its owner, and replaced only if no program listens on it. Knows nothing of
 * HTTP.
 */

import { failWith, OperatorError } from "../values/errors.ts";
import { folderOf } from "../values/paths.ts";
import { ifMissing, isSameFile, kindOf } from "../values/plain_file.ts";

/** Whether a program listens on the Unix socket at `path`. Any error but a refusal or a missing file counts as yes. */
export async function isListening(path: string): Promise<boolean> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return true;
  } catch (error) {
    return !(error instanceof Deno.errors.ConnectionRefused || error instanceof Deno.errors.NotFound);
  }
}

/** A socket with a temporary name that is older and that nobody listens on was left by a process that was killed. */
const LEFT_AFTER_MS = 60_000;

/**
 * Prepares `path` for a new socket: creates its folder (mode 0700) if it is missing, refuses a folder that others can write to, and
 * removes a socket that a daemon left behind, and those of processes that were killed in a hand-over. Throws an operator error for
 * anything else at the path, and leaves it there.
 */
export async function claimSocket(path: string): Promise<void> {
  await makePrivateFolder(folderOf(path));
  await sweepSockets(folderOf(path));
  const info = await Deno.lstat(path).catch(() => undefined);
  if (info === undefined) return;
  const cannot = `Cannot use control socket ${JSON.stringify(path)}`;
  const otherwise = "move it away or choose another --name";
  if (!info.isSocket) throw new OperatorError("conflict", `${cannot}: it exists and is not a socket; ${otherwise}`);
  if (info.uid !== Deno.uid()) throw new OperatorError("conflict", `${cannot}: it belongs to another user; ${otherwise}`);
  if (await isListening(path)) throw new OperatorError("conflict", `${cannot}: another program listens on it; ${otherwise}`);
  await Deno.remove(path);
}

/** Removes sockets with temporary names from a private folder: see LEFT_AFTER_MS. What cannot be removed stays. */
async function sweepSockets(folder: string): Promise<void> {
  for await (const { name } of Deno.readDir(folder)) {
    if (!name.startsWith(".")) continue;
    const path = `${folder}/${name}`;
    const info = await Deno.lstat(path).catch(() => undefined);
    const isLeft = info?.isSocket === true && info.mtime !== null && Date.now() - info.mtime.getTime() > LEFT_AFTER_MS;
    if (isLeft && !await isListening(path)) await Deno.remove(path).catch(() => {});
  }
}

/** A listener that can be closed. */
export interface Listening {
  close(): unknown;
}

/** The control socket of a running daemon. If its file is removed, `renew` restores it. */
export class Door implements AsyncDisposable {
  #listening: Listening;
  #made: Deno.FileInfo;

  private constructor(
    readonly path: string,
    private readonly listen: (path: string) => Promise<Listening>,
    listening: Listening,
    made: Deno.FileInfo,
  ) {
    this.#listening = listening;
    this.#made = made;
  }

  /** Listens at the path (mode 0600), which `claimSocket` has prepared. `renew` calls `listen` again. */
  static async open(path: string, listen: (path: string) => Promise<Listening>): Promise<Door> {
    return new Door(path, listen, ...await makeSocket(path, listen));
  }

  /** Whether the socket at the path is the one of this daemon. */
  get isThere(): boolean {
    try {
      return isSameFile(Deno.lstatSync(this.path), this.#made);
    } catch {
      return false;
    }
  }

  /** Restores the socket and its folder. Throws an operator error if something else is at the path. */
  async renew(): Promise<void> {
    await claimSocket(this.path);
    const old = this.#listening;
    [this.#listening, this.#made] = await makeSocket(this.path, this.listen);
    old.close();
  }

  /** Removes the socket, if it is still the one of this daemon. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.isThere) await Deno.remove(this.path).catch(() => {});
    this.#listening.close();
  }
}

/**
 * Listens under a temporary name and renames the socket. So the socket at the path always accepts connections and has the right
 * mode, and the runtime, which removes the original name when it stops listening, cannot remove the socket of another daemon. The
 * temporary name is as short as the shortest socket name, so that its path is not too long.
 */
async function makeSocket(path: string, listen: (path: string) => Promise<Listening>): Promise<[Listening, Deno.FileInfo]> {
  const temporary = `${folderOf(path)}/.${crypto.randomUUID().slice(0, 5)}`;
  const listening = await listen(temporary);
  try {
    await Deno.chmod(temporary, 0o600); // Deno.umask() needs a permission that no flag grants
    await Deno.rename(temporary, path);
    return [listening, await Deno.lstat(path)];
  } catch (error) {
    listening.close();
    throw error;
  }
}

/**
 * Checks, before anything is sent to the socket at `path`, that no other user can have made it, but for one whom root trusts: root
 * also uses the socket of the user to whom root has given the folder, as systemd does with `RuntimeDirectory=`. Returns that user's
 * id (null where there are none); undefined if there is no socket. Throws an operator error.
 */
export function findTrustedSocket(path: string): number | null | undefined {
  const cannot = `Cannot use control socket ${JSON.stringify(path)}`;
  try {
    const folder = unlessMissing(() => Deno.statSync(folderOf(path)));
    if (folder === undefined) return undefined;
    const isGiven = Deno.uid() === 0 && folder.uid !== 0 && isGivenByRoot(folderOf(path));
    const user = isGiven ? folder.uid : Deno.uid();
    requirePrivate(folder, `${cannot}: its folder`, user);
    const socket = unlessMissing(() => Deno.lstatSync(path));
    if (socket === undefined) return undefined;
    const otherwise = "move it away or choose another --name";
    if (!socket.isSocket) throw new OperatorError("failed", `${cannot}: it is ${kindOf(socket)} and not a socket; ${otherwise}`);
    requireOwn(socket, `${cannot}: it`, user);
    return user;
  } catch (error) {
    return failWith(cannot)(error);
  }
}

/** What is asked of a file system. */
interface Files {
  readonly lstatSync: (path: string) => Pick<Deno.FileInfo, "uid" | "mode" | "isSymlink">;
  readonly readLinkSync: (path: string) => string;
}

/** As many links as Linux follows on one path (path_resolution(7)). */
const LINKS_MAX = 40;

/**
 * Whether only root can have put the folder at `path` there. Goes the way that the system goes, entry by entry and link by link:
 * whoever may write to the folder of an entry can put another one in its place, so each of these must be root's, and nobody else
 * may write to it, sticky or not. Then the folder is the one that root, or systemd for it, has made and given to its owner: by
 * `DynamicUser=` /run/balancer, a link to private/balancer, where /run, /run/private and / are root's.
 *
 * The owner of the folder is not root, and may do as he likes in it. What root asks him is no more than what the API lets everybody
 * say who may use the socket; what he answers is printed, checked in its form and without control characters. But he
 * - may say that his lock is anywhere: `ControlClient.lockOf` believes only what root would look at itself;
 * - may say where his log is, and is another user than a program that root starts: `upgrade` and `restart` refuse (`requireOwn`);
 * - may replace the socket after it was looked at, by a link to a socket that only root may use: the user who listens is asked as
 *   well, and of what then is left, a request of this API in between, the service would have to speak HTTP and have its paths.
 */
export function isGivenByRoot(path: string, { lstatSync, readLinkSync }: Files = Deno): boolean {
  if (!path.startsWith("/")) return false;
  const rest = path.split("/").filter((name) => name !== "").reverse();
  let folder = "";
  for (let links = 0; rest.length > 0;) {
    const name = rest.pop()!;
    if (name === ".") continue;
    if (name === "..") {
      folder = folder.slice(0, Math.max(0, folder.lastIndexOf("/")));
      continue;
    }
    const { uid, mode } = lstatSync(folder === "" ? "/" : folder);
    if (uid !== 0 || mode === null || (mode & 0o022) !== 0) return false;
    const entry = `${folder}/${name}`;
    if (!lstatSync(entry).isSymlink) {
      folder = entry;
      continue;
    }
    if (++links > LINKS_MAX) return false;
    const target = readLinkSync(entry);
    if (target.startsWith("/")) folder = "";
    rest.push(...target.split("/").filter((name) => name !== "").reverse());
  }
  return true;
}

/** What a look at a file finds; undefined where there is none. Not async: a thread for that takes longer to start than the look. */
function unlessMissing(look: () => Deno.FileInfo): Deno.FileInfo | undefined {
  try {
    return look();
  } catch (error) {
    return ifMissing(undefined)(error);
  }
}

/** Creates a folder that only its owner can enter. An existing folder must at least not be writable by others. */
export async function makePrivateFolder(path: string): Promise<void> {
  const cannot = `Cannot use folder ${JSON.stringify(path)}`;
  try {
    await Deno.mkdir(path, { recursive: true, mode: 0o700 });
    requirePrivate(await Deno.stat(path), `${cannot}: it`);
  } catch (error) {
    failWith(cannot)(error);
  }
}

/** Throws an operator error that begins with `what` if the file belongs to another user than this one. */
function requireOwn({ uid }: Deno.FileInfo, what: string, user = Deno.uid()): void {
  if (uid === null || uid === user) return;
  throw new OperatorError("failed", `${what} belongs to user ${uid}, and this is user ${Deno.uid()}; run as that user`);
}

function requirePrivate(folder: Deno.FileInfo, what: string, user = Deno.uid()): void {
  requireOwn(folder, what, user);
  const mode = folder.mode ?? 0o700;
  const octal = (mode & 0o777).toString(8).padStart(3, "0");
  if ((mode & 0o022) !== 0) {
    throw new OperatorError("failed", `${what} has mode ${octal}: other users can write to it; run chmod 700 on it`);
  }
  const canEnter = (mode & 0o100) !== 0 || Deno.uid() === 0; // the first write shows whether it is writable
  if (!canEnter) {
    throw new OperatorError("failed", `${what} has mode ${octal}: not even its owner can enter it; run chmod 700 on it`);
  }
}
