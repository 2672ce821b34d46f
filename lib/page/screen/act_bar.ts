/**
 * Makes the change whose plan is shown, where the page may change the pool: a button that asks, and one that does it. Whoever has
 * seen the plan of another change, or none, finds no button.
 */

import type { Question } from "../model/what_if.ts";
import { deedOf, doneText, wordsOf } from "../model/deeds.ts";
import { make, setText } from "./dom.ts";
import type { Host } from "./panel.ts";

/** The buttons, and what came of them. */
export interface ActBar {
  readonly element: HTMLElement;
  /** Offers this change, whose plan is shown; undefined: none. Another one than before takes a question back. */
  offer(question: Question | undefined): void;
}

/** Makes it. `onDone` is called after a change that was made. */
export function actBar(host: Host, onDone: () => void): ActBar {
  let offered: Question | undefined;
  let isBusy = false;
  const says = make("p", { class: "answer", role: "status" });
  const ask = make("button", { type: "button", class: "ask", on: { click: () => (show(true), no.focus()) } });
  const sure = make("span", { id: "act-sure" });
  const yes = make("button", { type: "button", class: "yes", on: { click: () => void act() } });
  const no = make("button", { type: "button", text: "No", on: { click: () => (show(false), ask.focus()) } });
  const question = make("div", { class: "sure", role: "group", "aria-labelledby": "act-sure" }, sure, yes, no);
  const element = make("div", { class: "act" }, ask, question, says);
  const show = (isAsking: boolean) => {
    ask.hidden = isAsking || isBusy || offered === undefined;
    question.hidden = !isAsking || isBusy || offered === undefined;
  };
  const act = async () => {
    const made = offered;
    const service = host.desk.service;
    if (made === undefined || service === undefined || isBusy) return;
    isBusy = true;
    show(false);
    setText(says, `${wordsOf(made)}: asked, and not answered yet …`);
    try {
      setText(says, doneText(made, await host.tell(deedOf(made, service))));
      onDone();
    } catch (error) {
      setText(says, (error as Error).message);
    }
    isBusy = false;
    show(false);
  };
  show(false);
  return {
    element,
    offer(next) {
      if (JSON.stringify(next) === JSON.stringify(offered)) return;
      offered = next;
      if (next !== undefined) {
        setText(ask, `${wordsOf(next)} …`);
        setText(sure, `${wordsOf(next)}, as the plan says?`);
        setText(yes, wordsOf(next));
      }
      show(false);
    },
  };
}
