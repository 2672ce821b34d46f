/** A request's parts, checked and parsed by the schemas of its route, and the status of the answer. Knows no HTTP. */

import { OperatorError } from "../values/errors.ts";
import type { Route, RouteRequest, Schema } from "./api.ts";

/** The parts of a request in the order in which they are checked. */
const PARTS = ["query", "params", "body"] as const;

/** The parts of a request as they came. */
export type RawInput = Readonly<Record<keyof RouteRequest, unknown>>;

/** The parts of a request as the schemas of its route parse them. Throws an operator error for the first that does not fit. */
export function parseInput({ request = {} }: Route, came: RawInput): unknown {
  return Object.fromEntries(PARTS.map((part) => {
    const schema = request[part];
    return [part, schema && parseBy(schema, came[part])];
  }));
}

function parseBy(schema: Schema, value: unknown): unknown {
  const { success, data, error } = schema.safeParse(value);
  if (success) return data;
  throw new OperatorError("usage", explain(error.issues[0]));
}

/** The sentence for a value that a schema refused. The sentences of our own parsers already name the value. */
function explain({ code, path, message }: { code?: string; path: PropertyKey[]; message: string }): string {
  return code === "custom" || path.length === 0 ? message : `Cannot use ${path.join(".")}: ${message}`;
}

/** The status of a route's answer when the request succeeds. */
export function statusOf({ responses }: Route): number {
  return Number(Object.keys(responses)[0]); // an object has its numbers in ascending order, and errors have greater ones
}
