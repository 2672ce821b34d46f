/**
 * A pool as a story: connections come, go and move second by second while servers are lost, come back, are drained and added. It
 * answers as the API does, with the ring's own code for plans, explanations and pictures, so that the page can be tried without a
 * daemon. Its numbers obey the invariants: accepted minus open is the sum of fates, and who moves away moves in elsewhere.
 */

import type { Answers } from "../../lib/control/api.ts";
import type { BalancerEvent, MovedState, OpenConnection, Series, Server, ServerState } from "../../lib/page/model/contract.ts";
import { CUT_FATES } from "../../lib/observe/verdict.ts";
import { parseClient } from "../../lib/values/client_name.ts";
import { countFates, type Fate, FATE_NAMES } from "../../lib/values/fates.ts";
import { parseAddress, parseKeyRule } from "../../lib/values/address.ts";
import { AVAILABILITY } from "../../lib/routing/availability.ts";
import { newTurns } from "../../lib/routing/candidates.ts";
import { explainClient } from "../../lib/routing/explain.ts";
import { planChange, type PoolChange } from "../../lib/routing/plan.ts";
import { pictureRing } from "../../lib/routing/ring_picture.ts";
import { buildRing, ringShares } from "../../lib/routing/ring.ts";
import { ringFlows } from "../../lib/routing/flows.ts";
import type { Load } from "../../lib/routing/route.ts";
import { emptyTable, nextTable, type RoutingTable } from "../../lib/routing/routing_table.ts";
import { countStates, NO_HOLD, serverAnswer, serviceAnswer, statusAnswer } from "../answers.ts";

/** How the story begins. */
export interface StoryOptions {
  readonly servers?: number;
  /** Open connections of all servers, about. */
  readonly open?: number;
  /** The second before its first one. */
  readonly start: number;
  readonly seed?: number;
  readonly service?: string;
}

const KEPT = 900;
const KEY = parseKeyRule("ip");
const STATES: readonly MovedState[] = ["unsent", "unanswered", "idle"];
/** Parts of a lost server's connections by state; the rest is reset. */
const MIX: readonly [MovedState, number][] = [["unsent", 0.06], ["unanswered", 0.2], ["idle", 0.705]];
/** A connection lasts so long, in seconds. */
const LIFE_S = 40;

interface Moves {
  unsent: number;
  unanswered: number;
  idle: number;
}

interface Second {
  open: number;
  opened: number;
  sentBytes: number;
  receivedBytes: number;
  failures: number;
  p50: number | null;
  p99: number | null;
  state: ServerState;
  movedIn: Moves;
  movedAway: Moves;
  cut: number;
}

interface Member {
  name: string;
  weight: number;
  state: ServerState;
  since: number;
  reason: string | null;
  open: number;
  totals: { connects: number; failures: number; sent: number; received: number; movedAway: number; fates: Record<Fate, number> };
  seconds: Map<number, Second>;
  now: Second;
  /** What happens to it in a second from now. */
  slow: number;
}

/** The pool and what has happened to it. */
export class Story {
  readonly service: string;
  readonly startId = "story1";
  readonly events: BalancerEvent[] = [];
  #now: number;
  readonly #startedAt: number;
  readonly #target: number;
  #random: () => number;
  readonly #members = new Map<string, Member>();
  readonly #left: Member[] = [];
  #accepted = 0;
  readonly #fates: Record<Fate, number> = countFates(() => 0);
  readonly #serviceSeconds = new Map<number, { accepted: number; open: number; fates: Partial<Record<Fate, number>> }>();
  #secondFates: Partial<Record<Fate, number>> = {};
  #secondAccepted = 0;
  readonly #flows: { at: number; from: string; to: string; state: MovedState; count: number }[] = [];
  #shares = new Map<string, number>();
  #table: RoutingTable = emptyTable(KEY, 1.25);
  /** Connections that were moved by hand, with their servers, and those that were closed: null. */
  readonly #parted = new Map<string, string | null>();

  constructor({ servers = 6, open = 2400, start, seed = 7, service = "default" }: StoryOptions) {
    this.service = service;
    this.#now = start;
    this.#startedAt = start;
    this.#target = open;
    this.#random = randomOf(seed);
    this.#tell("daemon", "Started: 1 service");
    for (let i = 0; i < servers; i++) this.#enter(`10.0.${Math.floor(i / 250)}.${i % 250 + 1}:80`, 1);
    this.#route();
    for (const member of this.#members.values()) {
      member.open = Math.round(open * this.#shares.get(member.name)! * (0.94 + 0.12 * this.#random()));
      this.#accepted += member.open;
    }
  }

  /** The last second that has passed. */
  get now(): number {
    return this.#now;
  }

  /** The servers of the pool. */
  get names(): string[] {
    return [...this.#members.keys()];
  }

  /** Lets seconds pass. */
  pass(seconds: number): void {
    for (let i = 0; i < seconds; i++) this.#tick();
  }

  /** Kills a server: its connections move or are reset at once, and its check finds it down. */
  kill(name: string, reason = "connection refused"): void {
    const member = this.#members.get(name)!;
    this.#become(member, "down", reason);
    this.#leave(member, member.open, true);
    this.#tell("server", `Server ${name} is down: ${reason}`, { level: "warning", server: name });
  }

  /** A lost server comes back. */
  revive(name: string): void {
    this.#become(this.#members.get(name)!, "up", null);
    this.#tell("server", `Server ${name} is up again`, { server: name });
  }

  /** Drains a server by hand. */
  drain(name: string): void {
    this.#become(this.#members.get(name)!, "draining", "drained by hand");
    this.#tell("command", `Drained server ${name}`, { server: name, who: "root" });
  }

  /** Puts a drained server back. */
  undrain(name: string): void {
    this.#become(this.#members.get(name)!, "up", null);
    this.#tell("command", `Server ${name} is no longer drained`, { server: name, who: "root" });
  }

  /** Takes a server out of the pool: what cannot move is cut at once. */
  remove(name: string): void {
    const member = this.#members.get(name)!;
    this.#become(member, "removing", "balancerctl remove");
    this.#leave(member, member.open, false);
    this.#end(member, "removed", member.open);
    this.#members.delete(name);
    this.#left.push(member);
    this.#route();
    this.#tell("command", `Removed server ${name}`, { server: name, who: "root" });
  }

  /** Adds a server. */
  add(name: string, weight = 1): void {
    this.#enter(name, weight);
    this.#route();
    this.#tell("command", `Added server ${name}`, { server: name, who: "root" });
  }

  /** Something else happens. */
  say(kind: BalancerEvent["kind"], text: string, more: Partial<BalancerEvent> = {}): void {
    this.#tell(kind, text, more);
  }

  /** A server answers slowly for a while, and refuses some connections. */
  slow(name: string, factor: number): void {
    this.#members.get(name)!.slow = factor;
  }

  /** `GET /v1/status`. */
  status(): Answers["status"] {
    return statusAnswer([this.#serviceView()], {
      startedAt: new Date(this.#startedAt * 1000).toISOString(),
      fates: { ...this.#fates },
      settings: { redistribute: "idle" },
    });
  }

  /** `GET /v1/servers`. */
  servers(): Answers["servers"] {
    const servers = [...this.#members.values(), ...this.#left.filter(({ open }) => open > 0)].map((member) => this.#view(member));
    return { servers, ring: { fingerprint: "6f1c2a90", points: 256 * this.#members.size, peakToMean: 1.03 }, hold: NO_HOLD };
  }

  /** `GET /v1/series`. */
  series({ after = 0, seconds = KEPT, step = 1 }: { after?: number; seconds?: number; step?: number } = {}): Series {
    const oldest = Math.max(this.#startedAt + 1, this.#now - Math.min(seconds, KEPT) + 1, after + 1);
    const steps = Math.max(0, Math.floor((this.#now - oldest + 1) / step));
    const from = this.#now - steps * step + 1;
    const span = Array.from({ length: steps }, (_, i) => from + i * step);
    const fold = <T>(at: number, read: (second: number) => T) => Array.from({ length: step }, (_, i) => read(at + i));
    const sum = (numbers: (number | null | undefined)[]) => numbers.reduce<number>((sum, number) => sum + (number ?? 0), 0);
    const fates = FATE_NAMES.filter((fate) =>
      span.some((at) => fold(at, (s) => this.#serviceSeconds.get(s)?.fates[fate]).some(Boolean))
    );
    const members = [...this.#members.values(), ...this.#left];
    return {
      startId: this.startId,
      from,
      step,
      steps,
      services: [{
        service: this.service,
        accepted: span.map((at) => sum(fold(at, (s) => this.#serviceSeconds.get(s)?.accepted))),
        open: span.map((at) => this.#serviceSeconds.get(at + step - 1)?.open ?? 0),
        fates: Object.fromEntries(
          fates.map((fate) => [fate, span.map((at) => sum(fold(at, (s) => this.#serviceSeconds.get(s)?.fates[fate])))]),
        ),
      }],
      servers: members.map((member) => {
        const last = (read: (second: Second) => number | null) =>
          span.map((at) => {
            const second = member.seconds.get(at + step - 1);
            return second === undefined ? null : read(second);
          });
        const total = (read: (second: Second) => number) =>
          span.map((at) =>
            member.seconds.has(at + step - 1) ? sum(fold(at, (s) => member.seconds.get(s)).map((s) => s && read(s))) : null
          );
        const moves = (read: (second: Second) => Moves) =>
          Object.fromEntries(STATES.map((state) => [state, total((second) => read(second)[state])])) as Record<
            MovedState,
            (number | null)[]
          >;
        const states: [number, ServerState | null][] = [];
        for (const [i, at] of span.entries()) {
          const state = member.seconds.get(at + step - 1)?.state ?? null;
          if (states.length === 0 || states.at(-1)![1] !== state) states.push([i, state]);
        }
        return {
          service: this.service,
          server: member.name,
          states,
          open: last(({ open }) => open),
          opened: total(({ opened }) => opened),
          sentBytes: total(({ sentBytes }) => sentBytes),
          receivedBytes: total(({ receivedBytes }) => receivedBytes),
          failures: total(({ failures }) => failures),
          connectP50Ms: last(({ p50 }) => p50),
          connectP99Ms: last(({ p99 }) => p99),
          movedIn: moves(({ movedIn }) => movedIn),
          movedAway: moves(({ movedAway }) => movedAway),
          cut: total(({ cut }) => cut).flatMap((count, i): [number, number][] => count === null || count === 0 ? [] : [[i, count]]),
        };
      }),
      flows: this.#flows.filter(({ at }) => at >= from && at <= this.#now)
        .map(({ at, ...flow }) => ({ ...flow, service: this.service, at: Math.floor((at - from) / step) })),
    };
  }

  /** `GET /v1/plan`. Throws a sentence. */
  plan(change: PoolChange): Answers["plan"] {
    if (change.kind !== "add" && !this.#members.has(change.server)) {
      throw new Error(`Cannot plan: ${change.server} is not in the pool`);
    }
    if (change.kind === "add" && this.#members.has(change.server)) {
      throw new Error(`Cannot plan: ${change.server} is already in the pool`);
    }
    const { connections: _, ...plan } = planChange({
      table: this.#table,
      change,
      policy: { redistribute: "idle", quietMs: 250, replaysMax: 1, replayBytesMax: 65_536 },
      load: this.#load(),
      connections: [],
    });
    const open = change.kind === "remove"
      ? this.#members.get(change.server)!.open
      : Math.round((plan.movedShare ?? 0) * this.#open());
    const connections = [
      { state: "idle", count: Math.round(open * 0.7), outcome: "move" },
      { state: "unanswered", count: Math.round(open * 0.2), outcome: "move" },
      { state: "busy", count: Math.round(open * 0.1), outcome: "may finish, and is reset when the drain time ends" },
    ] as Answers["plan"]["connections"];
    return { ...plan, flows: [...plan.flows], connections };
  }

  /** `GET /v1/explain`. Throws a sentence. */
  explain(client: string, successorsMax = 3): Answers["explanation"] {
    const parsed = parseClient(client, KEY);
    const members = [...this.#members.values()];
    const stateOf = (slot: number) => members[slot].state;
    const { order, ...explanation } = explainClient({
      table: this.#table,
      load: this.#load(),
      key: parsed.key,
      stateOf,
      successorsMax,
    });
    return { client: parsed.client, ...explanation, order: [...order] };
  }

  /** `GET /v1/ring`. */
  ring(bins = 720, change?: PoolChange): Answers["ring"] {
    return structuredClone(pictureRing({ table: this.#table, load: this.#load(), bins, change })) as Answers["ring"];
  }

  /** `GET /v1/connections`: some that fit the filter. */
  connections(
    { server, state, client }: { server?: string; state?: string; client?: string },
  ): { total: number; connections: OpenConnection[] } {
    const fit = this.#someConnections().filter((one) =>
      (server ?? one.server) === one.server && (state ?? one.state) === one.state &&
      (client === undefined || one.client.startsWith(client))
    );
    return {
      total: server === undefined && state === undefined && client === undefined ? this.#open() : fit.length,
      connections: fit.slice(0, 100),
    };
  }

  /** Closes one of those connections. Throws a sentence. */
  closeConnection(id: string): Answers["closedConnection"] {
    const { service, client, server } = this.#connection(id, "close");
    this.#parted.set(id, null);
    this.#end(this.#members.get(server!)!, "closed", 1);
    return { id, service, client, server };
  }

  /** Moves one of those connections; one that is busy is refused, and reset by force. Throws a sentence. */
  moveConnection(id: string, { server, force = false }: { server?: string; force?: boolean }): Answers["movedConnection"] {
    const { service, client, server: from, state } = this.#connection(id, "move");
    const to = server ?? [...this.#members.values()].find((one) => one.name !== from && one.state === "up")!.name;
    const answer = { id, service, client, server: from, from, state, replayedBytes: state === "unanswered" ? 73 : 0 };
    if (state === "idle" || state === "unanswered" || state === "unsent") {
      this.#parted.set(id, to);
      this.#move(this.#members.get(from!)!, this.#members.get(to)!, state, 1);
      return { ...answer, outcome: "moved", to, reason: null, next: null };
    }
    const why = "it is in the middle of an exchange, and what the client has said cannot be said again to another server";
    const wayOut = "try again once it is idle (balancerctl connections --state idle), or reset it with --force";
    if (!force) throw new Error(`Cannot move connection ${JSON.stringify(id)}: ${why}; ${wayOut}`);
    this.closeConnection(id);
    return { ...answer, outcome: "reset", to: null, reason: why, next: to };
  }

  /** Up to 40 connections of each server, the same ones whenever they are looked at. */
  #someConnections(): OpenConnection[] {
    const all = [...this.#members.values()].flatMap((member) => {
      const random = randomOf(3 + Number(member.name.match(/(\d+):/)![1]));
      return Array.from({ length: Math.min(member.open, 40) }, () => this.#newConnection(member, random));
    });
    return all.filter(({ id }) => this.#parted.get(id) !== null)
      .map((one) => ({
        ...one,
        server: this.#parted.get(one.id) ?? one.server,
        moves: one.moves + Number(this.#parted.has(one.id)),
      }));
  }

  #newConnection(member: Member, random: () => number): OpenConnection {
    const idle = random() < 0.7;
    return {
      id: `c0ffee00c0ffee00-${Math.floor(random() * 2 ** 32).toString(16)}`,
      service: this.service,
      listener: "0.0.0.0:80",
      client: `192.0.2.${Math.floor(random() * 250) + 1}:${40_000 + Math.floor(random() * 9999)}`,
      server: member.name,
      state: idle ? "idle" : random() < 0.5 ? "busy" : "unanswered",
      ageMs: Math.floor(random() * 900_000),
      idleMs: idle ? Math.floor(random() * 30_000) : 3,
      sentBytes: Math.floor(random() * 40_000),
      receivedBytes: Math.floor(random() * 4_000_000),
      moves: random() < 0.1 ? 1 : 0,
    };
  }

  #connection(id: string, verb: string): OpenConnection {
    const found = this.#someConnections().find((one) => one.id === id);
    if (found !== undefined) return found;
    const why = "it is not open; balancerctl connections shows those that are";
    throw new Error(`Cannot ${verb} connection ${JSON.stringify(id)}: ${why}`);
  }

  #enter(name: string, weight: number): void {
    this.#members.set(name, {
      name,
      weight,
      state: "up",
      since: this.#now,
      reason: null,
      open: 0,
      totals: { connects: 0, failures: 0, sent: 0, received: 0, movedAway: 0, fates: countFates(() => 0) },
      seconds: new Map(),
      now: newSecond(),
      slow: 1,
    });
  }

  #become(member: Member, state: ServerState, reason: string | null): void {
    member.state = state;
    member.reason = reason;
    member.since = this.#now + 0.4;
    this.#route();
  }

  #route(): void {
    const members = [...this.#members.values()];
    this.#table = nextTable(
      emptyTable(KEY, 1.25),
      members.map(({ name, weight }, slot) => ({ name, weight, address: parseAddress(name), connectionsMax: Infinity, slot })),
    );
    const { ring } = this.#table.tiers[0];
    const shares = ringShares(ring);
    this.#shares = new Map(ring.servers.map(({ name }, i) => [name, shares[i]]));
  }

  #load(): Load {
    const members = [...this.#members.values()];
    const out = members.filter(({ state }) => state !== "up");
    return {
      open: this.#open(),
      unavailableWeight: out.reduce((sum, { weight }) => sum + weight, 0),
      tiersInUse: 0,
      turns: newTurns(() => 0.5),
      openOf: (slot) => members[slot].open,
      availabilityOf: (slot) =>
        members[slot].state === "up"
          ? AVAILABILITY.full
          : members[slot].state === "draining"
          ? AVAILABILITY.draining
          : AVAILABILITY.fallback,
    };
  }

  #open(): number {
    return [...this.#members.values(), ...this.#left].reduce((sum, { open }) => sum + open, 0);
  }

  /** Connections of a server leave it: they move by the ring, and of a lost server some are reset. */
  #leave(member: Member, count: number, isLost: boolean): void {
    const takers = this.#takersOf(member);
    const { ring } = this.#table.tiers[0];
    for (const [state, part] of MIX) {
      const leaving = isLost ? Math.round(count * part) : state === "idle" ? count : 0;
      let left = Math.min(leaving, member.open);
      for (const [i, [to, share]] of takers.entries()) {
        const moved = i === takers.length - 1 ? left : Math.min(left, Math.round(leaving * share));
        left -= moved;
        if (moved > 0) this.#move(member, this.#members.get(to)!, state, moved);
      }
    }
    if (isLost && ring.servers.length > 0) this.#end(member, "server_lost", member.open);
  }

  #takersOf(member: Member): [string, number][] {
    const { ring } = this.#table.tiers[0];
    const up = ring.servers.filter(({ name }) => name !== member.name && this.#members.get(name)!.state === "up");
    if (up.length === 0) return [];
    const withIt = ring.servers.filter(({ name }) => name === member.name || this.#members.get(name)!.state === "up");
    const { flows } = ringFlows(buildRing(withIt, ring), buildRing(up, ring), 60);
    const total = flows.reduce((sum, { share }) => sum + share, 0);
    return flows.filter(({ to }) => to !== null).map(({ to, share }) => [to!, share / total]);
  }

  #move(from: Member, to: Member, state: MovedState, count: number): void {
    from.open -= count;
    to.open += count;
    from.totals.movedAway += count;
    from.now.movedAway[state] += count;
    to.now.movedIn[state] += count;
    this.#flows.push({ at: this.#now + 1, from: from.name, to: to.name, state, count });
  }

  #end(member: Member, fate: Fate, count: number): void {
    member.open -= count;
    member.totals.fates[fate] += count;
    if (CUT_FATES.includes(fate)) member.now.cut += count;
    this.#fates[fate] += count;
    this.#secondFates[fate] = (this.#secondFates[fate] ?? 0) + count;
  }

  #tick(): void {
    const up = [...this.#members.values()].filter(({ state }) => state === "up");
    const weight = up.reduce((sum, { name }) => sum + this.#shares.get(name)!, 0);
    for (const member of this.#members.values()) {
      if (member.state === "up") this.#serve(member, this.#shares.get(member.name)! / weight);
      if (member.state === "draining" && member.open > 0) this.#drainSome(member);
      this.#keep(member);
    }
    this.#now++;
    this.#serviceSeconds.set(this.#now, { accepted: this.#secondAccepted, open: this.#open(), fates: this.#secondFates });
    this.#serviceSeconds.delete(this.#now - KEPT);
    while (this.#flows.length > 0 && this.#flows[0].at <= this.#now - KEPT) this.#flows.shift();
    this.#secondFates = {};
    this.#secondAccepted = 0;
  }

  #serve(member: Member, share: number): void {
    const wave = 1 + 0.12 * Math.sin(this.#now / 97) + 0.05 * Math.sin(this.#now / 13);
    const arrivals = this.#around(this.#target * share * wave / LIFE_S);
    const ends = Math.min(member.open, this.#around(member.open / LIFE_S));
    member.open += arrivals;
    member.now.opened = arrivals;
    member.totals.connects += arrivals;
    this.#accepted += arrivals;
    this.#secondAccepted += arrivals;
    const gone = Math.round(ends * 0.14);
    const idle = Math.round(ends * 0.04);
    this.#end(member, "client_gone", gone);
    this.#end(member, "idle_timeout", idle);
    this.#end(member, "done", ends - gone - idle);
    member.now.sentBytes = Math.round(member.open * 900 * (0.8 + 0.4 * this.#random()));
    member.now.receivedBytes = Math.round(member.open * 14_000 * (0.8 + 0.4 * this.#random()));
    member.totals.sent += member.now.sentBytes;
    member.totals.received += member.now.receivedBytes;
    member.now.p50 = 0.3 * member.slow * (0.9 + 0.2 * this.#random());
    member.now.p99 = 1.4 * member.slow * (0.8 + 0.5 * this.#random());
    member.now.failures = member.slow > 5 && this.#random() < 0.15 ? 1 : 0;
    member.totals.failures += member.now.failures;
  }

  /** Idle connections move at once, the others as they become idle. */
  #drainSome(member: Member): void {
    const part = this.#now - member.since < 2 ? 0.7 : 0.25;
    this.#leave(member, Math.min(member.open, Math.max(1, Math.round(member.open * part))), false);
    if (member.open === 0) {
      this.#tell("drain", `Server ${member.name} is drained: its last connection has moved`, { server: member.name });
    }
  }

  #keep(member: Member): void {
    member.seconds.set(this.#now + 1, { ...member.now, open: member.open, state: member.state });
    member.seconds.delete(this.#now + 1 - KEPT);
    member.now = newSecond();
  }

  #tell(kind: BalancerEvent["kind"], text: string, more: Partial<BalancerEvent> = {}): void {
    this.events.push({
      number: this.events.length + 1,
      at: new Date((this.#now + 0.5) * 1000).toISOString(),
      kind,
      level: "info",
      service: this.service,
      server: null,
      who: null,
      text,
      ...more,
    });
  }

  #view(member: Member): Server {
    const { totals } = member;
    return serverAnswer({
      server: member.name,
      state: member.state,
      since: new Date(member.since * 1000).toISOString(),
      reason: member.reason,
      weight: member.weight,
      nextCheckAt: new Date((this.#now + (this.#now % 2 === 0 ? 2 : 1)) * 1000).toISOString(),
      open: member.open,
      movedAway: totals.movedAway,
      connects: totals.connects,
      connectFailures: totals.failures,
      sentBytes: totals.sent,
      receivedBytes: totals.received,
      share: this.#shares.get(member.name) ?? 0,
      fates: { ...totals.fates },
    });
  }

  #serviceView(): Answers["service"] {
    return serviceAnswer({
      service: this.service,
      settings: { redistribute: "idle" },
      servers: countStates([...this.#members.values()]),
      open: this.#open(),
      accepted: this.#accepted,
      fingerprint: "6f1c2a90",
    });
  }

  /** A whole number around a mean. */
  #around(mean: number): number {
    return Math.max(0, Math.floor(mean + (this.#random() - 0.5) * 2 * Math.sqrt(mean) + this.#random()));
  }
}

function newSecond(): Second {
  const moves = () => ({ unsent: 0, unanswered: 0, idle: 0 });
  return {
    open: 0,
    opened: 0,
    sentBytes: 0,
    receivedBytes: 0,
    failures: 0,
    p50: null,
    p99: null,
    state: "up",
    movedIn: moves(),
    movedAway: moves(),
    cut: 0,
  };
}

/** Numbers from 0 to 1 that look random (mulberry32). */
function randomOf(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ seed >>> 15, 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed)) ^ mixed;
    return ((mixed ^ mixed >>> 14) >>> 0) / 2 ** 32;
  };
}

/** A quarter of an hour in which much happens: steady, a server killed, it comes back, another drained, one added. */
export function eventfulStory(now: number): Story {
  const story = new Story({ start: now - 960 });
  story.pass(300);
  story.kill("10.0.0.3:80");
  story.pass(140);
  story.revive("10.0.0.3:80");
  story.pass(120);
  story.drain("10.0.0.5:80");
  story.pass(110);
  story.undrain("10.0.0.5:80");
  story.pass(50);
  story.add("10.0.0.7:80");
  story.say("command", "Changed the service: load-bound 1.25 (was off)", { who: "root" });
  story.pass(now - story.now);
  return story;
}
