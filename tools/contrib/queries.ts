/** The pieces of PromQL that dashboard and alerts share. A metric that does not exist is an error when they are written. */

import { FAMILIES } from "../../lib/observe/metrics.ts";
import { FATE_NAMES, FATES } from "../../lib/values/fates.ts";

/** Fates of connections that were lost though neither a client nor an operator ended them, besides those logged as a warning. */
const LOST: readonly string[] = ["server_lost", "redistribute_refused"];

/** Fates that mean that a client did not get what it came for. */
export const BAD_FATES = FATE_NAMES.filter((fate) => ["warning", "error"].includes(FATES[fate].level) || LOST.includes(fate));

/** A metric with these matchers of labels, as a selector. Throws if there is no such metric. */
export function select(metric: string, matchers = "", suffix: "" | "_bucket" | "_count" | "_sum" = ""): string {
  const family = FAMILIES.find(({ name }) => name === metric);
  if (family === undefined) throw new Error(`There is no metric ${metric}`);
  if ((suffix !== "") !== (family.type === "histogram")) throw new Error(`${metric} is a ${family.type}: no ${suffix || "suffix"}`);
  return `${metric}${suffix}${matchers === "" ? "" : `{${matchers}}`}`;
}

/** Matches the bad fates. */
export const IS_BAD: string = `fate=~"${BAD_FATES.join("|")}"`;
