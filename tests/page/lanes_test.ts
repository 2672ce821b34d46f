// Where the flow lanes draw what: everything in its place, and nothing of what moved is lost.

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import { fateBars } from "../../lib/page/model/fate_bars.ts";
import { History } from "../../lib/page/model/history.ts";
import { judgeNow } from "../../lib/page/model/judged.ts";
import { chooseServers, placeLanes } from "../../lib/page/model/lanes.ts";
import { resetsOf } from "../../lib/page/model/resets.ts";
import type { TimeAxis } from "../../lib/page/model/time_axis.ts";
import { classOfFate } from "../../lib/page/model/words.ts";
import { Story } from "./story.ts";

const START = 1_795_336_200;

/** What happens to the servers of a story, each after some seconds. */
const acts = fc.array(
  fc.tuple(fc.integer({ min: 1, max: 90 }), fc.constantFrom("kill", "revive", "drain", "undrain", "add"), fc.nat({ max: 7 })),
  { maxLength: 6 },
);

function told(servers: number, steps: [number, string, number][]): { story: Story; history: History } {
  const story = new Story({ start: START, servers, open: 60 * servers });
  const out = new Set<string>();
  for (const [seconds, act, number] of steps) {
    story.pass(seconds);
    const name = story.names[number % story.names.length];
    if (act === "add") {
      if (story.names.length < 12) story.add(`10.0.9.${story.names.length}:80`);
    } else if (act === "kill" || act === "drain") {
      if (out.has(name) || out.size + 1 >= story.names.length) continue;
      out.add(name);
      story[act](name);
    } else if (out.delete(name)) story.revive(name);
  }
  story.pass(30);
  const history = new History("default");
  history.absorb(story.series());
  return { story, history };
}

function axisOf(history: History, seconds = 900): TimeAxis {
  return { from: Math.max(START + 1, history.newest - seconds), to: history.newest, left: 100, right: 1100 };
}

Deno.test("placeLanes() keeps every lane in its place, and every band in its lane", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9 }),
      acts,
      fc.integer({ min: 3, max: 14 }),
      fc.integer({ min: 250, max: 700 }),
      (servers, steps, lanesMax, height) => {
        const { history } = told(servers, steps);
        const { lanes, ribbons, falls } = placeLanes({ history, axis: axisOf(history), top: 10, height, lanesMax });
        assert(lanes.length <= lanesMax);
        let y = 10;
        for (const lane of lanes) {
          assertAlmostEquals(lane.middle - lane.height / 2, y, 1e-6);
          y += lane.height;
          for (const half of lane.halves) assert(!(half * 2 > lane.height + 1e-6), `${half} in ${lane.height}`);
        }
        const isCrowded = lanes.length * 21 + 22 > height; // lanes have a least height
        assert(isCrowded || y <= 10 + height + 1e-3, `${y}`);
        for (const { start, end, width } of ribbons) {
          assert(start.x <= end.x && end.x <= 1100 && width > 0);
          assert([start.y, end.y].every((place) => place >= 10 && place <= y));
        }
        for (const fall of falls) assert(fall.y >= 10 && fall.y <= y && fall.count >= 0.5);
      },
    ),
    { numRuns: 40 },
  );
});

Deno.test("the ribbons of placeLanes() carry every connection that moved between the lanes", () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 6 }), acts, (servers, steps) => {
      const { history } = told(servers, steps);
      const axis = axisOf(history);
      const { ribbons } = placeLanes({ history, axis, top: 0, height: 400, lanesMax: 14 });
      const moved = history.flows.filter(({ at }) => at >= axis.from && at <= axis.to).reduce((sum, { count }) => sum + count, 0);
      assertEquals(ribbons.reduce((sum, { count }) => sum + count, 0), moved);
    }),
    { numRuns: 30 },
  );
});

Deno.test("resetsOf() gives every reset of the service to a server, and to the one that was killed", () => {
  const { history } = told(5, [[100, "kill", 2], [30, "drain", 3], [60, "revive", 2]]); // who is drained later has no part in it
  const resets = resetsOf(history, history.oldest, history.newest);
  const fates = history.fates.filter((fate) => classOfFate(fate) === "reset");
  const total = fates.reduce((sum, fate) => sum + history.ended(fate, history.newest, 900), 0);
  assert(total > 0);
  assertAlmostEquals(resets.reduce((sum, { count }) => sum + count, 0), total, 1e-6);
  assertEquals([...new Set(resets.map(({ server }) => server))], ["10.0.0.3:80"]);
});

Deno.test("a server that was killed is a burst: what moved by state, and what was reset", () => {
  const { story, history } = told(5, [[100, "kill", 2]]);
  const { bursts, lanes } = placeLanes({ history, axis: axisOf(history), top: 0, height: 400, lanesMax: 14 });
  const { moved, reset, states, lane } = bursts.find(({ moved }) => moved > 0)!;
  assertEquals(lanes[lane].server, "10.0.0.3:80");
  const killed = story.servers().servers.find(({ server }) => server === "10.0.0.3:80")!;
  assertEquals(moved, killed.movedAway);
  assertEquals(reset, killed.fates.server_lost);
  assertEquals(states.unsent + states.unanswered + states.idle, moved);
});

Deno.test("several outages at once: each reset is that of its server, and the label says what the verdict says", () => {
  fc.assert(
    fc.property(fc.integer({ min: 3, max: 8 }), acts, (servers, steps) => {
      const { story, history } = told(servers, steps);
      const [status, list] = [story.status(), story.servers().servers];
      for (const { server, fates } of list) {
        assertEquals(history.cutsOf(server).reduce((sum, { count }) => sum + count, 0), fates.server_lost, server);
      }
      const { sentence } = judgeNow({ status, services: [{ service: status.services[0], servers: list, history }] });
      const [, worst] = /([0-9.]+:80) is (?:down|draining) since/.exec(sentence) ?? [];
      if (worst === undefined) return;
      const { bursts, lanes } = placeLanes({ history, axis: axisOf(history), top: 0, height: 400, lanesMax: 14 });
      const lane = lanes.findIndex(({ server }) => server === worst);
      const said = (pattern: RegExp) => Number(pattern.exec(sentence)?.[1].replaceAll(",", "") ?? 0);
      const [moved, reset] = [
        said(/of its connections ([0-9,]+) moved/),
        said(/of its connections (?:[0-9,]+ moved, )?([0-9,]+) w\w+ reset/),
      ];
      const label = bursts.findLast((burst) => burst.lane === lane);
      if (moved + reset >= 5) assertEquals([label?.moved, label?.reset], [moved, reset], sentence);
    }),
    { numRuns: 60 },
  );
});

Deno.test("chooseServers() shows a lost server among many, by name, and what it does not show is one lane", () => {
  const { history } = told(40, [[100, "kill", 7]]);
  const chosen = chooseServers(history, axisOf(history), 6);
  assertEquals(chosen.length, 5);
  const lost = history.servers.find((server) => history.statesOf(server).some(({ state }) => state === "down"))!;
  assert(chosen.includes(lost));
  const { lanes } = placeLanes({ history, axis: axisOf(history), top: 0, height: 400, lanesMax: 6 });
  const others = lanes.at(-1)!;
  assertEquals([lanes.length, others.server, others.label], [6, null, "35 others (own scale)"]);
  const shown = chosen.reduce((sum, server) => sum + (history.valueAt(server, "open", history.newest) || 0), 0);
  assertEquals(others.open, history.openAt(history.newest) - shown);
});

Deno.test("fateBars() counts every end of the axis once", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5 }), acts, (servers, steps) => {
      const { history } = told(servers, steps);
      const bars = fateBars(history, { from: history.oldest, to: history.newest });
      const ended = history.fates.reduce((sum, fate) => sum + history.ended(fate, history.newest, 900), 0);
      assertEquals(bars.reduce((sum, { total }) => sum + total, 0), ended);
      for (const { from, to } of bars) assertEquals([from % 60, to - from], [0, 60]);
    }),
    { numRuns: 30 },
  );
});
