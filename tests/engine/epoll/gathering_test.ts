// When a worker gathers events: never for a lone client, soon when it is saturated, and without going on and off.

import { assert, assertEquals, assertGreater, assertLessOrEqual } from "@std/assert";
import fc from "fast-check";
import { Gathering } from "../../../lib/engine/epoll/gathering.ts";
import { RECORDED_TURNS } from "./recorded_turns.ts";

type Turn = readonly [workMicros: number, waitMicros: number, events: number];

/** A worker that makes these turns: how often it begins to gather, when it last stopped, and how long it gathered. */
class Replay {
  readonly begins: number[] = [];
  readonly ends: number[] = [];
  pauses = 0;
  nowMs = 0;
  readonly #gathering = new Gathering(0);
  #isOn = false;

  run(turns: Iterable<Turn>): this {
    for (const [workMicros, waitMicros, events] of turns) {
      this.nowMs += (workMicros + waitMicros) / 1000;
      const isOn = this.#gathering.next(this.nowMs, waitMicros / 1000, events);
      if (isOn) this.pauses++;
      // A turn with many events makes no pause, but does not end the gathering.
      if (events < 16 && isOn !== this.#isOn) (isOn ? this.begins : this.ends).push(this.nowMs);
      if (events < 16) this.#isOn = isOn;
    }
    return this;
  }
}

function* repeated(turn: Turn, times: number): Generator<Turn> {
  for (let i = 0; i < times; i++) yield turn;
}

const SATURATED: Turn = [20, 2, 4];
const LONE: Turn = [10, 20, 1];

Deno.test("a saturated worker gathers after 4 to 8 ms", () => {
  const { begins } = new Replay().run(repeated(SATURATED, 1000));
  assertEquals(begins.length, 1);
  assert(begins[0] >= 4 && begins[0] <= 8, `${begins[0]} ms`);
});

Deno.test("it stops within 4 ms when its clients fall silent, and does not begin again for 100 ms", () => {
  const replay = new Replay().run(repeated(SATURATED, 1000));
  const quietMs = replay.nowMs;
  replay.run(repeated(LONE, 200)).run(repeated(SATURATED, 20_000));
  assertLessOrEqual(replay.ends[0] - quietMs, 4);
  assertEquals(replay.begins.length, 2);
  assertGreater(replay.begins[1] - replay.ends[0], 100);
});

Deno.test("a turn with 16 events is not followed by a pause", () => {
  const gathering = new Gathering(0);
  let nowMs = 0;
  for (let i = 0; i < 1000; i++) gathering.next(nowMs += 0.02, 0, 4);
  assertEquals(gathering.next(nowMs += 0.02, 0, 4), true);
  assertEquals(gathering.next(nowMs += 0.02, 0, 16), false);
  assertEquals(gathering.next(nowMs += 0.02, 0, 4), true);
});

for (const [clients, turns] of Object.entries(RECORDED_TURNS)) {
  Deno.test(`recorded, ${clients}: ${clients.startsWith("1 ") ? "no pause" : "at most two beginnings in a second"}`, () => {
    const replay = new Replay();
    while (replay.nowMs < 5000) replay.run(turns);
    if (clients.startsWith("1 ")) assertEquals(replay.pauses, 0);
    else assertLessOrEqual(replay.begins.length, 10);
  });
}

Deno.test("whatever the turns are, gathering that did not pay rests for 100 ms at least, longer each time", () => {
  const kinds = fc.constantFrom<Turn>(SATURATED, LONE, [10, 1, 2], [50, 0, 15], [5, 5, 2], [2000, 0, 8], [5, 3000, 1], [30, 5, 15]);
  const phases = fc.array(fc.tuple(kinds, fc.integer({ min: 1, max: 2000 })), { minLength: 1, maxLength: 60 });
  fc.assert(fc.property(phases, (phases) => {
    const replay = new Replay();
    for (const [turn, times] of phases) replay.run(repeated(turn, times));
    const { begins, ends } = replay;
    for (let i = 1; i < begins.length; i++) assertGreater(begins[i] - ends[i - 1], 100);
    // The rests of a series of short attempts are 100, 200, 400 … ms; an attempt of 40 ms or more begins a new series.
    let rest = 100;
    for (let i = 0; i + 1 < begins.length; i++) {
      rest = ends[i] - begins[i] >= 40 ? 100 : rest;
      assertGreater(begins[i + 1] - ends[i], rest * 0.99);
      rest = Math.min(2 * rest, 6400);
    }
  }));
});
