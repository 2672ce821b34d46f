/**
 * The control socket's file: in a folder of its owner's, and taken over only when nobody listens on it. Knows nothing of HTTP.
 */

import { failWith, OperatorError } from "../values/errors.ts";
import { folderOf } from "../values/paths.ts";
import { ifMissing, isSameFile, kindOf } from "../values/plain_file.ts";

/** Whether somebody listens on the Unix socket at `path`. In doubt yes: what is not refused is not free. */
export async function isListening(path: string): Promise<boolean> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return true;
  } catch (error) {
    return !(error instanceof Deno.errors.ConnectionRefused || error instanceof Deno.errors.NotFound);
  }
}

/**
 * Makes way for a socket at `path`: makes its folder (mode 0700) if there is none, refuses one that others can write to, and
 * removes a socket that a daemon left behind. Anything else at the path stays, and is an operator error.
 */
export async function claimSocket(path: string): Promise<void> {
  await makePrivateFolder(folderOf(path));
  const info = await Deno.lstat(path).catch(() => undefined);
  if (info === undefined) return;
  const cannot = `Cannot use control socket ${JSON.stringify(path)}`;
  const otherwise = "move it away or choose another --name";
  if (!info.isSocket) throw new OperatorError("conflict", `${cannot}: it exists and is no socket; ${otherwise}`);
  if (info.uid !== Deno.uid()) throw new OperatorError("conflict", `${cannot}: it belongs to another user; ${otherwise}`);
  if (await isListening(path)) throw new OperatorError("conflict", `${cannot}: another program listens on it; ${otherwise}`);
  await Deno.remove(path);
}

/** What listens at a path. */
export interface Listening {
  close(): unknown;
}

/** The control socket of a daemon that runs: a file that somebody may remove, and that is made anew then. */
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

  /** Listens at the path (mode 0600), which `claimSocket` has made free. `listen` is called again where the socket is made anew. */
  static async open(path: string, listen: (path: string) => Promise<Listening>): Promise<Door> {
    return new Door(path, listen, ...await makeSocket(path, listen));
  }

  /** Whether the socket at the path is the one that this daemon listens on. */
  get isThere(): boolean {
    try {
      return isSameFile(Deno.lstatSync(this.path), this.#made);
    } catch {
      return false;
    }
  }

  /** Makes the socket anew, and its folder. Throws an operator error where the path is another's. */
  async renew(): Promise<void> {
    await claimSocket(this.path);
    const old = this.#listening;
    [this.#listening, this.#made] = await makeSocket(this.path, this.listen);
    old.close();
  }

  /** Removes the socket, if it is this one. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.isThere) await Deno.remove(this.path).catch(() => {});
    this.#listening.close();
  }
}

/**
 * Under a name of its own first: whoever sees the socket at the path can connect, as its owner alone, and the runtime, which
 * removes the name that it was listened under when it stops listening, removes nobody's socket. No name at the path is shorter.
 */
async function makeSocket(path: string, listen: (path: string) => Promise<Listening>): Promise<[Listening, Deno.FileInfo]> {
  const temporary = `${folderOf(path)}/.${crypto.randomUUID().slice(0, 5)}`;
  const listening = await listen(temporary);
  try {
    await Deno.chmod(temporary, 0o600); // Deno.umask() would need a permission no flag can give
    await Deno.rename(temporary, path);
    return [listening, await Deno.lstat(path)];
  } catch (error) {
    listening.close();
    throw error;
  }
}

/**
 * Refuses the socket at `path`, before anything is sent to it, if another user may have made it. False where there is none. Throws
 * an operator error.
 */
export async function requireOwnSocket(path: string): Promise<boolean> {
  const cannot = `Cannot use control socket ${JSON.stringify(path)}`;
  try {
    const folder = await Deno.stat(folderOf(path)).catch(ifMissing(undefined));
    if (folder === undefined) return false;
    requirePrivate(folder, `${cannot}: its folder`);
    const socket = await Deno.lstat(path).catch(ifMissing(undefined));
    if (socket === undefined) return false;
    const otherwise = "move it away or choose another --name";
    if (!socket.isSocket) throw new OperatorError("failed", `${cannot}: it is ${kindOf(socket)} and no socket; ${otherwise}`);
    requireOwn(socket, `${cannot}: it`);
    return true;
  } catch (error) {
    return failWith(cannot)(error);
  }
}

/** Makes a folder that only its owner can enter; one that is there must at least not be writable for others. */
export async function makePrivateFolder(path: string): Promise<void> {
  const cannot = `Cannot use folder ${JSON.stringify(path)}`;
  try {
    await Deno.mkdir(path, { recursive: true, mode: 0o700 });
    requirePrivate(await Deno.stat(path), `${cannot}: it`);
  } catch (error) {
    failWith(cannot)(error);
  }
}

/** `what` begins the sentence. */
function requireOwn({ uid }: Deno.FileInfo, what: string): void {
  if (uid === null || uid === Deno.uid()) return;
  throw new OperatorError("failed", `${what} belongs to user ${uid}, and this is user ${Deno.uid()}; ask as that user`);
}

function requirePrivate(folder: Deno.FileInfo, what: string): void {
  requireOwn(folder, what);
  const mode = folder.mode ?? 0o700;
  const octal = (mode & 0o777).toString(8).padStart(3, "0");
  if ((mode & 0o022) !== 0) {
    throw new OperatorError("failed", `${what} has mode ${octal}: other users can write to it; chmod 700 it`);
  }
  const canEnter = (mode & 0o100) !== 0 || Deno.uid() === 0; // whether it can be written to shows when something is
  if (!canEnter) throw new OperatorError("failed", `${what} has mode ${octal}: not even its owner can enter it; chmod 700 it`);
}
