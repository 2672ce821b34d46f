/**
 * The control socket's file: in a folder of its owner's, and taken over only when nobody listens on it. Knows nothing of HTTP.
 */

import { messageOf, OperatorError } from "../errors.ts";
import { folderOf } from "../paths.ts";

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
 * Makes way for a socket at `path`: makes its folder (mode 0700) if there is none, refuses one that others can write to, and removes
 * a socket that a daemon left behind. Anything else at the path stays, and is an operator error.
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

/** Makes a folder that only its owner can enter; one that is there must at least not be writable for others. */
export async function makePrivateFolder(path: string): Promise<void> {
  const cannot = `Cannot use folder ${JSON.stringify(path)}`;
  try {
    await Deno.mkdir(path, { recursive: true, mode: 0o700 });
    const { mode, uid } = await Deno.stat(path);
    const isOurs = uid === null || uid === Deno.uid();
    const isOpen = mode !== null && (mode & 0o022) !== 0;
    if (!isOurs) throw new OperatorError("failed", `${cannot}: it belongs to another user`);
    if (isOpen) throw new OperatorError("failed", `${cannot}: other users can write to it; chmod 700 it`);
  } catch (error) {
    if (error instanceof OperatorError) throw error;
    throw new OperatorError("failed", `${cannot}: ${messageOf(error)}`);
  }
}
