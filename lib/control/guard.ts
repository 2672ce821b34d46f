/**
 * Keeps a daemon alone under its name and within reach: looks after its control socket and its lock, which somebody may remove
 * while it runs, and makes them anew. Decides nothing else.
 */

import { messageOf } from "../values/errors.ts";
import type { Lock } from "./lock.ts";
import { logger } from "../observe/log.ts";
import { folderOf } from "../values/paths.ts";
import { makePrivateFolder } from "./socket.ts";
import type { Door } from "./socket.ts";

/**
 * How often is looked whether the socket is there, which takes some microseconds; sooner than another daemon can start. (What
 * Deno.watchFs tells of a removed folder is sometimes nothing.)
 */
const GLANCE_MS = 100;
/** One glance in so many is a look at everything. */
const GLANCES_PER_LOOK = 10;

const log = logger("control");

/** What is looked after, until it is disposed of. */
export class Guard implements AsyncDisposable {
  readonly #door: Door;
  readonly #lock: Lock;
  readonly #timer: ReturnType<typeof setInterval>;
  #glances = 0;
  #looking: Promise<void> | undefined;
  #isOver = false;
  /** What was complained of last, so that it is said once. */
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
      await this.#lookAtLock(); // first: the socket is only for whoever has the lock
      if (!this.#isOver && !this.#door.isThere) await this.#renewDoor();
      this.#complaint = "";
    } catch (error) {
      this.#complain(messageOf(error));
    }
  }

  async #lookAtLock(): Promise<void> {
    const { path } = this.#lock;
    await makePrivateFolder(folderOf(path));
    const found = await this.#lock.check();
    if (found === "renewed") log.warn("Lock file {path} had been removed or replaced; it is locked anew", { path });
    if (found === "taken") {
      throw new Error(`Lock file ${JSON.stringify(path)} was replaced and another process has locked it: stop one of the two`);
    }
  }

  async #renewDoor(): Promise<void> {
    const { path } = this.#door;
    await this.#door.renew();
    log.warn("Control socket {path} had been removed or replaced; it is made anew", { path });
  }

  #complain(why: string): void {
    if (why !== this.#complaint) log.error("Cannot keep this balancer within reach: {why}", { why });
    this.#complaint = why;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    clearInterval(this.#timer);
    await this.#looking;
  }
}
