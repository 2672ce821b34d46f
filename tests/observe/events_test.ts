import { LIMITS } from "../../lib/values/config.ts";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Event, EVENT_KINDS, EVENT_TEXT_MAX, Events } from "../../lib/observe/events.ts";

function numbersOf({ events }: { readonly events: readonly Event[] }): number[] {
  return events.map(({ number }) => number);
}

Deno.test("events have numbers from 1 on, a time, and null for what they are not about", () => {
  const events = new Events("start", () => 1_800_000_000_123);
  assertEquals(events.list({ limit: 10 }), { startId: "start", first: 0, last: 0, events: [] });
  events.add({ kind: "daemon", text: "Started" });
  events.add({ kind: "server", level: "warning", service: "web", server: "10.0.0.1:80", who: "alice", text: "Down" });
  const at = "2027-01-15T08:00:00.123Z";
  assertEquals(events.list({ limit: 10 }), {
    startId: "start",
    first: 1,
    last: 2,
    events: [
      { number: 1, at, kind: "daemon", level: "info", service: null, server: null, who: null, text: "Started" },
      { number: 2, at, kind: "server", level: "warning", service: "web", server: "10.0.0.1:80", who: "alice", text: "Down" },
    ],
  });
});

Deno.test("the text of an event is one printable line of at most 500 characters, whatever a reason holds", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 700 }), fc.string({ unit: "binary" }), (text, who) => {
      const events = new Events("start");
      events.add({ kind: "server", who, text });
      const [event] = events.list({ limit: 1 }).events;
      assert(event.text.length <= EVENT_TEXT_MAX, `${event.text.length}`);
      for (const shown of [event.text, event.who!]) assertEquals(/\p{Cc}/u.test(shown), false);
    }),
    { numRuns: 40 },
  );
  const events = new Events("start");
  events.add({ kind: "server", text: "a\x1b[2J<script>\nb" });
  assertEquals(events.list({ limit: 1 }).events[0].text, "a\\x1b[2J<script>\\x0ab");
});

Deno.test("the last events are kept; what is asked for is given, the last ones of it, in order", () => {
  const events = new Events("start");
  for (let number = 1; number <= LIMITS.eventsMax + 5; number++) events.add({ kind: "daemon", text: String(number) });
  assertEquals([events.first, events.last], [6, LIMITS.eventsMax + 5]);
  const all = events.list({ limit: 2 * LIMITS.eventsMax }).events;
  assertEquals([all.length, all[0].text, all.at(-1)!.text], [LIMITS.eventsMax, "6", String(LIMITS.eventsMax + 5)]);
  assertEquals(numbersOf(events.list({ limit: 2 })), [LIMITS.eventsMax + 4, LIMITS.eventsMax + 5]);
  assertEquals(numbersOf(events.list({ after: LIMITS.eventsMax + 3, limit: 10 })), [LIMITS.eventsMax + 4, LIMITS.eventsMax + 5]);
  assertEquals(numbersOf(events.list({ after: 10 * LIMITS.eventsMax, limit: 10 })), []);
  assertEquals([...events.between(0, 3)].map(({ number }) => number), [6, 7, 8]);
});

Deno.test("events are asked for by time, kind, service and server; one of no service is of each", () => {
  let nowMs = 0;
  const events = new Events("start", () => nowMs);
  events.add({ kind: "daemon", text: "Started" });
  nowMs = 5000;
  events.add({ kind: "server", service: "web", server: "10.0.0.1:80", text: "Down" });
  events.add({ kind: "drain", service: "db", server: "10.0.0.2:80", text: "Drained" });
  nowMs = 4000; // the clock has gone back
  events.add({ kind: "limit", text: "Full" });
  assertEquals(numbersOf(events.list({ limit: 9, sinceMs: 4000 })), [2, 3, 4]);
  assertEquals(numbersOf(events.list({ limit: 9, kinds: ["daemon", "drain"] })), [1, 3]);
  assertEquals(numbersOf(events.list({ limit: 9, service: "web" })), [1, 2, 4]);
  assertEquals(numbersOf(events.list({ limit: 9, server: "10.0.0.2:80" })), [3]);
  assertEquals(numbersOf(events.list({ limit: 9, kinds: EVENT_KINDS, service: "db", server: "10.0.0.1:80" })), []);
});

Deno.test("whoever subscribes is told of each new event until the end", () => {
  const events = new Events("start");
  events.add({ kind: "daemon", text: "before" });
  const told: string[] = [];
  const end = events.subscribe(({ text }) => told.push(text));
  events.add({ kind: "daemon", text: "one" });
  events.add({ kind: "daemon", text: "two" });
  end();
  events.add({ kind: "daemon", text: "after" });
  assertEquals(told, ["one", "two"]);
});
