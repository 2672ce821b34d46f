/**
 * The terminal of `top`: its size, its keys, and what is written to it. While it is open, the terminal shows another screen and
 * hands over each key; disposing of it gives it back as it was.
 */

import { messageOf, OperatorError } from "../values/errors.ts";
import { ENTER, LEAVE, type Size } from "./screen.ts";

const ENCODER = new TextEncoder();
/** What a terminal that does not know its size has. */
const UNKNOWN_SIZE: Size = { columns: 80, rows: 24 };
/** The most that is read of what was typed at once. */
const INPUT_BYTES = 4096;
const ONCE = "use balancerctl top --once";

/** Throws a `usage` error where no full screen can be shown. */
export function requireTerminal(): void {
  for (const [stream, name] of [[Deno.stdout, "output"], [Deno.stdin, "input"]] as const) {
    if (!stream.isTerminal()) throw new OperatorError("usage", `Cannot show top: standard ${name} is no terminal; ${ONCE}`);
  }
  const term = Deno.env.get("TERM");
  if (term === undefined || ["", "dumb", "unknown"].includes(term)) {
    throw new OperatorError("usage", `Cannot show top on a terminal of the type ${JSON.stringify(term ?? "")}; ${ONCE}`);
  }
}

/** The size of the terminal; 80 × 24 where it is not known, or there is none. */
export function sizeOfTerminal(): Size {
  try {
    const { columns, rows } = Deno.consoleSize();
    return columns > 0 && rows > 0 ? { columns, rows } : UNKNOWN_SIZE;
  } catch {
    return UNKNOWN_SIZE;
  }
}

/** A terminal in raw mode. */
export class Terminal implements Disposable {
  #isOpen = false;

  constructor() {
    this.open();
  }

  /** Takes over the terminal. */
  open(): void {
    if (this.#isOpen) return;
    Deno.stdin.setRaw(true);
    this.#isOpen = true;
    this.write(ENTER);
  }

  /** Gives the terminal back as it was. Does what it can where the terminal has gone. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    for (const undo of [() => this.write(LEAVE), () => Deno.stdin.setRaw(false)]) {
      try {
        undo();
      } catch {
        // there is nobody left who could see it
      }
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Gives the terminal to the shell until the program is continued. */
  suspend(): void {
    this.close();
    Deno.kill(Deno.pid, "SIGTSTP");
    this.open();
  }

  /** Throws an operator error where the terminal has gone. */
  write(text: string): void {
    const bytes = ENCODER.encode(text);
    try {
      for (let sent = 0; sent < bytes.length;) sent += Deno.stdout.writeSync(bytes.subarray(sent));
    } catch (error) {
      throw new OperatorError("failed", `Lost the terminal: ${messageOf(error)}`);
    }
  }

  /** What is typed, as it comes, until the terminal has gone. */
  async *typed(): AsyncGenerator<string> {
    const decoder = new TextDecoder();
    const buffer = new Uint8Array(INPUT_BYTES);
    for (;;) {
      const count = await Deno.stdin.read(buffer).catch(() => null);
      if (count === null) return;
      yield decoder.decode(buffer.subarray(0, count), { stream: true });
    }
  }
}
