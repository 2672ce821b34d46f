/** What differs between two looks at the daemon. Pure. */

import type { Answers } from "../control/api.ts";
import type { LiveMessages, ServerChanges, ServiceServers } from "./live_messages.ts";

/** What the daemon said at one time. */
export interface Look {
  readonly status: Answers["status"];
  readonly servers: readonly ServiceServers[];
}

/** A look with the text of each of its parts, by which parts are compared. */
export interface Picture extends Look {
  readonly statusText: string;
  /** By service. */
  readonly texts: ReadonlyMap<string, ServiceTexts>;
}

interface ServiceTexts {
  readonly ring: string;
  /** By server. */
  readonly servers: ReadonlyMap<string, string>;
}

/** Prepares a look for comparison. */
export function pictureOf(look: Look): Picture {
  const texts = look.servers.map(({ service, servers, ring }) => {
    const ofServers = new Map(servers.map((server) => [server.server, JSON.stringify(server)]));
    return [service, { ring: JSON.stringify(ring), servers: ofServers }] as const;
  });
  return { ...look, statusText: JSON.stringify(look.status), texts: new Map(texts) };
}

/** What is to be said to somebody who knows the picture before. */
export function changesBetween(before: Picture, after: Picture): Pick<LiveMessages["second"], "status" | "servers" | "gone"> {
  return {
    ...(before.statusText === after.statusText ? {} : { status: after.status }),
    servers: after.servers.flatMap((list) => changesOf(list, before.texts.get(list.service), after.texts.get(list.service)!)),
    gone: before.servers.map(({ service }) => service).filter((service) => !after.texts.has(service)),
  };
}

function changesOf(
  { service, servers, ring }: ServiceServers,
  before: ServiceTexts | undefined,
  after: ServiceTexts,
): ServerChanges[] {
  const changed = servers.filter(({ server }) => before?.servers.get(server) !== after.servers.get(server));
  const gone = [...before?.servers.keys() ?? []].filter((server) => !after.servers.has(server));
  const isSameRing = before?.ring === after.ring;
  if (changed.length === 0 && gone.length === 0 && isSameRing) return [];
  return [{ service, servers: changed, gone, ...(isSameRing ? {} : { ring }) }];
}
