/** Open connections as they are now: the first hundred that fit the filter. */

import { CONNECTION_SORTS, CONNECTION_STATES, type ConnectionFilter, connectionsQuery } from "../model/connections_query.ts";
import type { OpenConnection } from "../model/contract.ts";
import type { View } from "../model/desk.ts";
import { formatBytes, formatCount, formatSpan, plural } from "../model/format.ts";
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
const HEADS = ["Client", "Server", "State", "Age", "Idle", "To server", "From server", "Moves", "Id"];

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
  const body = make("tbody");
  const says = make("p", { class: "answer", role: "status" });
  const table = make(
    "table",
    { class: "connections" },
    make("thead", {}, make("tr", {}, ...HEADS.map((text) => make("th", { scope: "col", text })))),
    body,
  );
  const scroller = make("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": "Table of connections" }, table);
  const fields = make(
    "form",
    { class: "fields", on: { submit: (event) => event.preventDefault() } },
    field("server", server),
    field("client", client),
    field("state", state),
    field("order", sort),
  );
  const { section, aside } = panel("connections", "Connections", "as they are now", fields, says, scroller);
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
    const rows = connections.map(cellsOf);
    while (body.rows.length > rows.length) body.deleteRow(-1);
    for (const [i, cells] of rows.entries()) {
      const row = body.rows[i] ?? body.insertRow();
      for (const [j, text] of cells.entries()) setText(row.cells[j] ?? row.insertCell(), text);
    }
  };
  return {
    element: section,
    draw: ({ servers }: View) => setOptions(server, [["", "any"], ...servers.map(({ server }) => [server, server] as const)]),
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
