/**
 * Asks before a connection is closed or moved, and does it: which connection it is, what its client will notice, the command that
 * does the same. If the balancer does not let it move, its sentence is shown, and the reset by force is offered.
 */

import {
  type ConnectionChange,
  connectionCommandOf,
  connectionDeedOf,
  connectionDoneText,
  connectionQuestionOf,
  type ConnectionWish,
  describeConnection,
  targetsOf,
} from "../model/connection_deeds.ts";
import type { OpenConnection } from "../model/contract.ts";
import type { View } from "../model/desk.ts";
import { field, make, setOptions, setText } from "./dom.ts";
import type { Host } from "./panel.ts";
import { Refusal } from "./source.ts";

/** The dialog. */
export interface ConnectionDialog {
  readonly element: HTMLDialogElement;
  /** Asks. The question stands until it is answered, whatever the list shows meanwhile. */
  ask(change: ConnectionChange, connection: OpenConnection, view: Pick<View, "servers" | "status">): void;
}

/** Makes it. `onDone` is told what has come of it. */
export function connectionDialog(host: Host, onDone: (text: string) => void): ConnectionDialog {
  let wish: ConnectionWish | undefined;
  let name = "default";
  let isBusy = false;
  const title = make("h2", { id: "connection-title" });
  const facts = make("p", { class: "facts" });
  const notice = make("p", { id: "connection-notice" });
  const server = make("select", { on: { change: () => want({ server: server.value, isForced: false }) } });
  const serverField = field("to", server);
  const says = make("p", { class: "answer", role: "alert" });
  const command = make("code");
  const yes = make("button", { type: "button", on: { click: () => void act() } });
  const no = make("button", { type: "button", text: "No", on: { click: () => element.close() } });
  const element = make(
    "dialog",
    {
      "aria-labelledby": "connection-title",
      "aria-describedby": "connection-notice",
      on: { keydown: (event) => event.stopPropagation() }, // Escape closes it, and does not go back to now
    },
    title,
    facts,
    serverField,
    says,
    notice,
    make("p", { class: "command" }, command),
    make("p", { class: "answers" }, no, yes),
  );
  const want = (change: Partial<ConnectionWish>) => {
    wish = { ...wish!, ...change };
    if (!wish.isForced) setText(says, "");
    show(wish);
  };
  const show = (shown: ConnectionWish) => {
    const question = connectionQuestionOf(shown);
    setText(title, question.title);
    setText(facts, describeConnection(shown.connection));
    setText(notice, question.notice);
    setText(command, connectionCommandOf(shown, name));
    setText(yes, question.verb);
    yes.className = shown.change === "move" && !shown.isForced ? "" : "yes";
    serverField.hidden = shown.change !== "move";
  };
  const act = async () => {
    const made = wish;
    if (made === undefined || isBusy) return;
    isBusy = true;
    setText(yes, "Asked …");
    const done = await host.tell(connectionDeedOf(made)).then(
      (answer) => connectionDoneText(made, answer),
      (error: Error) => error,
    );
    isBusy = false;
    if (wish === made && element.open && done instanceof Error) return stay(made, done);
    onDone(done instanceof Error ? done.message : done);
    if (wish === made) element.close();
  };
  /** The balancer does not do it: its sentence stands in the dialog. */
  const stay = (made: ConnectionWish, error: Error) => {
    const mayForce = made.change === "move" && error instanceof Refusal && error.kind === "conflict";
    want({ isForced: made.isForced || mayForce });
    setText(says, error.message);
  };
  return {
    element,
    ask(change, connection, { servers, status }) {
      name = status.name;
      setOptions(server, targetsOf(servers, connection.server));
      server.value = "";
      wish = { change, connection, server: "", isForced: false };
      setText(says, "");
      show(wish);
      element.showModal();
      no.focus();
    },
  };
}
