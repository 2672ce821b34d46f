/** Changes that the page makes where it may: the request for each, and how it is asked and told of. Pure. */

import { plural } from "./format.ts";
import { type Change, type Question, splitServer } from "./what_if.ts";

/** A request that changes something. */
export interface Deed {
  readonly method: "POST" | "PATCH" | "DELETE";
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly body: Readonly<Record<string, unknown>> | undefined;
}

interface DeedRow {
  /** On the button that asks. */
  readonly verb: string;
  readonly request: (question: Question) => Pick<Deed, "method" | "body">;
  /** What has come of it, in a sentence; `answer` is the API's. */
  readonly done: (server: string, answer: Answer) => string;
}

/** What the sentences read of an answer. */
interface Answer {
  readonly open?: number;
  readonly moved?: number;
  readonly ended?: number;
}

/** A row for each change. */
const DEEDS: Readonly<Record<Change, DeedRow>> = {
  drain: {
    verb: "Drain",
    request: () => ({ method: "PATCH", body: { draining: true } }),
    done: (server, { open = 0 }) => `${server} gets no more clients; it has ${plural(open, "open connection")}`,
  },
  undrain: {
    verb: "Put back",
    request: () => ({ method: "PATCH", body: { draining: false } }),
    done: (server) => `${server} is no longer drained by hand`,
  },
  remove: {
    verb: "Remove",
    request: () => ({ method: "DELETE", body: undefined }),
    done: (server, { open = 0, moved = 0, ended = 0 }) =>
      `${server} is removed: of ${plural(open, "open connection")} ${moved} moved, ${ended} ${ended === 1 ? "was" : "were"} reset`,
  },
  weight: {
    verb: "Change the weight of",
    request: ({ weight }) => ({ method: "PATCH", body: { weight: Number(weight) } }),
    done: (server) => `${server} has another weight`,
  },
  add: {
    verb: "Add",
    request: ({ server, weight }) => {
      const [address, port] = splitServer(server) ?? ["", ""];
      return { method: "POST", body: { address, port: Number(port), weight: Number(weight) } };
    },
    done: (server) => `${server} is in the pool`,
  },
};

/** The request that makes the change. */
export function deedOf(question: Question, service: string): Deed {
  const { method, body } = DEEDS[question.change].request(question);
  const path = method === "POST" ? "/v1/servers" : `/v1/servers/${encodeURIComponent(question.server.trim())}`;
  return { method, path, query: { service }, body };
}

/** What the button says: "Drain 10.0.0.1:80". */
export function wordsOf({ change, server, weight }: Question): string {
  return `${DEEDS[change].verb} ${server.trim()}${change === "weight" ? ` to ${weight}` : ""}`;
}

/** What has come of it. */
export function doneText({ change, server }: Question, answer: Answer): string {
  return `${DEEDS[change].done(server.trim(), answer)}.`;
}
