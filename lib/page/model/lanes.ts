/**
 * The flow lanes: time to the right, a lane for each server, as wide as its open connections. Where connections move, ribbons lead
 * from one lane to the others, by the state in which they moved; what was reset falls out. Computes places only; draws nothing.
 */

import { type Burst, placeBursts } from "./bursts.ts";
import type { MovedState } from "./contract.ts";
import { type Flow, type History, MOVED_STATES } from "./history.ts";
import { type Reset, resetsOf } from "./resets.ts";
import { secondWidth, type TimeAxis, xOf } from "./time_axis.ts";
import { byName } from "./words.ts";

/** Where the lanes may be drawn. */
export interface LanesRequest {
  readonly history: History;
  readonly axis: TimeAxis;
  readonly top: number;
  readonly height: number;
  /** The most lanes, with the one for all other servers. */
  readonly lanesMax: number;
}

/** A lane. `server` is null for all servers that have none of their own. */
export interface Lane {
  readonly server: string | null;
  readonly label: string;
  /** The middle of the lane, around which its band lies. */
  readonly middle: number;
  readonly height: number;
  /** The band: places, and its half width there; NaN where there was no server. */
  readonly xs: readonly number[];
  readonly halves: readonly number[];
  /** Open connections at the end. */
  readonly open: number;
  /** Times in which the server got no clients, as places. */
  readonly outages: readonly { readonly left: number; readonly right: number; readonly isDown: boolean }[];
}

/** Connections that moved from one lane to another within a short time. */
export interface Ribbon {
  readonly from: number;
  readonly to: number;
  readonly state: MovedState;
  readonly count: number;
  /** When, in seconds since 1970. */
  readonly at: number;
  readonly width: number;
  /** The middles of its ends. */
  readonly start: { readonly x: number; readonly y: number };
  readonly end: { readonly x: number; readonly y: number };
}

/** Connections that fell out of a lane. */
export interface Fall {
  readonly lane: number;
  readonly at: number;
  readonly count: number;
  readonly x: number;
  readonly y: number;
  readonly width: number;
}

/** All that is drawn. */
export interface Lanes {
  readonly lanes: readonly Lane[];
  readonly ribbons: readonly Ribbon[];
  readonly falls: readonly Fall[];
  readonly bursts: readonly Burst[];
  /** Pixels per connection. */
  readonly scale: number;
}

/** A lane is at least as high as its label. */
const LANE_MIN_PX = 15;
const GAP_PX = 6;
/** The band of all other servers has a scale of its own. */
const OTHERS_PX = 22;
/** A band of few connections is still seen. */
const BAND_MIN_PX = 1.2;
const RIBBON_MIN_PX = 1;
/** What moves within this many pixels is one ribbon. */
const BIN_PX = 7;
/** A fall is wider than a ribbon. */
const FALL_BIN_PX = 36;
const RIBBON_LENGTH_PX = 46;
/** Drawing more would take longer than a frame. */
const RIBBONS_MAX = 400;

/** Places everything. */
export function placeLanes(request: LanesRequest): Lanes {
  const { history, axis } = request;
  const servers = chooseServers(history, { from: axis.from, to: Math.min(axis.to, history.newest) }, request.lanesMax);
  const { lanes, scale } = stackLanes(request, servers);
  const laneOf = new Map(lanes.map(({ server }, index) => [server, index]));
  const lane = (server: string) => laneOf.get(server) ?? laneOf.get(null) ?? -1;
  const flows = history.flows.filter(({ at }) => at >= axis.from && at <= axis.to);
  const ribbons = placeRibbons(flows, lanes, lane, axis, scale);
  const resets = resetsOf(history, axis.from, Math.min(axis.to, history.newest));
  const falls = placeFalls(resets, lanes, lane, axis, scale);
  const bursts = placeBursts(history, lanes.map(({ server }) => server), axis);
  return { lanes, ribbons, falls, bursts, scale };
}

/**
 * The servers with lanes of their own, by name: all if there is room, else those of which most is to be seen. Compared in powers of
 * two, so that lanes do not come and go with every connection.
 */
export function chooseServers(history: History, { from, to }: Pick<TimeAxis, "from" | "to">, lanesMax: number): string[] {
  const shown = history.servers.filter((server) => history.existsAt(server, to) || history.statesOf(server).length > 0);
  if (shown.length <= lanesMax) return [...shown].sort(byName);
  const moved = new Map<string, number>();
  for (const { at, from: giver, to: taker, count } of history.flows) {
    if (at < from || at > to) continue;
    moved.set(giver, (moved.get(giver) ?? 0) + count);
    moved.set(taker, (moved.get(taker) ?? 0) + count / 8); // who lost them is the story
  }
  const score = (server: string) => {
    const isTroubled = history.statesOf(server).some(({ state, at }) => state !== "up" && at <= to);
    return (isTroubled ? 64 : 0) + Math.round(Math.log2(1 + (moved.get(server) ?? 0)) * 2) +
      Math.round(Math.log2(1 + (history.valueAt(server, "open", to) || 0))) / 64;
  };
  const scores = new Map(shown.map((server) => [server, score(server)]));
  return [...shown].sort((a, b) => scores.get(b)! - scores.get(a)! || byName(a, b)).slice(0, lanesMax - 1).sort(byName);
}

/** Each lane as high as its band ever is, all in one scale. */
function stackLanes({ history, axis, top, height }: LanesRequest, servers: readonly string[]): { lanes: Lane[]; scale: number } {
  const times = sampleTimes(axis, history.newest);
  const values = servers.map((server) => times.map((second) => history.valueAt(server, "open", second)));
  const hasOthers = servers.length < history.servers.length;
  if (hasOthers) {
    values.push(
      times.map((second, i) => Math.max(0, history.openAt(second) - values.reduce((sum, column) => sum + (column[i] || 0), 0))),
    );
  }
  const peaks = values.map((column) => column.reduce((max, value) => value > max ? value : max, 0));
  const othersPx = hasOthers ? OTHERS_PX : 0;
  const scale = scaleFor(hasOthers ? peaks.slice(0, -1) : peaks, height - values.length * GAP_PX - othersPx);
  let y = top;
  const lanes = values.map((column, i): Lane => {
    const ownScale = i < servers.length ? scale : OTHERS_PX / Math.max(1, peaks[i]); // together they would be wider than the page
    const laneHeight = GAP_PX + Math.max(LANE_MIN_PX, peaks[i] * ownScale);
    const middle = y + laneHeight / 2;
    y += laneHeight;
    const server = servers[i] ?? null;
    return {
      server,
      label: server ?? `${history.servers.length - servers.length} others (own scale)`,
      middle,
      height: laneHeight,
      xs: times.map((second) => xOf(axis, second)),
      halves: column.map((open) => open === 0 ? 0 : Math.max(BAND_MIN_PX, open * ownScale) / 2),
      open: column.at(-1) ?? NaN,
      outages: server === null ? [] : outagesOf(history, server, axis),
    };
  });
  return { lanes, scale };
}

/** Pixels per connection, so that lanes with these peaks fill the room: found by halving, for small lanes have a least height. */
function scaleFor(peaks: readonly number[], room: number): number {
  const heightAt = (scale: number) => peaks.reduce((sum, peak) => sum + Math.max(LANE_MIN_PX, peak * scale), 0);
  let [low, high] = [0, room / Math.max(1, ...peaks)];
  for (let i = 0; i < 40; i++) {
    const middle = (low + high) / 2;
    if (heightAt(middle) > room) high = middle;
    else low = middle;
  }
  return Math.max(0, low);
}

/** Seconds at which the bands are sampled: each one, or as many as there are pixels. */
function sampleTimes(axis: TimeAxis, newest: number): number[] {
  const step = Math.max(1, Math.round(1 / secondWidth(axis)));
  const times: number[] = [];
  for (let second = Math.min(axis.to, newest); second >= axis.from; second -= step) times.push(second);
  return times.reverse();
}

function outagesOf(history: History, server: string, axis: TimeAxis): Lane["outages"] {
  const states = history.statesOf(server);
  return states.flatMap(({ at, state }, i) => {
    const end = states[i + 1]?.at ?? history.newest;
    if (state === "up" || state === null || end <= axis.from || at >= axis.to) return [];
    const isDown = state === "down" || state === "resting";
    return [{ left: xOf(axis, Math.max(at, axis.from)), right: xOf(axis, Math.min(end, axis.to)), isDown }];
  });
}

/** The half width of a lane's band at the sample that is nearest to x. */
function halfAt({ xs, halves }: Lane, x: number): number {
  if (xs.length === 0) return 0;
  const step = xs.length > 1 ? (xs[xs.length - 1] - xs[0]) / (xs.length - 1) : 1;
  const index = Math.min(xs.length - 1, Math.max(0, Math.round((x - xs[0]) / step)));
  return halves[index] || 0;
}

function placeRibbons(
  flows: readonly Flow[],
  lanes: readonly Lane[],
  laneOf: (server: string) => number,
  axis: TimeAxis,
  scale: number,
): Ribbon[] {
  const binS = Math.max(1, Math.ceil(BIN_PX / secondWidth(axis)));
  const bins = new Map<string, { at: number; from: number; to: number; state: MovedState; count: number }>();
  for (const flow of flows) {
    const [from, to] = [laneOf(flow.from), laneOf(flow.to)];
    if (from < 0 || to < 0 || from === to) continue;
    const at = Math.floor(flow.at / binS) * binS;
    const key = `${at} ${from} ${to} ${flow.state}`;
    const bin = bins.get(key);
    if (bin === undefined) bins.set(key, { at: flow.at, from, to, state: flow.state, count: flow.count });
    else bin.count += flow.count;
  }
  const greatest = [...bins.values()].sort((a, b) => b.count - a.count).slice(0, RIBBONS_MAX);
  const ordered = greatest.sort((a, b) =>
    a.at - b.at || a.from - b.from || a.to - b.to || MOVED_STATES.indexOf(a.state) - MOVED_STATES.indexOf(b.state)
  );
  const taken = new Map<string, number>(); // what is used of the edge of a lane at a time
  const take = (key: string, width: number) => {
    const before = taken.get(key) ?? 0;
    taken.set(key, before + width);
    return before + width / 2;
  };
  return ordered.map(({ at, from, to, state, count }) => {
    const width = Math.max(RIBBON_MIN_PX, count * scale);
    const isUp = to < from;
    const x = xOf(axis, at - 1);
    const endX = Math.min(axis.right, x + RIBBON_LENGTH_PX);
    const bin = Math.floor(at / binS);
    const [giver, taker] = [lanes[from], lanes[to]];
    const leaving = take(`${bin} ${from} ${isUp} out`, width);
    const arriving = take(`${bin} ${to} ${isUp} in`, width);
    const startHalf = Math.min(giver.height / 2, Math.max(halfAt(giver, x), width / 2));
    const endHalf = Math.min(taker.height / 2, Math.max(halfAt(taker, endX), width / 2));
    return {
      from,
      to,
      state,
      count,
      at,
      width,
      start: { x, y: inside(giver.middle, startHalf, isUp ? leaving - startHalf : startHalf - leaving) },
      end: { x: endX, y: inside(taker.middle, endHalf, isUp ? endHalf - arriving : arriving - endHalf) },
    };
  });
}

/** A place within a band. */
function inside(middle: number, half: number, offset: number): number {
  return middle + Math.min(half, Math.max(-half, offset));
}

function placeFalls(
  resets: readonly Reset[],
  lanes: readonly Lane[],
  laneOf: (server: string) => number,
  axis: TimeAxis,
  scale: number,
): Fall[] {
  const binS = Math.max(1, Math.ceil(FALL_BIN_PX / secondWidth(axis)));
  const bins = new Map<string, { at: number; lane: number; count: number }>();
  for (const { at, server, count } of resets) {
    const lane = laneOf(server);
    if (lane < 0) continue;
    const key = `${Math.floor(at / binS)} ${lane}`;
    const bin = bins.get(key);
    if (bin === undefined) bins.set(key, { at, lane, count });
    else bin.count += count;
  }
  return [...bins.values()].map(({ at, lane, count }) => {
    const x = xOf(axis, at - 1);
    return {
      lane,
      at,
      count,
      x,
      y: lanes[lane].middle + halfAt(lanes[lane], x),
      width: Math.max(2, count * scale),
    };
  });
}
