/**
 * Errors for the operator: one class whose message is a sentence, and one table with the exit code and the HTTP status of each
 * kind. What goes wrong on the network is not an error here but a value (see `engine/engine.ts`); a bug is a failed `assert`.
 */

export { assert } from "../std/assertion.ts";

/** Exit codes of both programs. */
export const EXIT = { done: 0, failed: 1, usage: 2, notRunning: 3 } as const;

/** Kinds of operator error: the exit code of the program, and the HTTP status of the answer. */
export const ERROR_KINDS = {
  usage: { exit: EXIT.usage, status: 400 },
  unknown: { exit: EXIT.failed, status: 404 },
  notAllowed: { exit: EXIT.failed, status: 405 },
  conflict: { exit: EXIT.failed, status: 409 },
  tooSlow: { exit: EXIT.failed, status: 408 },
  tooLarge: { exit: EXIT.failed, status: 413 },
  failed: { exit: EXIT.failed, status: 500 },
  busy: { exit: EXIT.failed, status: 503 },
  notRunning: { exit: EXIT.notRunning, status: 502 }, // never an answer: no daemon runs
} as const;

export type ErrorKind = keyof typeof ERROR_KINDS;

/** Something the operator can correct. The message is one sentence: the value, the state, the way out; no full stop. */
export class OperatorError extends Error {
  override readonly name = "OperatorError";

  constructor(readonly kind: ErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** What Deno appends to the system's message: the error number and the call with its path, which our sentences begin with. */
const SYSTEM_CALL = / \(os error [0-9]+\).*$/s;

/** The message of any thrown value, without what Deno appends. */
export function messageOf(error: unknown): string {
  // Deno would advise --allow-all, which is not a flag of these programs.
  if (error instanceof Deno.errors.NotCapable) {
    const isFiles = /requires (read|write|all) access/i.test(error.message);
    return isFiles ? "the program may not use files there; choose another folder" : "the program has no permission to do that";
  }
  return error instanceof Error ? error.message.replace(SYSTEM_CALL, "") : String(error);
}

/** For `catch`: throws an operator error that begins with `cannot` and says why. Rethrows an operator error unchanged. */
export function failWith(cannot: string): (error: unknown) => never {
  return (error) => {
    throw error instanceof OperatorError ? error : new OperatorError("failed", `${cannot}: ${messageOf(error)}`);
  };
}
