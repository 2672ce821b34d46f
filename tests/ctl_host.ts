/**
 * `balancerctl` many times in one process: a start takes more CPU than most commands do, and the tests give hundreds of commands.
 * It runs the same `main` with the same permissions. Each line of standard input is a `Call`, each line of standard output the
 * `Answer` to it. Where the start itself matters (signals, terminals, pipes, languages), a test starts the program.
 */

// deno-lint-ignore-file no-console -- a program speaks to its user by it

import { main } from "../ctl.ts";

/** One command. */
export interface Call {
  readonly args: readonly string[];
  readonly cwd: string;
  /** These variables have these values; the others are as they were when the process started. */
  readonly env: Readonly<Record<string, string>>;
}

/** How it ended. */
export interface Answer {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command as if it were the only one of this process. */
async function run({ args, cwd, env }: Call): Promise<Answer> {
  Deno.chdir(cwd);
  for (const [name, value] of Object.entries(env)) Deno.env.set(name, value);
  const [decoder, errors] = [new TextDecoder(), [] as string[]];
  let stdout = "";
  Deno.stdout.writeSync = (bytes) => {
    stdout += decoder.decode(bytes, { stream: true });
    return bytes.length;
  };
  console.error = (...words: unknown[]) => void errors.push(`${words.join(" ")}\n`);
  const code = await main(args);
  return { code, stdout, stderr: errors.join("") };
}

/** Answers until standard input ends. */
async function serve(): Promise<void> {
  const write = Deno.stdout.writeSync.bind(Deno.stdout);
  let text = "";
  for await (const part of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    text += part;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      const answer = await run(JSON.parse(text.slice(0, end)));
      text = text.slice(end + 1);
      const bytes = new TextEncoder().encode(`${JSON.stringify(answer)}\n`);
      for (let sent = 0; sent < bytes.length;) sent += write(bytes.subarray(sent));
    }
  }
}

if (import.meta.main) {
  await serve();
  Deno.exit(); // a command that was interrupted may have left something to wait for
}
