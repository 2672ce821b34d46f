/** The URL of a request that came as a target and a Host header. */

import { OperatorError } from "../values/errors.ts";
import type { HttpRequest } from "./http.ts";

/** The URL of a request. The target may be a path or, as for a proxy, a whole URL. Throws a `usage` error. */
export function urlOf({ target, host }: Pick<HttpRequest, "target" | "host">): URL {
  const url = URL.parse(target.startsWith("/") ? `http://${host || "balancer"}${target}` : target);
  if (url !== null) return url;
  throw new OperatorError("usage", "Invalid request: its target or its Host header is not a valid URL");
}
