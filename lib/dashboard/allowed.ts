/**
 * What of the daemon's API the dashboard passes on: a row for each request; everything else is refused. A row that changes
 * something is passed on with `--write` alone. Pure.
 */

import { OperatorError } from "../values/errors.ts";

/** A request that may be passed on. Words in braces are parameters. */
interface Allowed {
  readonly method: "GET" | "POST" | "PATCH" | "DELETE";
  readonly path: string;
  readonly writes?: true;
}

/** Every request that may be passed on. No GET of the daemon changes anything. */
export const ALLOWED: readonly Allowed[] = [
  { method: "GET", path: "/v1/status" },
  { method: "GET", path: "/v1/services" },
  { method: "GET", path: "/v1/services/{service}" },
  { method: "GET", path: "/v1/servers" },
  { method: "GET", path: "/v1/servers/{server}" },
  { method: "GET", path: "/v1/series" },
  { method: "GET", path: "/v1/events" },
  { method: "GET", path: "/v1/connections" },
  { method: "GET", path: "/v1/recent" },
  { method: "GET", path: "/v1/clients" },
  { method: "GET", path: "/v1/history" },
  { method: "GET", path: "/v1/explain" },
  { method: "GET", path: "/v1/plan" },
  { method: "GET", path: "/v1/ring" },
  { method: "GET", path: "/v1/rebalance" },
  { method: "POST", path: "/v1/servers", writes: true },
  { method: "PATCH", path: "/v1/servers/{server}", writes: true },
  { method: "DELETE", path: "/v1/servers/{server}", writes: true },
  { method: "POST", path: "/v1/servers/{server}/check", writes: true },
  { method: "POST", path: "/v1/connections/{id}/close", writes: true },
  { method: "POST", path: "/v1/connections/{id}/move", writes: true },
  { method: "POST", path: "/v1/rebalance", writes: true },
  { method: "DELETE", path: "/v1/rebalance", writes: true },
];

/** The row for a request. Throws `unknown` for a path, and `notAllowed` for a method, that no row has. */
export function findAllowed(method: string, parts: readonly string[]): Allowed {
  const rows = ALLOWED.filter(({ path }) => matches(path.slice(1).split("/"), parts));
  const row = rows.find((row) => row.method === method);
  if (row !== undefined) return row;
  if (rows.length === 0) throw new OperatorError("unknown", `The dashboard has no /${parts.join("/")}`);
  const methods = rows.map(({ method }) => method).join(", ");
  throw new OperatorError("notAllowed", `The dashboard passes ${method} of this path on to nobody; there is ${methods}`);
}

function matches(pattern: readonly string[], parts: readonly string[]): boolean {
  return pattern.length === parts.length && pattern.every((word, i) => word.startsWith("{") ? parts[i] !== "" : word === parts[i]);
}
