/** The processes of `ctl_host.ts` that a test file uses: as many as commands run side by side, and a few are kept. */

import type { Answer, Call } from "./ctl_host.ts";

const ROOT = `${import.meta.dirname}/../`;

/** How many are kept: for one command, and one that asks meanwhile. */
const IDLE_MAX = 2;

/** They wait for a command. */
const idle: Host[] = [];

/** Runs a command of `balancerctl`. `env` is what the process starts with. */
export async function callCtl(call: Call, env: Readonly<Record<string, string>>): Promise<Answer> {
  const host = idle.pop() ?? new Host(env);
  const answer = await host.answer(call);
  if (idle.length < IDLE_MAX) idle.push(host);
  else await host.close();
  return answer;
}

class Host {
  readonly #process: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #reader: ReadableStreamDefaultReader<string>;

  constructor(env: Readonly<Record<string, string>>) {
    const args = ["run", "-q", "--no-prompt", "-P=balancerctl", "tests/ctl_host.ts"];
    this.#process = new Deno.Command(Deno.execPath(), { args, cwd: ROOT, env, stdin: "piped", stdout: "piped" }).spawn();
    this.#writer = this.#process.stdin.getWriter();
    this.#reader = this.#process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  async answer(call: Call): Promise<Answer> {
    await this.#writer.write(new TextEncoder().encode(`${JSON.stringify(call)}\n`));
    let line = "";
    while (!line.endsWith("\n")) {
      const { value, done } = await this.#reader.read();
      if (done) throw new Error(`The host of balancerctl ended while it ran: balancerctl ${call.args.join(" ")}`);
      line += value;
    }
    return JSON.parse(line);
  }

  async close(): Promise<void> {
    await this.#writer.close();
    await this.#reader.cancel();
    await this.#process.status;
  }
}
