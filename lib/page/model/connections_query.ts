/** Which connections are listed: the filter as people set it, and its query. Pure. */

/** The filter. Empty texts filter nothing. */
export interface ConnectionFilter {
  readonly server: string;
  readonly client: string;
  readonly state: string;
  readonly sort: string;
}

/** The states that can be chosen, and the orders. */
export const CONNECTION_STATES: readonly string[] = ["dialling", "unsent", "unanswered", "idle", "busy"];
/** How connections can be sorted. */
export const CONNECTION_SORTS: readonly { readonly sort: string; readonly word: string }[] = [
  { sort: "age", word: "oldest first" },
  { sort: "bytes", word: "most bytes first" },
  { sort: "idle", word: "longest idle first" },
];
const LIMIT = 100;

/** The query of `/v1/connections`. */
export function connectionsQuery({ server, client, state, sort }: ConnectionFilter, service: string): Record<string, string> {
  const filled = Object.entries({ server, client: client.trim(), state }).filter(([, text]) => text !== "");
  return { service, ...Object.fromEntries(filled), sort, limit: String(LIMIT) };
}
