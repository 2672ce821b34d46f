/** Which requests reached which servers, by the servers' own logs; and which of them reached more than one, or one twice. */

import type { ServerProcess } from "./server_process.ts";

/** Reads the logs as they grow. */
export class Ledger {
  readonly #read = new Map<string, number>();
  /** Requests of this reading and of the one before: what is delivered again is so within a round, or just after it. */
  #recent = new Set<string>();
  #before = new Set<string>();

  constructor(readonly servers: readonly ServerProcess[]) {}

  /** Deliveries since the last reading of requests that had been delivered before. */
  async countRepeated(): Promise<number> {
    this.#before = this.#recent;
    this.#recent = new Set();
    let repeated = 0;
    for (const { logPath } of this.servers) {
      for (const key of await this.#newLines(logPath)) {
        if (this.#recent.has(key) || this.#before.has(key)) repeated++;
        this.#recent.add(key);
      }
    }
    return repeated;
  }

  /** Whole lines that came since the last time. */
  async #newLines(path: string): Promise<string[]> {
    using file = await Deno.open(path);
    const from = this.#read.get(path) ?? 0;
    await file.seek(from, Deno.SeekMode.Start);
    const text = await new Response(file.readable).text();
    const end = text.lastIndexOf("\n") + 1;
    this.#read.set(path, from + end); // keys are ASCII, so characters are bytes
    return text.slice(0, end).split("\n").slice(0, -1);
  }
}
