/** One word of a fixed list, such as a log level or a fate. */

import { didYouMean } from "./did_you_mean.ts";
import { OperatorError } from "./errors.ts";

/** A list that an error can name whole. */
const SHORT_LIST_MAX = 3;

/** What the words of a list are. */
export interface Choice<T extends string> {
  /** What they are called in an error, such as `log level`. */
  readonly what: string;
  readonly choices: readonly T[];
  /** The command whose help lists them. */
  readonly help: string;
}

/** The word, if it is in the list. Throws a `usage` error with the nearest ones, or else says where the list is. */
export function parseChoice<T extends string>(text: string, { what, choices, help }: Choice<T>): T {
  const choice = choices.find((choice) => choice === text);
  if (choice !== undefined) return choice;
  const wayOut = didYouMean(text, choices) ?? (choices.length > SHORT_LIST_MAX ? `see ${help} --help` : `use ${listOr(choices)}`);
  throw new OperatorError("usage", `Unknown ${what} ${JSON.stringify(text)}: ${wayOut}`);
}

/** `a, b or c`. */
export function listOr(words: readonly string[]): string {
  return [words.slice(0, -1).join(", "), ...words.slice(-1)].filter((part) => part !== "").join(" or ");
}
