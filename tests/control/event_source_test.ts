import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { EventReader } from "../../lib/control/event_source.ts";

const TEXT = 'id: s-1\n\nevent: gap\ndata: {"first":1}\n\n:\n\nid: s-2\nevent: event\ndata: {"a":\ndata: "b: c"}\n\r\n';

Deno.test("server-sent events are read, in whatever pieces they come", () => {
  const whole = new EventReader().push(TEXT);
  assertEquals(whole.filter(({ event }) => event !== ""), [
    { id: "s-1", event: "gap", data: '{"first":1}' },
    { id: "s-2", event: "event", data: '{"a":\n"b: c"}' },
  ]);
  assertEquals(whole[0], { id: "s-1", event: "", data: "" });
  fc.assert(fc.property(fc.array(fc.nat(TEXT.length)), (cuts) => {
    const places = [0, ...cuts.toSorted((a, b) => a - b), TEXT.length];
    const reader = new EventReader();
    assertEquals(places.slice(1).flatMap((place, i) => reader.push(TEXT.slice(places[i], place))), whole);
  }));
});

Deno.test("any text is read without an error, unless a line never ends", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => assert(Array.isArray(new EventReader().push(text)))));
  assertThrows(() => new EventReader().push("x".repeat(70_000)), Error, "too long");
});
