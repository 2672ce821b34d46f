import { assertEquals, assertRejects } from "@std/assert";
import {
  Channel,
  type FromNew,
  type FromOld,
  Gone,
  hearKnown,
  type Hello,
  isOlder,
  refusalOf,
  sayKnown,
} from "../../lib/control/handover_wire.ts";
import { OperatorError } from "../../lib/values/errors.ts";

const HELLO: Hello = { kind: "hello", version: "0.2.0", spoken: [1], how: "now", isForced: false, descriptors: 1000, path: "/x" };
const FACTS = { version: "0.1.0", descriptorsNeeded: 500, descriptors: 1000, leavingServices: [], leavingListeners: [] };

for (
  const [what, hello, facts, sentence] of [
    ["a later version", {}, {}, undefined],
    ["the same version", { version: "0.1.0" }, {}, undefined],
    [
      "an earlier version",
      { version: "0.0.9" },
      {},
      "version 0.0.9 is older than the one that runs, 0.1.0: give --force to go back",
    ],
    ["an earlier version with --force", { version: "0.0.9", isForced: true }, {}, undefined],
    ["a version that speaks otherwise", { spoken: [2, 3] }, {}, "speaks the hand-over's version 2,3, and 0.1.0 speaks 1"],
    ["a version that speaks this and more", { spoken: [3, 2, 1] }, {}, undefined],
    ["too few descriptors", { descriptors: 499 }, {}, "the open connections need 500 descriptors, and its limit is 499"],
    ["fewer descriptors", { descriptors: 999 }, {}, "its limit on open files is 999, below 1000 of the process that runs"],
    ["fewer descriptors with --force", { descriptors: 999, isForced: true }, {}, undefined],
    ["a closed range with connections", {}, { leavingListeners: ["[::]:81"] }, "listener [::]:81 of a range of ports was closed"],
    ["a removed service with connections", {}, { leavingServices: ["web"] }, 'service "web" was removed and still has connections'],
  ] as const
) {
  Deno.test(`${what} ${sentence === undefined ? "may take over" : "may not take over, and is told why"}`, () => {
    const refusal = refusalOf({ ...HELLO, ...hello }, { ...FACTS, ...facts });
    assertEquals(refusal?.includes(sentence ?? "?") ?? sentence === undefined, true, refusal);
  });
}

for (
  const [one, other, expected] of [
    ["0.1.0", "0.1.1", true],
    ["0.10.0", "0.9.0", false],
    ["1.0.0-rc.1", "1.0.0", true],
    ["1.0.0", "1.0.0-rc.1", false],
    ["1.0.0", "1.0.0", false],
  ] as const
) {
  Deno.test(`${one} is ${expected ? "" : "not "}older than ${other}`, () => assertEquals(isOlder(one, other), expected));
}

Deno.test("what is known of servers is heard as it was said", () => {
  const since = new Date("2026-01-02T03:04:05.678Z");
  const known = new Map([[
    "web",
    new Map([["10.0.0.1:80", { state: "down", since, reason: "refused", restMs: 0, restLeftMs: 0 } as const]]),
  ]]);
  assertEquals(hearKnown(JSON.parse(JSON.stringify(sayKnown(known)))), known);
});

/** Two ends of a channel, and a way to write anything into one of them. */
async function withChannel(
  use: (here: Channel<FromNew, FromOld>, there: Deno.Conn, channel: Channel<FromOld, FromNew>) => Promise<void>,
): Promise<void> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [conn, there] = await Promise.all([listener.accept(), Deno.connect({ port: listener.addr.port })]);
  using here = new Channel<FromNew, FromOld>(conn);
  using channel = new Channel<FromOld, FromNew>(there);
  await use(here, there, channel);
}

Deno.test("who does not read what it is sent is not waited for", async () => {
  await withChannel(async (_, there) => {
    const channel = new Channel<FromOld, FromNew>(there, 50);
    const reason = "x".repeat(32 * 1024 ** 2);
    await assertRejects(() => channel.send({ kind: "failed", reason }), OperatorError, "it reads nothing for 0.05 s");
    await assertRejects(() => channel.send({ kind: "ready" }), OperatorError, "it does not read");
  });
});

Deno.test("messages arrive one by one, however they are cut", async () => {
  await withChannel(async (here, there, channel) => {
    await channel.send({ kind: "ready" });
    const bytes = new TextEncoder().encode('{"kind":"running"}\n{"kind":"accep');
    await there.write(bytes);
    assertEquals(await here.expect("ready", 5000), { kind: "ready" });
    assertEquals(await here.expect("running", 5000), { kind: "running" });
    const accepting = here.expect("accepting", 5000);
    await there.write(new TextEncoder().encode('ting","text":"größer"}\n'));
    assertEquals(await accepting as unknown, { kind: "accepting", text: "größer" });
  });
});

for (
  const [what, text, sentence] of [
    ["the reason of a failure", '{"kind":"failed","reason":"no memory"}\n', "no memory"],
    ["a message out of turn", '{"kind":"done"}\n', 'it says "done" in place of "ready"'],
    ["no JSON", "hello\n", "it does not speak JSON"],
    ["no message", "[]\n", "something else than a message"],
  ]
) {
  Deno.test(`${what} ends the talk with a sentence`, () =>
    withChannel(async (here, there) => {
      await there.write(new TextEncoder().encode(text));
      await assertRejects(() => here.expect("ready", 5000), OperatorError, sentence);
    }));
}

Deno.test("the other side's end and its silence are told apart", async () => {
  await withChannel(async (here, there) => {
    await assertRejects(() => here.expect("ready", 20), OperatorError, "it says nothing for 0.02 s");
    there.close();
  });
  await withChannel(async (here, there) => {
    there.close();
    await assertRejects(() => here.expect("ready", 5000), Gone);
  });
});
