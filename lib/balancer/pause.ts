/**
 * The pause of one service (`balancerctl pause`): new clients wait, and nobody is dialled. It ends by itself, because a pause that
 * somebody has forgotten is an outage, and with the daemon, because those who wait do not survive that either. They do survive an
 * upgrade, and so does the pause.
 */

/** What a pause is to be. */
export interface PauseOptions {
  readonly forMs: number;
  /** Whether open connections wait, too, as soon as they are between two exchanges. */
  readonly idle: boolean;
  readonly who: string;
}

/** A pause as the API shows it. */
export interface PauseView {
  readonly since: Date;
  /** When it ends by itself. */
  readonly until: Date;
  readonly idle: boolean;
  readonly who: string;
}

/** The pause of a service, if there is one. */
export class Pause implements Disposable {
  readonly #onOver: () => void;
  #view: PauseView | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `onOver` is called when a pause has ended by itself. */
  constructor(onOver: () => void) {
    this.#onOver = onOver;
  }

  /** Undefined: there is none. */
  get view(): PauseView | undefined {
    return this.#view;
  }

  /** Begins a pause, or gives the one that there is another end, from now on. */
  begin({ forMs, idle, who }: PauseOptions): PauseView {
    const nowMs = Date.now();
    return this.goOn({ since: this.#view?.since ?? new Date(nowMs), until: new Date(nowMs + forMs), idle, who });
  }

  /** There is this pause, which may have begun in another process. */
  goOn(view: PauseView): PauseView {
    clearTimeout(this.#timer);
    this.#view = view;
    this.#timer = setTimeout(() => {
      this.#view = undefined;
      this.#onOver();
    }, Math.max(0, view.until.getTime() - Date.now()));
    return view;
  }

  /** Ends the pause. False: there was none. */
  end(): boolean {
    const wasPaused = this.#view !== undefined;
    clearTimeout(this.#timer);
    this.#view = undefined;
    return wasPaused;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
