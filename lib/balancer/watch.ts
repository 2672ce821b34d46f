/**
 * Watches the balancer once a second: samples the series, and records as events which limits were reached and how drains go on. The
 * one timer of both. Knows the services only by what it is told of them.
 */

import type { Counters } from "../observe/counters.ts";
import type { Events } from "../observe/events.ts";
import type { SampledService, Series } from "../observe/series.ts";
import { type DrainWatch, type WatchedServer, watchedServer } from "./drain_watch.ts";
import { LimitWatch } from "./limit_watch.ts";

interface WatchOptions {
  readonly counters: Counters;
  readonly events: Events;
  readonly series: Series;
  readonly drains: DrainWatch;
  /** The services with their servers, those on their way out included. */
  readonly services: () => readonly SampledService[];
}

/** A watch. Disposing of it ends it. */
export class Watch implements Disposable {
  readonly #options: WatchOptions;
  readonly #limits = new LimitWatch();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: WatchOptions) {
    this.#options = options;
    const { counters, drains, services } = options;
    this.#limits.begin((limit) => counters.get(limit));
    for (const server of this.#watched(services())) drains.begin(server, performance.now());
    this.#sleep();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #sleep(): void {
    // A timer may be a little early, and would then have to come twice.
    this.#timer = setTimeout(() => {
      this.#look();
      this.#sleep();
    }, this.#options.series.dueInMs() + 1);
  }

  #look(): void {
    const { counters, drains, events, series, services } = this.#options;
    const now = services();
    series.sample(now);
    const nowMs = performance.now();
    for (const event of drains.look(this.#watched(now), nowMs)) events.add(event);
    for (const event of this.#limits.look((limit) => counters.get(limit), nowMs)) events.add(event);
  }

  /** The servers whose connections are to leave: there may be thousands of others. */
  *#watched(services: readonly SampledService[]): Generator<WatchedServer, void, undefined> {
    const { counters } = this.#options;
    for (const { service, servers } of services) {
      for (const { server, slot, state } of servers) {
        if (state !== "draining" && state !== "removing") continue;
        yield watchedServer(counters, { service, server, slot, state });
      }
    }
  }
}
