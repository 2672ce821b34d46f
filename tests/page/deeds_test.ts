// What the page asks to be changed: requests that the dashboard passes on with --write, and with --write alone.

import { assertEquals, assertThrows } from "@std/assert";
import { findAllowed } from "../../lib/dashboard/allowed.ts";
import { deedOf, doneText, wordsOf } from "../../lib/page/model/deeds.ts";
import { type Change, CHANGES, putBackFigures, queryOf } from "../../lib/page/model/what_if.ts";
import { OperatorError } from "../../lib/values/errors.ts";

const SERVER = "[2001:db8::1]:443";
const CHANGE_NAMES = Object.keys(CHANGES) as Change[];

Deno.test("every change that the page makes is passed on by a row that needs --write", () => {
  for (const change of CHANGE_NAMES) {
    const { method, path, query } = deedOf({ change, server: SERVER, weight: "2" }, "web");
    const row = findAllowed(method, path.slice(1).split("/").map(decodeURIComponent));
    assertEquals([row.writes, query], [true, { service: "web" }], change);
  }
  assertThrows(() => findAllowed("POST", ["v1", "stop"]), OperatorError);
});

Deno.test("deedOf() has the body that the API takes", () => {
  const bodies = CHANGE_NAMES.map((change) => [change, deedOf({ change, server: ` ${SERVER} `, weight: "3" }, "web").body]);
  assertEquals(Object.fromEntries(bodies), {
    drain: { draining: true },
    undrain: { draining: false },
    remove: undefined,
    weight: { weight: 3 },
    add: { address: "2001:db8::1", port: 443, weight: 3 },
  });
});

Deno.test("a change is asked for and told of in words", () => {
  const asked = CHANGE_NAMES.map((change) => wordsOf({ change, server: "a:1", weight: "3" }));
  assertEquals(asked, ["Drain a:1", "Put back a:1", "Remove a:1", "Change the weight of a:1 to 3", "Add a:1"]);
  const removed = doneText({ change: "remove", server: "a:1", weight: "1" }, { open: 1200, moved: 1199, ended: 1 });
  assertEquals(removed, "a:1 is removed: of 1,200 open connections 1199 moved, 1 was reset.");
});

Deno.test("what is put back has no plan, and its figures are those of the server", () => {
  assertEquals(queryOf({ change: "undrain", server: "a:1", weight: "1" }, "web"), undefined);
  assertEquals(putBackFigures({ share: 0.25, open: 3 }).map(({ value }) => value), ["25 %", "3"]);
});
