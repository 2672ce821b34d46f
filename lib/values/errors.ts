/**
 * What can go wrong for a person: one error class whose message is a sentence for the operator, and one table that says how each
 * kind of it ends a program and answers a request. What goes wrong on the network is not an error here but a value (see
 * `engine/engine.ts`); a bug is a failed `assert`.
 */

export { assert } from "@std/assert";

/** Exit codes of both programs. */
export const EXIT = { done: 0, failed: 1, usage: 2, notRunning: 3 } as const;

/** Kinds of operator error: the exit code of the program that meets it, and the HTTP status of the answer that carries it. */
export const ERROR_KINDS = {
  usage: { exit: EXIT.usage, status: 400 },
  unknown: { exit: EXIT.failed, status: 404 },
  notAllowed: { exit: EXIT.failed, status: 405 },
  conflict: { exit: EXIT.failed, status: 409 },
  tooSlow: { exit: EXIT.failed, status: 408 },
  tooLarge: { exit: EXIT.failed, status: 413 },
  failed: { exit: EXIT.failed, status: 500 },
  busy: { exit: EXIT.failed, status: 503 },
  notRunning: { exit: EXIT.notRunning, status: 502 }, // no daemon answers it
} as const;

/** A row of ERROR_KINDS. */
export type ErrorKind = keyof typeof ERROR_KINDS;

/** Something the operator can put right. The message is one sentence: the value, the state, the way out; no full stop. */
export class OperatorError extends Error {
  override readonly name = "OperatorError";

  constructor(readonly kind: ErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** What Deno says behind the system's words: the error's number, and the call with the path that our sentences begin with. */
const SYSTEM_CALL = / \(os error [0-9]+\).*$/s;

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  // Deno's advice would be --allow-all, which no operator can give.
  if (error instanceof Deno.errors.NotCapable) {
    const isFiles = /requires (read|write|all) access/i.test(error.message);
    return isFiles ? "programs keep no files there; choose another folder" : "this program has no permission to do that";
  }
  return error instanceof Error ? error.message.replace(SYSTEM_CALL, "") : String(error);
}

/** For `catch`: throws an operator error that begins with `cannot` and says why; one that is a sentence already as it is. */
export function failWith(cannot: string): (error: unknown) => never {
  return (error) => {
    throw error instanceof OperatorError ? error : new OperatorError("failed", `${cannot}: ${messageOf(error)}`);
  };
}
