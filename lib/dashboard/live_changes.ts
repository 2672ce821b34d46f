/** What differs between two looks at the daemon. Pure. */

import type { Answers } from "../control/api.ts";
import type { LiveMessages, ServerChange, ServerChanges, ServiceServers } from "./live_messages.ts";

/** What the daemon said at one time. */
export interface Look {
  readonly status: Answers["status"];
  readonly servers: readonly ServiceServers[];
}

/** A look, prepared for comparison. */
export interface Picture extends Look {
  readonly statusText: string;
  /** By service. */
  readonly texts: ReadonlyMap<string, ServiceTexts>;
}

interface ServiceTexts {
  readonly ring: string;
  readonly servers: ReadonlyMap<string, Answers["server"]>;
}

/** Prepares a look for comparison. */
export function pictureOf(look: Look): Picture {
  const texts = look.servers.map(({ service, servers, ring }) => {
    const ofServers = new Map(servers.map((server) => [server.server, server]));
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
  const changed = servers.flatMap((server) => changeOf(before?.servers.get(server.server), server) ?? []);
  const gone = [...before?.servers.keys() ?? []].filter((server) => !after.servers.has(server));
  const isSameRing = before?.ring === after.ring;
  if (changed.length === 0 && gone.length === 0 && isSameRing) return [];
  return [{ service, servers: changed, gone, ...(isSameRing ? {} : { ring }) }];
}

/** What differs in a server: all of one that is new; undefined where nothing does. */
function changeOf(before: Answers["server"] | undefined, after: Answers["server"]): ServerChange | undefined {
  if (before === undefined) return after;
  const { server, fates, ...rest } = after;
  const changed = differing(before, rest);
  const changedFates = differing(before.fates, fates);
  if (changed === undefined && changedFates === undefined) return undefined;
  return { server, ...changed, ...(changedFates === undefined ? {} : { fates: changedFates }) };
}

/** The fields of `after` whose values are other ones. */
function differing<Fields extends object>(before: Fields, after: Fields): Partial<Fields> | undefined {
  let changed: { [Name in keyof Fields]?: Fields[Name] } | undefined;
  for (const name in after) {
    const [old, now] = [before[name], after[name]];
    const isSame = old === now || typeof now === "object" && now !== null && JSON.stringify(old) === JSON.stringify(now);
    if (isSame) continue;
    changed = changed ?? {};
    changed[name] = now;
  }
  return changed;
}
