// Who gets in: links that work once and for a while, a token that stays, and sessions that end.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { sessionCookie, sessionsIn } from "../../lib/dashboard/cookie.ts";
import { Entrance, LINK_MAX_MS, SESSION_MAX_MS } from "../../lib/dashboard/entrance.ts";

const FIXED = "0123456789abcdef0123456789abcdef";

function clock() {
  let now = 1_000_000;
  return { nowMs: () => now, pass: (ms: number) => void (now += ms) };
}

Deno.test("a link's token has 256 bits, and no two are the same", async () => {
  const entrance = new Entrance();
  const [one, two] = [await entrance.issue(), await entrance.issue()];
  for (const token of [one, two]) assertMatch(token, /^[A-Za-z0-9_-]{43}$/);
  assert(one !== two);
});

Deno.test("a token lets one in, once", async () => {
  const entrance = new Entrance();
  const token = await entrance.issue();
  const both = await Promise.all([entrance.exchange(token), entrance.exchange(token)]);
  assertEquals(both.filter((session) => session !== undefined).length, 1);
  assertEquals(await entrance.exchange(token), undefined);
  assert(await entrance.isSession(both.find((session) => session !== undefined)!));
});

Deno.test("a token that is wrong, empty, too long or of an earlier link lets nobody in, and the right one works on", async () => {
  const entrance = new Entrance();
  const earlier = await entrance.issue();
  const token = await entrance.issue();
  for (const wrong of [earlier, "", token.slice(1), `${token}A`, token.toUpperCase(), "a".repeat(100_000)]) {
    assertEquals(await entrance.exchange(wrong), undefined, wrong.slice(0, 50));
  }
  assert(await entrance.exchange(token) !== undefined);
});

Deno.test("without a link there is no way in", async () => {
  assertEquals(await new Entrance().exchange("undefined"), undefined);
});

Deno.test("a link works for ten minutes", async () => {
  const time = clock();
  const entrance = new Entrance(time);
  const token = await entrance.issue();
  time.pass(LINK_MAX_MS - 1);
  assert(await entrance.exchange(token) !== undefined);
  const late = await entrance.issue();
  time.pass(LINK_MAX_MS);
  assertEquals(await entrance.exchange(late), undefined);
  assertEquals(LINK_MAX_MS, 600_000);
});

Deno.test("a session ends after a week, and nobody can write a longer one", async () => {
  const time = clock();
  const entrance = new Entrance(time);
  const session = (await entrance.exchange(await entrance.issue()))!;
  time.pass(SESSION_MAX_MS);
  assert(await entrance.isSession(session));
  const [end, signature] = session.split(".");
  for (
    const forged of [
      `${Number(end) + 1}.${signature}`,
      `${end}.${"A".repeat(43)}`,
      end,
      "",
      `${end}.${signature}x`,
      "x".repeat(5000),
    ]
  ) {
    assertEquals(await entrance.isSession(forged), false, forged.slice(0, 80));
  }
  time.pass(1);
  assertEquals(await entrance.isSession(session), false);
});

Deno.test("a session of one dashboard is none of another", async () => {
  const [one, other] = [new Entrance(), new Entrance()];
  assertEquals(await other.isSession((await one.exchange(await one.issue()))!), false);
});

Deno.test("a token that stays lets in again and again; its sessions outlive a restart and end with another token", async () => {
  const entrance = new Entrance({ token: FIXED });
  const sessions = [await entrance.exchange(FIXED), await entrance.exchange(FIXED)];
  assertEquals(await entrance.exchange(`${FIXED}0`), undefined);
  for (const session of sessions) {
    assert(await new Entrance({ token: FIXED }).isSession(session!));
    assertEquals(await new Entrance({ token: `${FIXED}0` }).isSession(session!), false);
  }
});

Deno.test("the cookie is out of reach of scripts and of other sites, and has the port in its name", () => {
  assertEquals(sessionCookie("s", 8090, false), "balancer-8090=s; Path=/; HttpOnly; SameSite=Strict");
  assertEquals(sessionCookie("s", 8090, true), "balancer-8090=s; Path=/; HttpOnly; SameSite=Strict; Secure");
});

const COOKIES: readonly [header: string, sessions: readonly string[]][] = [
  ["", []],
  ["balancer-8090=a", ["a"]],
  ["x=1; balancer-8090=a; balancer-8090=b;balancer-80=c", ["a", "b"]],
  ["balancer-80901=a; xbalancer-8090=b", []],
];

for (const [header, sessions] of COOKIES) {
  Deno.test(`sessionsIn() finds ${sessions.length} in ${JSON.stringify(header)}`, () => {
    assertEquals(sessionsIn(header, 8090), sessions);
  });
}
