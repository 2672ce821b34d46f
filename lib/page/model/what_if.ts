/** What would happen if: the question for the API, the command that would do it, and the plan in words. Pure. */

import type { Plan, Server } from "./contract.ts";
import { formatCount, formatPercent, plural } from "./format.ts";

/**
 * The changes that can be asked for. `plans` is what the API is asked: a drain moves the clients that a removal would. To put a
 * server back moves no open connection, so there is no plan of it.
 */
export const CHANGES = {
  drain: { word: "drain", plans: "remove", hasWeight: false, isNew: false },
  undrain: { word: "put back", plans: null, hasWeight: false, isNew: false },
  remove: { word: "remove", plans: "remove", hasWeight: false, isNew: false },
  weight: { word: "change the weight of", plans: "weight", hasWeight: true, isNew: false },
  add: { word: "add", plans: "add", hasWeight: true, isNew: true },
} as const;
/** The name of a change. */
export type Change = keyof typeof CHANGES;

/** What is asked. */
export interface Question {
  readonly change: Change;
  readonly server: string;
  /** Digits; read only where the change has a weight. */
  readonly weight: string;
}

/** Where the command would be typed. */
export interface Place {
  readonly name: string;
  readonly service: string;
  readonly hasSeveralServices: boolean;
}

/** Why this cannot be asked yet, as a sentence; undefined if it can. */
export function faultOf({ change, server, weight }: Question): string | undefined {
  if (server.trim() === "") {
    return CHANGES[change].isNew ? "Type the address of the server, such as 10.0.0.9:80" : "Choose a server";
  }
  if (splitServer(server) === undefined) return `${server} is not an address with a port, such as 10.0.0.9:80`;
  if (CHANGES[change].hasWeight && !/^[1-9][0-9]{0,3}$/.test(weight)) return "A weight is a whole number from 1";
  return undefined;
}

/** The query of `/v1/plan` and `/v1/ring`; undefined where there is no plan. */
export function queryOf({ change, server, weight }: Question, service: string): Record<string, string> | undefined {
  const { plans, hasWeight } = CHANGES[change];
  if (plans === null) return undefined;
  return { service, change: plans, server: server.trim(), ...(hasWeight ? { weight } : {}) };
}

/** The command to type. */
export function commandOf({ change, server, weight }: Question, { name, service, hasSeveralServices }: Place): string {
  const [host, port] = splitServer(server) ?? [server, ""];
  const words = ["balancerctl", change === "weight" ? "set" : change, host, port];
  if (CHANGES[change].hasWeight && !(change === "add" && weight === "1")) words.push("--weight", weight);
  if (hasSeveralServices) words.push("--service", service);
  if (name !== "default") words.push("--name", name);
  return words.filter((word) => word !== "").join(" ");
}

/** `10.0.0.1:80` as host and port; an IPv6 address without its brackets. */
export function splitServer(server: string): [host: string, port: string] | undefined {
  const [, bracketed, plain, port] = server.trim().match(/^(?:\[([0-9a-fA-F:.%]+)\]|([^:\s[\]]+)):([0-9]{1,5})$/) ?? [];
  return port === undefined ? undefined : [bracketed ?? plain, port];
}

/** A figure of a plan: what it is of, and how it reads. */
export interface Figure {
  readonly label: string;
  readonly value: string;
}

/** The figures of a server that is put back. */
export function putBackFigures({ share, open }: Pick<Server, "share" | "open">): Figure[] {
  return [
    { label: "clients that get it again, from their next connection on", value: formatPercent(share) },
    { label: "open connections that stay there", value: formatCount(open) },
  ];
}

/** The plan's figures, in the API's numbers. */
export function figuresOf(plan: Plan): Figure[] {
  const { movedShare, share, peakToMean, servers } = plan;
  return [
    {
      label: "clients that get another server",
      value: movedShare === null ? "not foreseeable with this policy" : formatPercent(movedShare),
    },
    ...(share === null ? [] : [{ label: "its share", value: arrow(formatPercent(share.before), formatPercent(share.after)) }]),
    { label: "greatest load ÷ mean", value: arrow(ratio(peakToMean.before), ratio(peakToMean.after)) },
    { label: "servers", value: arrow(String(servers.before), String(servers.after)) },
  ];
}

/** What becomes of open connections: a row for each state and outcome. */
export function connectionFigures({ connections }: Plan, change: Change): Figure[] {
  return connections.map(({ state, count, outcome }) => ({
    label: `${plural(count, `${state} connection`)}`,
    value: change === "drain" ? outcome.replace(/, and is reset when the drain time ends$/, "") : outcome,
  }));
}

/** Who gets the clients, or gives them: the greatest flows. */
export function takersOf({ flows }: Plan, max: number): { readonly text: string; readonly share: number }[] {
  const isOneGiver = flows.every(({ from }) => from === flows[0].from);
  const isOneTaker = flows.every(({ to }) => to === flows[0].to);
  return flows.slice(0, max).map(({ from, to, share }) => {
    const [giver, taker] = [from ?? "nobody", to ?? "nobody"];
    return { text: isOneGiver ? `to ${taker}` : isOneTaker ? `from ${giver}` : `${giver} → ${taker}`, share };
  });
}

function arrow(before: string, after: string): string {
  return before === after ? before : `${before} → ${after}`;
}

function ratio(number: number): string {
  return number.toFixed(2);
}
