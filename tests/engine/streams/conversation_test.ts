import { assertEquals } from "@std/assert";
import { allocateCounters, Counters } from "../../../lib/observe/counters.ts";
import { Conversation, RecordingRoom } from "../../../lib/engine/streams/conversation.ts";
import { FACT, type RedistributionPolicy } from "../../../lib/routing/redistribution.ts";
import { someBytes } from "../../helpers.ts";

const KIB = 1024;

function startConversation(options: Partial<RedistributionPolicy> = {}, roomBytes = 1024 * KIB) {
  const counters = new Counters(allocateCounters(0, 1));
  const room = new RecordingRoom(roomBytes);
  const policy = { redistribute: "idle", quietMs: 10_000, replaysMax: 3, replayBytesMax: 64 * KIB, ...options } as const;
  return { conversation: new Conversation(() => policy, counters, room), counters, room };
}

/** How much room there is. */
function freeBytes(room: RecordingRoom): number {
  let bytes = 0;
  for (let step = 1 << 24; step >= 1; step /= 2) if (room.take(step)) bytes += step;
  room.give(bytes);
  return bytes;
}

Deno.test("a Conversation repeats what the last server took, whatever the pieces", () => {
  const { conversation } = startConversation();
  const said = someBytes(20_000);
  for (let at = 0; at < said.length; at += 777) {
    const piece = said.slice(at, at + 777);
    conversation.clientSaid(piece);
    piece.fill(0); // its memory is used again
    conversation.serverTook(Math.min(777, said.length - at));
  }
  assertEquals(conversation.repeat(), said);
  assertEquals(conversation.replays, 1);
  assertEquals(conversation.decide("reset", false), "replay");
});

Deno.test("a Conversation does not repeat what no server took: that is said for the first time", () => {
  const { conversation } = startConversation();
  conversation.clientSaid(someBytes(100));
  assertEquals(conversation.state(false), "unsent");
  assertEquals(conversation.state(true), "unanswered"); // who knows what it has of what is being written
  assertEquals(conversation.repeat().length, 0);
  assertEquals(conversation.replays, 0);
  conversation.serverTook(30);
  assertEquals(conversation.facts & FACT.moving, FACT.moving);
  assertEquals(conversation.repeat(), someBytes(100).subarray(0, 30));
});

Deno.test("a Conversation forgets what was recorded when a server speaks, and gives the room back", () => {
  const { conversation, room } = startConversation();
  const before = freeBytes(room);
  conversation.clientSaid(someBytes(3000));
  conversation.serverTook(3000);
  const repeated = conversation.repeat();
  assertEquals(freeBytes(room), before - 4 * KIB);
  conversation.serverSaid(new Uint8Array(10), false);
  assertEquals(freeBytes(room), before);
  assertEquals(repeated, someBytes(3000)); // whoever still writes it has it
  assertEquals([conversation.repeat().length, conversation.replays], [0, 0]);
  assertEquals(conversation.facts, FACT.sent | FACT.answered | FACT.moving);
  conversation.clientTook(10);
  assertEquals(conversation.facts, FACT.sent | FACT.answered);
});

Deno.test("a Conversation records up to its limit, and up to the room of all", () => {
  for (const [options, roomBytes] of [[{ replayBytesMax: 3000 }, 1024 * KIB], [{}, 3000]] as const) {
    const { conversation, counters, room } = startConversation(options, roomBytes);
    conversation.clientSaid(someBytes(1000));
    assertEquals(conversation.facts & FACT.recorded, FACT.recorded);
    conversation.clientSaid(someBytes(2001));
    assertEquals(conversation.facts & (FACT.recorded | FACT.awaitingAnswer), FACT.awaitingAnswer);
    assertEquals(counters.get("replayOverflows"), 1);
    conversation.clientSaid(someBytes(1));
    assertEquals(counters.get("replayOverflows"), 1);
    assertEquals(freeBytes(room), roomBytes);
    conversation.serverTook(3002);
    assertEquals([conversation.repeat().length, conversation.decide("reset", false)], [0, "cut"]);
  }
});

Deno.test("a Conversation at its limit exactly is recorded whole", () => {
  const { conversation, counters } = startConversation({ replayBytesMax: 3000 });
  for (let i = 0; i < 3; i++) conversation.clientSaid(someBytes(1000));
  conversation.serverTook(3000);
  assertEquals([conversation.repeat().length, counters.get("replayOverflows")], [3000, 0]);
});
