/**
 * The table of open connections: a row for each. Where the page may change something, a row has a button that closes its connection
 * and one that moves it; elsewhere there is nothing of that in the document.
 */

import type { ConnectionChange } from "../model/connection_deeds.ts";
import type { OpenConnection } from "../model/contract.ts";
import { formatBytes, formatSpan } from "../model/format.ts";
import { make, setAttribute, setText } from "./dom.ts";

/** The table. */
export interface ConnectionTable {
  readonly element: HTMLElement;
  show(connections: readonly OpenConnection[]): void;
  /** Whether rows have buttons. */
  allow(writes: boolean): void;
}

const HEADS = ["Client", "Server", "State", "Age", "Idle", "To server", "From server", "Moves", "Id"];
const CHANGES: readonly (readonly [change: ConnectionChange, word: string])[] = [["move", "Move …"], ["close", "Close …"]];

/** Makes it. `onChange` is called with what a person wants of which connection. */
export function connectionTable(onChange: (change: ConnectionChange, connection: OpenConnection) => void): ConnectionTable {
  let shown: readonly OpenConnection[] = [];
  let isAllowed = false;
  const click = ({ target }: MouseEvent) => {
    const button = (target as Element).closest<HTMLElement>("[data-change]");
    const connection = shown[button?.closest("tr")?.sectionRowIndex ?? -1];
    if (button !== null && connection !== undefined) onChange(button.dataset.change as ConnectionChange, connection);
  };
  const heads = make("tr", {}, ...HEADS.map((text) => make("th", { scope: "col", text })));
  const actsHead = make("th", { scope: "col", class: "acts", text: "Change" });
  const body = make("tbody", { on: { click } });
  const table = make("table", { class: "connections" }, make("thead", {}, heads), body);
  return {
    element: make("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": "Table of connections" }, table),
    show(connections) {
      shown = connections;
      while (body.rows.length > connections.length) body.deleteRow(-1);
      for (const [i, connection] of connections.entries()) {
        const row = body.rows[i] ?? body.insertRow();
        for (const [j, text] of cellsOf(connection).entries()) setText(row.cells[j] ?? row.insertCell(), text);
        if (isAllowed) nameButtons(row.cells[HEADS.length] ?? row.appendChild(actsCell()), connection);
      }
    },
    allow(writes) {
      if (writes === isAllowed) return;
      isAllowed = writes;
      body.replaceChildren();
      if (writes) heads.append(actsHead);
      else actsHead.remove();
      this.show(shown);
    },
  };
}

function cellsOf({ client, server, state, ageMs, idleMs, sentBytes, receivedBytes, moves, id }: OpenConnection): string[] {
  return [
    client,
    server ?? "none yet",
    state,
    formatSpan(ageMs / 1000),
    formatSpan(idleMs / 1000),
    formatBytes(sentBytes),
    formatBytes(receivedBytes),
    String(moves),
    id,
  ];
}

function actsCell(): HTMLTableCellElement {
  const buttons = CHANGES.map(([change, text]) => make("button", { type: "button", "data-change": change, text }));
  return make("td", { class: "acts" }, ...buttons);
}

/** A row stands for another connection after a while: its buttons say which one. */
function nameButtons(cell: HTMLElement, { client }: OpenConnection): void {
  for (const button of cell.children) setAttribute(button, "aria-label", `${button.textContent} connection of ${client}`);
}
