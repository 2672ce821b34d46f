/**
 * Keeps a daemon reachable and the only one of its name: restores its control socket and its lock file if they are removed while it
 * runs.
 */

import { messageOf } from "../values/errors.ts";
import type { Lock } from "./lock.ts";
import { logger } from "../observe/log.ts";
import { folderOf } from "../values/paths.ts";
import { makePrivateFolder } from "./socket.ts";
import type { Door } from "./socket.ts";

/**
 * How often the socket is checked, which takes a few microseconds; more often than another daemon can start. (Deno.watchFs
 * sometimes does not report a removed folder.)
 */
const GLANCE_MS = 100;
/** How many of these checks there are per full check of socket and lock. */
const GLANCES_PER_LOOK = 10;

const log = logger("control");

/** Guards a socket and a lock until it is disposed of. */
export class Guard implements AsyncDisposable {
  readonly #door: Door;
  readonly #lock: Lock;
  readonly #timer: ReturnType<typeof setInterval>;
  #glances = 0;
  #looking: Promise<void> | undefined;
  #isDisposed = false;
  /** The last logged problem, so that it is logged once. */
  #complaint = "";

  constructor(door: Door, lock: Lock) {
    this.#door = door;
    this.#lock = lock;
    this.#timer = setInterval(() => this.#glance(), GLANCE_MS);
    Deno.unrefTimer(this.#timer);
  }

  #glance(): void {
    const isDue = ++this.#glances % GLANCES_PER_LOOK === 0;
    if (this.#looking !== undefined || (!isDue && (this.#complaint !== "" || this.#door.isThere))) return;
    this.#looking = this.#look().finally(() => this.#looking = undefined);
  }

  async #look(): Promise<void> {
    try {
      await this.#lookAtLock(); // first: the socket belongs to the holder of the lock
      if (!this.#isDisposed && !this.#door.isThere) await this.#renewDoor();
      this.#complaint = "";
    } catch (error) {
      this.#complain(messageOf(error));
    }
  }

  async #lookAtLock(): Promise<void> {
    const { path } = this.#lock;
    await makePrivateFolder(folderOf(path));
    const found = await this.#lock.check();
    if (found === "renewed") log.warn("Lock file {path} was removed or replaced; it is restored", { path });
    if (found === "taken") {
      throw new Error(`another process has locked a new lock file ${JSON.stringify(path)}; stop one of the two`);
    }
  }

  async #renewDoor(): Promise<void> {
    const { path } = this.#door;
    await this.#door.renew();
    log.warn("Control socket {path} was removed or replaced; it is restored", { path });
  }

  #complain(why: string): void {
    if (why !== this.#complaint) log.error("Cannot keep this balancer reachable: {why}", { why });
    this.#complaint = why;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true;
    clearInterval(this.#timer);
    await this.#looking;
  }
}
