/**
 * What the page is told by the bridge that serves it: answers of the API as they are, and the messages of `/live`. Types only, so
 * that nothing of the API's server gets into the page.
 */

import type { Answers } from "../../control/api.ts";
import type { LiveMessages, ServerChange } from "../../dashboard/live_messages.ts";
import type { ConnectionState } from "../../routing/redistribution.ts";
import type { ServerState } from "../../routing/availability.ts";

/** `GET /v1/status`. */
export type Status = Answers["status"];
/** A service of `GET /v1/services`. */
export type Service = Answers["service"];
/** A server of `GET /v1/servers`. */
export type Server = Answers["server"];
/** `GET /v1/plan`. */
export type Plan = Answers["plan"];
/** `GET /v1/explain`. */
export type Explanation = Answers["explanation"];
/** The messages of `/live`, what they say of a server that has changed, and the states of servers. */
export type { LiveMessages, ServerChange, ServerState };

/** The states in which connections move. */
export type MovedState = Exclude<ConnectionState, "busy">;

/** `GET /v1/series`. */
export type Series = Answers["series"];
/** The columns of a server in it. */
export type ServerSeries = Series["servers"][number];
/** Connections that moved in one of its steps. */
export type SeriesFlow = Series["flows"][number];
/** A number for each step; null where the server did not exist, or nothing was measured. */
export type Column = readonly (number | null)[];
/** An event of `GET /v1/events`. */
export type BalancerEvent = Answers["events"]["events"][number];

/** A connection of `GET /v1/connections`. */
export type OpenConnection = Answers["connections"]["connections"][number];
/** What `POST /v1/connections/{id}/close` answers. */
export type ClosedConnection = Answers["closedConnection"];
/** What `POST /v1/connections/{id}/move` answers. */
export type MovedConnection = Answers["movedConnection"];
