/**
 * The lists of clients that the operator names: taken from the command line, or read from files, again on request. A file that
 * cannot be used changes nothing: the list that was read before stays in force.
 */

import { delay } from "@std/async";
import type { ClientLists } from "../routing/client_limits.ts";
import { type CidrList, CidrListBuilder } from "../values/cidr_list.ts";
import type { ListSource } from "../values/client_limits.ts";
import { type Config, LIMITS } from "../values/config.ts";
import { messageOf, OperatorError } from "../values/errors.ts";
import { readPlain } from "../values/plain_file.ts";
import { formatSize } from "../values/size.ts";

/** Lines that are read before other work of the thread gets a turn: some milliseconds. */
const LINES_PER_TURN = 10_000;

/** The most characters of a line in a sentence. */
const SHOWN_MAX = 60;

type ListName = keyof ClientLists;
const NAMES: readonly ListName[] = ["allow", "deny"];

/** What became of reading a file again. */
export interface Reloaded {
  readonly path: string;
  /** Prefixes of the list that is in force now. */
  readonly entries: number;
  /** Why the file could not be used, as a sentence; undefined: it is in force now. */
  readonly fault: string | undefined;
}

/** The lists of a balancer. */
export class ListFiles {
  readonly #sources: Pick<Config, ListName>;
  #lists: ClientLists;

  private constructor(sources: Pick<Config, ListName>, lists: ClientLists) {
    this.#sources = sources;
    this.#lists = lists;
  }

  /** Reads the lists that the operator has named. Throws a `usage` error if one cannot be used. */
  static async load({ allow, deny }: Pick<Config, ListName>): Promise<ListFiles> {
    return new ListFiles({ allow, deny }, { allow: await readSource(allow, "allow"), deny: await readSource(deny, "deny") });
  }

  /** The lists in force; undefined: the operator has named none. */
  get lists(): ClientLists | undefined {
    return NAMES.some((name) => this.#sources[name] !== null) ? this.#lists : undefined;
  }

  /** Reads the files again. Returns what became of each; none if there are no files. */
  async reload(): Promise<Reloaded[]> {
    const results: Reloaded[] = [];
    for (const name of NAMES) {
      const source = this.#sources[name];
      if (source?.kind !== "file") continue;
      const fault = await this.#replace(name, source);
      results.push({ path: source.path, entries: this.#lists[name]!.entries, fault });
    }
    return results;
  }

  /** Returns why the list stays the old one, if it does. */
  async #replace(name: ListName, source: ListSource): Promise<string | undefined> {
    try {
      const list = await readSource(source, name);
      this.#lists = { ...this.#lists, [name]: list };
    } catch (error) {
      return messageOf(error);
    }
  }
}

async function readSource(source: ListSource | null, name: ListName): Promise<CidrList | undefined> {
  if (source === null) return undefined;
  if (source.kind === "given") return source.list;
  const list = await readFile(source.path);
  if (name === "allow" && list.entries === 0) throw cannotUse(source.path, "it has no prefix, and would refuse every client");
  return list;
}

async function readFile(path: string): Promise<CidrList> {
  const cannot = `Cannot use list ${JSON.stringify(path)}`;
  const bytes = await readPlain(path, LIMITS.listFileBytesMax, cannot).catch((error) => {
    throw error instanceof OperatorError ? new OperatorError("usage", error.message) : cannotUse(path, messageOf(error));
  });
  if (bytes === null) throw cannotUse(path, `it is larger than the limit of ${formatSize(LIMITS.listFileBytesMax)}`);
  return await parseLines(path, new TextDecoder().decode(bytes));
}

/** One prefix per line; empty lines, and what follows a `#`, count for nothing. */
async function parseLines(path: string, text: string): Promise<CidrList> {
  const builder = new CidrListBuilder(LIMITS.listPrefixesMax);
  for (let number = 1, start = 0; start < text.length; number++) {
    if (number % LINES_PER_TURN === 0) await delay(0);
    const newline = text.indexOf("\n", start);
    const end = newline < 0 ? text.length : newline;
    const prefix = text.slice(start, end).replace(/#.*/s, "").trim();
    start = end + 1;
    if (prefix !== "") addLine(builder, prefix, (why) => cannotUse(path, `line ${number}: ${why}`));
  }
  return builder.build();
}

function addLine(builder: CidrListBuilder, prefix: string, fault: (why: string) => OperatorError): void {
  try {
    builder.add(prefix.length > SHOWN_MAX ? `${prefix.slice(0, SHOWN_MAX)}…` : prefix);
  } catch (error) {
    throw error instanceof OperatorError ? fault(error.message) : error;
  }
}

function cannotUse(path: string, why: string): OperatorError {
  return new OperatorError("usage", `Cannot use list ${JSON.stringify(path)}: ${why}`);
}
