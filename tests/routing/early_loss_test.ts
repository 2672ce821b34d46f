// A loss soon after connecting is the server's failure, unless it has answered or the client has ended first.

import { assertEquals } from "@std/assert";
import { isEarlyLoss } from "../../lib/routing/early_loss.ts";

const CASES = [
  [0, false, false, true],
  [1000, false, false, true],
  [1001, false, false, false],
  [10, true, false, false],
  [10, false, true, false],
  [10, true, true, false],
] as const;

for (const [connectedForMs, hasAnswered, hasClientEnded, isFailure] of CASES) {
  const what = `after ${connectedForMs} ms, ${hasAnswered ? "answered" : "unanswered"}, client ${
    hasClientEnded ? "ended" : "there"
  }`;
  Deno.test(`a connection lost ${what} is ${isFailure ? "a" : "no"} failure of the server`, () => {
    assertEquals(isEarlyLoss({ connectedForMs, hasAnswered, hasClientEnded }), isFailure);
  });
}
