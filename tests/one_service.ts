// A balancer with one service, `default`, and what tests ask of it.

import { Balancer, type BalancerOptions } from "../lib/balancer/balancer.ts";
import type { Removal } from "../lib/balancer/removals.ts";
import type { Service } from "../lib/balancer/service.ts";
import type { CheckReport, RingView, ServerView } from "../lib/balancer/views.ts";
import type { ServerChange } from "../lib/balancer/state_changes.ts";
import type { EngineKind } from "../lib/engine/engine.ts";
import { streams } from "../lib/engine/streams/engine.ts";
import type { Clients } from "../lib/balancer/clients.ts";
import type { Rebalancer } from "../lib/balancer/rebalance.ts";
import type { RecentFilter, RecentList } from "../lib/observe/recent.ts";
import type { PoolChange } from "../lib/routing/plan.ts";
import type { Address } from "../lib/values/address.ts";
import { parseConfig } from "../lib/values/config.ts";
import { DEFAULT_SERVICE, type SavedListener, type SavedServer } from "../lib/values/saved_state.ts";
import type { ServerSettings } from "../lib/values/server_settings.ts";

/** What a test may choose; everything else is as in production. */
export interface OneServiceOptions extends Partial<Omit<BalancerOptions, "state" | "config" | "store">> {
  readonly engine?: EngineKind;
  readonly flags?: Readonly<Record<string, string>>;
  readonly servers?: readonly SavedServer[];
  readonly listener?: SavedListener;
  /** Saves the servers of the service. */
  readonly save?: (servers: readonly SavedServer[]) => Promise<void>;
}

/** A balancer without checks, which are connections, too, unless the flags say otherwise. */
export async function startBalancer(options: OneServiceOptions = {}): Promise<OneService> {
  const { engine = streams, flags = {}, servers = [], listener = { address: "127.0.0.1", port: 0 }, save, ...rest } = options;
  const settings = { check: "off", workers: "1", ...flags };
  const balancer = await Balancer.start({
    engine,
    config: parseConfig(settings),
    connectionsMax: 1000,
    required: DEFAULT_SERVICE,
    state: { generation: 0, services: [{ name: DEFAULT_SERVICE, listeners: [listener], settings, servers }] },
    store: save && {
      save: ({ services }) => save(services[0].servers),
      list: () => Promise.resolve([]),
      load: () => Promise.reject(new Error("there is no history")),
    },
    ...rest,
  });
  return new OneService(balancer);
}

/** The one service and its balancer. */
export class OneService implements AsyncDisposable {
  readonly service: Service;

  constructor(readonly balancer: Balancer) {
    this.service = balancer.service();
  }

  get counters(): Balancer["counters"] {
    return this.balancer.counters;
  }

  get address(): Address {
    return this.balancer.addressOf(this.service)!;
  }

  get generation(): number {
    return this.balancer.generation;
  }

  get rebalancer(): Rebalancer {
    return this.service.rebalancer;
  }

  get checkIntervalMs(): number {
    return this.service.checkIntervalMs;
  }

  add(address: Address, settings?: Partial<ServerSettings>): Promise<ServerView> {
    return this.balancer.addServer(this.service, address, settings);
  }

  change(name: string, change: ServerChange): Promise<ServerView> {
    return this.balancer.changeServer(this.service, name, change);
  }

  remove(name: string, drainMs: number): Promise<Removal> {
    return this.balancer.removeServer(this.service, name, drainMs);
  }

  list(): ServerView[] {
    return this.service.list();
  }

  get(name: string): ServerView {
    return this.service.get(name);
  }

  check(name: string): Promise<CheckReport> {
    return this.service.check(name);
  }

  ring(): RingView {
    return this.service.ring();
  }

  countServers(): ReturnType<Service["countServers"]> {
    return this.service.countServers();
  }

  known(): ReturnType<Service["known"]> {
    return this.service.known();
  }

  plan(change: PoolChange): ReturnType<Service["plan"]> {
    return this.service.plan(change);
  }

  explain(client: string, successorsMax: number): ReturnType<Service["explain"]> {
    return this.service.explain(client, successorsMax);
  }

  recent(filter: RecentFilter): RecentList {
    return this.balancer.recent(filter);
  }

  clients(max: number): ReturnType<Clients["view"]> {
    return this.balancer.clients(this.service, max);
  }

  stop(graceMs: number): Promise<void> {
    return this.balancer.stop(graceMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.balancer[Symbol.asyncDispose]();
  }
}
