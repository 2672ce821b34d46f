/** Open connections as they are now: the first hundred that fit the filter. Where the page may, they are closed and moved here. */

import { CONNECTION_SORTS, CONNECTION_STATES, type ConnectionFilter, connectionsQuery } from "../model/connections_query.ts";
import type { OpenConnection } from "../model/contract.ts";
import type { View } from "../model/desk.ts";
import { formatCount, plural } from "../model/format.ts";
import { connectionDialog } from "./connection_dialog.ts";
import { connectionTable } from "./connection_table.ts";
import { field, make, panel, setOptions, setText } from "./dom.ts";
import type { Host, Panel } from "./panel.ts";

/** `GET /v1/connections`. */
interface Answer {
  readonly total: number;
  readonly connections: readonly OpenConnection[];
}

/** How often the list is read while it is in sight. */
const EVERY_MS = 2000;
const PAUSE_MS = 250;

/** Makes it. */
export function connectionsPanel(host: Host): Panel {
  let timer = 0;
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(read, PAUSE_MS);
  };
  const on = { change: soon, input: soon };
  const server = make("select", { on });
  const client = make("input", { type: "search", placeholder: "192.0.2.0/24", autocomplete: "off", on });
  const state = make("select", { on });
  setOptions(state, [["", "any"], ...CONNECTION_STATES.map((name) => [name, name] as const)]);
  const sort = make("select", { on });
  setOptions(sort, CONNECTION_SORTS.map(({ sort, word }) => [sort, word]));
  const count = make("span", { class: "count" });
  const says = make("p", { class: "answer", role: "status" });
  const done = make("p", { class: "answer", role: "status" });
  let view: View | undefined;
  const dialog = connectionDialog(host, (text) => {
    setText(done, text);
    void read();
  });
  const table = connectionTable((change, connection) => {
    setText(done, "");
    dialog.ask(change, connection, view!);
  });
  const fields = make(
    "form",
    { class: "fields", on: { submit: (event) => event.preventDefault() } },
    field("server", server),
    field("client", client),
    field("state", state),
    field("order", sort),
  );
  const { section, aside } = panel("connections", "Connections", "as they are now", fields, says, done, table.element);
  aside.append(count);
  let isInSight = false;
  new IntersectionObserver((entries) => {
    isInSight = entries.at(-1)!.isIntersecting; // a busy browser tells of several changes at once, in the order of time
    if (isInSight) void read();
  }).observe(section);
  let asked = 0;
  const read = async () => {
    clearTimeout(timer);
    timer = setTimeout(read, EVERY_MS);
    const service = host.desk.service;
    if (!isInSight || service === undefined || document.hidden) return;
    const number = ++asked;
    const filter: ConnectionFilter = { server: server.value, client: client.value, state: state.value, sort: sort.value };
    try {
      const answer = await host.ask<Answer>("/v1/connections", connectionsQuery(filter, service));
      if (number === asked) show(answer);
    } catch (error) {
      if (number === asked) setText(says, (error as Error).message);
    }
  };
  const show = ({ total, connections }: Answer) => {
    setText(
      count,
      total > connections.length
        ? `${formatCount(connections.length)} of ${plural(total, "connection")}`
        : plural(total, "connection"),
    );
    setText(says, connections.length === 0 ? "No connection fits." : "");
    table.show(connections);
  };
  /** Shows what would act only where it may. */
  const allow = (writes: boolean) => {
    table.allow(writes);
    if (writes === section.contains(dialog.element)) return;
    if (writes) section.append(dialog.element);
    else dialog.element.remove();
  };
  return {
    element: section,
    draw(drawn: View) {
      view = drawn;
      allow(view.writes);
      setOptions(server, [["", "any"], ...view.servers.map(({ server }) => [server, server] as const)]);
    },
  };
}
