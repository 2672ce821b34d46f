/**
 * Watches the balancer once a second: samples the series, and records as events which limits were reached and how drains go on. The
 * one timer of both. Knows the services only by what it is told of them.
 */

import type { Series } from "../observe/series.ts";
import type { SampledService } from "../observe/series.ts";

interface WatchOptions {
  readonly series: Series;
  /** The services with their servers, those on their way out included. */
  readonly services: () => readonly SampledService[];
}

/** A watch. Disposing of it ends it. */
export class Watch implements Disposable {
  readonly #options: WatchOptions;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#sleep();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Looks once. */
  look(): void {
    const { series, services } = this.#options;
    series.sample(services());
  }

  #sleep(): void {
    const dueInMs = this.#options.series.dueInMs();
    this.#timer = setTimeout(() => {
      this.look();
      this.#sleep();
    }, dueInMs + 1); // a timer may be a little early, and would then come twice
  }
}
