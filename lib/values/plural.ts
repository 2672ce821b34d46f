/** A count and its noun. Apart from `count.ts`, so that the page has it without the parsers. */

/** `1 server`, `2 servers`. */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
