// Servers are lost at random moments while clients are at work, and the balancer itself is replaced: what becomes of each client,
// by level. BALANCER_TEST_LONG=1 plays a hundred rounds with 500 clients.

import { assert, assertEquals } from "@std/assert";
import type { Level } from "../../lib/values/config.ts";
import { countFates } from "../../lib/values/fates.ts";
import { formatAddress } from "../../lib/values/address.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { makePlace } from "../../tools/bench/place.ts";
import { findTools } from "../../tools/bench/tools.ts";
import { contendersOf, type FamilyName } from "../../tools/lost/contenders.ts";
import { playRow } from "../../tools/lost/lost.ts";
import type { LossName } from "../../tools/lost/losses.ts";
import { MODES, parseOptions } from "../../tools/lost/options.ts";
import { Random } from "../../tools/random.ts";
import { countLost, type Round, runRounds, sumOutcomes, sumRounds } from "../../tools/lost/rounds.ts";
import { startServers } from "../../tools/lost/server_process.ts";
import { startBalancer } from "../one_service.ts";
import { DIST } from "../programs.ts";
import { type Need, needing } from "../tools.ts";

const SERVERS = 5;
/** What clients call quiet is more than the balancer does: who is idle by their clock is idle by its. */
const MANNER = { ...MODES.calm.manner, thinkMs: [250, 600], quietMs: 150 } as const;
const QUIET = "60ms";
/** Many times as long as somebody takes to be idle, also beside other tests. */
const DRAIN_MS = 1500;
const SEED = Number(Deno.env.get("BALANCER_TEST_SEED") ?? Date.now() % 1e6);

const IS_LONG = Deno.env.get("BALANCER_TEST_LONG") !== undefined;
const CLIENTS = IS_LONG ? 500 : 150;

/** Rounds of each kind: a hundred of them altogether, or a few. */
const PLAYED: readonly {
  readonly engine: keyof typeof ENGINES;
  readonly level: Level;
  readonly loss: LossName;
  readonly rounds: number;
  readonly few: number;
}[] = [
  { engine: "epoll", level: "idle", loss: "kill", rounds: 30, few: 1 },
  { engine: "epoll", level: "idle", loss: "remove", rounds: 10, few: 1 },
  { engine: "epoll", level: "idle", loss: "stop", rounds: 6, few: 1 },
  { engine: "epoll", level: "unanswered", loss: "kill", rounds: 8, few: 0 },
  { engine: "epoll", level: "new", loss: "kill", rounds: 12, few: 1 },
  { engine: "epoll", level: "new", loss: "remove", rounds: 6, few: 0 },
  { engine: "streams", level: "idle", loss: "kill", rounds: 14, few: 1 },
  { engine: "streams", level: "idle", loss: "remove", rounds: 6, few: 1 },
  { engine: "streams", level: "new", loss: "kill", rounds: 8, few: 0 },
];

for (const { engine, level, loss, rounds: all, few } of PLAYED) {
  const kind = ENGINES[engine];
  const rounds = IS_LONG ? all : few;
  Deno.test({
    name: `[${engine}] ${rounds} servers are lost by ${loss} at level ${level} ` +
      (rounds === 0 ? "(ignored: it needs BALANCER_TEST_LONG=1)" : `(BALANCER_TEST_SEED=${SEED})`),
    ignore: rounds === 0 || kind.unsupported() !== undefined || Deno.build.os !== "linux",
    async fn() {
      const total = await play(engine, level, loss, rounds);
      report(engine, level, loss, total);
      assertEquals(total.faults, []);
      const kept: readonly (keyof Round["lost"])[] = level === "idle" ? ["unsent", "waiting", "idle"] : ["unsent"];
      if (loss !== "stop" || level === "idle") {
        for (const state of kept) assertEquals(countLost(total.lost[state]), 0, `${state}: ${JSON.stringify(total.lost[state])}`);
      }
      if (level === "new") assertEquals(total.repeated, 0, "no request is delivered twice");
    },
  });
}

async function play(engine: keyof typeof ENGINES, level: Level, loss: LossName, rounds: number): Promise<Round> {
  const folder = await Deno.makeTempDir({ prefix: "balancer_lost_" });
  const signal = AbortSignal.timeout(150_000);
  try {
    await using servers = await startServers({
      count: SERVERS,
      folder,
      traits: MODES.calm.traits,
      random: new Random(SEED),
      signal,
    });
    const flags = {
      "redistribute": level,
      "quiet": QUIET,
      "load-bound": "off",
      "check": "send:PING\\n expect:PONG",
      // A server may be slow to answer beside other tests: that must not make it silent.
      "check-interval": "1s",
      "check-timeout": "1s",
      "fall": "2",
      "rise": "1",
      "rest": "off", // a server that is killed again and again would rest for ever longer
      "workers": "2",
    };
    await using balancer = await startBalancer({
      engine: ENGINES[engine],
      connectionsMax: 5000,
      servers: servers.list.map(({ address }) => ({ server: formatAddress(address), weight: 1, connectionsMax: null })),
      flags,
    });
    const { counters } = balancer;
    return sumRounds(
      await runRounds({
        balancer: {
          address: balancer.address,
          remove: async (server) => void await balancer.remove(formatAddress(server), DRAIN_MS),
          add: async (server) => void await balancer.add(server, { weight: 1, connectionsMax: null }),
          status: () =>
            Promise.resolve({
              connections: { accepted: counters.get("accepted"), open: counters.get("open") },
              fates: countFates((fate) => counters.get(fate)),
            }),
        },
        servers: servers.list,
        loss,
        rounds,
        clients: CLIENTS,
        manner: MANNER,
        seed: SEED,
        mayRepeat: level !== "new",
        signal,
      }),
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The table that the tool prints, a line at a time. */
function report(engine: string, level: Level, loss: LossName, { lost, repeated }: Round): void {
  const states = Object.entries(lost).map(([state, outcomes]) => {
    const sum = Object.values(outcomes).reduce((sum, count) => sum + count, 0);
    return `${state} ${sum - countLost(outcomes)} of ${sum}`;
  });
  // deno-lint-ignore no-console -- the figures are a part of what the test is for
  console.log(`kept by ${engine} at level ${level}, ${loss}: ${states.join(", ")}; ${repeated} requests delivered twice`);
}

/** Enough for every state to have some. */
const RELOADED = IS_LONG ? 200 : 40;

/** Who is replaced, and what that is to everybody: served on, by whom, or cut. */
const REPLACED: readonly {
  readonly family: FamilyName;
  readonly needs: readonly Need[];
  readonly kept: number;
  readonly withOld: number;
}[] = [
  { family: "balancer", needs: [], kept: RELOADED, withOld: 0 },
  { family: "haproxy", needs: ["haproxy"], kept: RELOADED, withOld: RELOADED },
  { family: "haproxy-hard-stop", needs: ["haproxy"], kept: 0, withOld: 0 },
  { family: "nginx", needs: ["nginx's stream module"], kept: RELOADED, withOld: RELOADED },
  { family: "nginx-shutdown", needs: ["nginx's stream module"], kept: 0, withOld: 0 },
];

/** The servers are well: however busy the machine is, nobody is to think otherwise. */
const CHECKS = { intervalMs: 10_000, timeoutMs: 10_000, fall: 3, rise: 1 } as const;

const supported: readonly Need[] = ENGINES.epoll.unsupported() === undefined ? [] : ["Linux"];

for (const { family, needs, kept, withOld } of REPLACED) {
  const [contender] = contendersOf([family], { engines: ["epoll"], levels: ["new"] }, new Set(["redistribute"]));
  Deno.test({
    ...await needing(`${contender.title} is replaced under ${RELOADED} clients: ${kept} are served on`, ...supported, ...needs),
    async fn() {
      const signal = AbortSignal.timeout(120_000);
      await using made = await makePlace(await findTools(), { isCompiled: true }, signal);
      const place = { ...made, env: { ...made.env, XDG_CACHE_HOME: `${DIST}.parts/cache` } }; // with what is unpacked there
      const options = parseOptions(["--clients", String(RELOADED), "--rounds", IS_LONG ? "5" : "1", "--servers", "2"], "");
      const rounds: Round[] = [];
      await playRow({ contender, loss: "reload", name: family, checks: CHECKS }, place, options, rounds);
      const total = sumRounds(rounds);
      const lost = sumOutcomes(Object.values(total.lost));
      assertEquals(total.faults, []);
      assertEquals(lost.kept, kept * rounds.length, JSON.stringify(lost));
      assertEquals(countLost(lost), (RELOADED - kept) * rounds.length, JSON.stringify(lost));
      assertEquals(total.withOld, withOld * rounds.length);
      assert(total.newcomers.served > 0);
      if (family === "balancer") assertEquals(total.newcomers.turnedAway, 0);
    },
  });
}
