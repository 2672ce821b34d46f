/** What a part of the page is to the page: an element that draws a view, and wishes of the person that it passes on. */

import type { Deed } from "../model/deeds.ts";
import type { Choices, Desk, View } from "../model/desk.ts";
import type { Paint } from "./paint.ts";

/** A part of the page. */
export interface Panel {
  readonly element: HTMLElement;
  /** Shows the view. Called at most once a frame. */
  draw(view: View, paint: Paint): void;
  /** Whether it shows which server is pointed at: then it is drawn as well when only that has changed. */
  readonly isLit?: true;
  /** Whether it is a picture, which takes long with many servers. */
  readonly isPicture?: true;
}

/** What parts of the page may ask for. */
export interface Host {
  readonly desk: Desk;
  /** Changes what the person has chosen, and draws. */
  choose(choices: Partial<Choices>): void;
  /** Points at a server, or at none. */
  light(server: string | null): void;
  /** Draws soon. */
  redraw(): void;
  /** Asks the API. Rejects with a sentence. */
  ask<T>(path: string, query: Readonly<Record<string, string>>): Promise<T>;
  /** Changes something by the API. Rejects with a sentence. */
  tell<T>(deed: Deed): Promise<T>;
}
