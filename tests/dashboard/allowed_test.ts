// What is passed on: rows of the API, of which those that read change nothing.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { type Route, ROUTES } from "../../lib/control/api.ts";
import { ALLOWED, findAllowed } from "../../lib/dashboard/allowed.ts";
import { OperatorError } from "../../lib/values/errors.ts";

const routes: readonly Route[] = Object.values(ROUTES);

for (const { method, path, writes } of ALLOWED) {
  Deno.test(`${method} ${path} is a route of the daemon, and changes something only with another method than GET`, () => {
    assert(routes.some((route) => route.path === path && route.method === method.toLowerCase()));
    assertEquals(writes === true, method !== "GET");
  });
}

Deno.test("nothing that stops or replaces the balancer is passed on", () => {
  for (const { path } of ALLOWED) assert(!/stop|apply|undo|daemon|state/.test(path), path);
});

const FOUND: readonly [method: string, path: string, row: string][] = [
  ["GET", "/v1/status", "/v1/status"],
  ["GET", "/v1/servers/10.0.0.1:80", "/v1/servers/{server}"],
  ["DELETE", "/v1/servers/10.0.0.1:80", "/v1/servers/{server}"],
];

for (const [method, path, row] of FOUND) {
  Deno.test(`findAllowed() finds ${method} ${path}`, () => assertEquals(findAllowed(method, path.slice(1).split("/")).path, row));
}

const REFUSED: readonly [method: string, path: string, kind: OperatorError["kind"]][] = [
  ["GET", "/v1", "unknown"],
  ["GET", "/v1/servers/a/b", "unknown"],
  ["GET", "/v1/servers/", "unknown"],
  ["GET", "/v1/state", "unknown"],
  ["GET", "/openapi.json", "unknown"],
  ["GET", "/v1/constructor", "unknown"],
  ["POST", "/v1/stop", "unknown"],
  ["POST", "/v1/apply", "unknown"],
  ["PATCH", "/v1/daemon", "unknown"],
  ["POST", "/v1/status", "notAllowed"],
  ["DELETE", "/v1/services/a", "notAllowed"],
  ["PUT", "/v1/servers/a", "notAllowed"],
  ["TRACE", "/v1/status", "notAllowed"],
];

for (const [method, path, kind] of REFUSED) {
  Deno.test(`findAllowed() refuses ${method} ${path}`, () => {
    assertEquals(assertThrows(() => findAllowed(method, path.slice(1).split("/")), OperatorError).kind, kind);
  });
}
