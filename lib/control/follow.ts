/** Follows the events of a daemon: goes on where it was when the connection is lost, also after a restart of the daemon. */

import { delay } from "@std/async";
import { messageOf, OperatorError } from "../values/errors.ts";
import type { Answers } from "./api.ts";
import type { ControlClient } from "./client.ts";
import type { ServerSentEvent } from "./event_source.ts";
import { misfitOf } from "./shapes.ts";

/** An event as the daemon tells it. */
export type ToldEvent = Answers["events"]["events"][number];

/** Who follows. */
interface Follower {
  readonly client: ControlClient;
  /** Which events: `since`, `kind`, `server`. */
  readonly query: Readonly<Record<string, string | undefined>>;
  readonly onEvent: (event: ToldEvent) => void;
  /** Says that the daemon was lost, is back, or that events lack. */
  readonly say: (sentence: string) => void;
  /** Between two attempts to reach the daemon. */
  readonly retryMs?: number;
}

const RETRY_MS = 500;

/** Follows until it is given up by an error: the daemon was not there at the beginning, or refuses. */
export async function followEvents({ client, query, onEvent, say, retryMs = RETRY_MS }: Follower): Promise<never> {
  const name = JSON.stringify(client.name);
  let lastId = "";
  let isLost = false;
  let isNewStart = false; // then it is clear that events lack
  for (;;) {
    try {
      for await (const message of client.follow(query, lastId)) {
        if (isLost) {
          isNewStart = startOf(message.id) !== startOf(lastId);
          say(`Balancer ${name} ${isNewStart ? "was started again" : "answers again"}`);
        }
        isLost = false;
        lastId = message.id;
        if (message.event === "gap" && !isNewStart) say("There were more events in between, which are not kept any more");
        if (message.event === "event") onEvent(parseEvent(message, name));
      }
    } catch (error) {
      if (lastId === "" || (error instanceof OperatorError && FINAL.includes(error.kind))) throw error;
      if (!isLost) say(`${messageOf(error)}; waiting for it to come back`);
      isLost = true;
    }
    if (!isLost) say(`Balancer ${name} has ended the stream of events; waiting for it to come back`);
    isLost = true;
    await delay(retryMs);
  }
}

/** Failures that no waiting helps against. */
const FINAL: readonly OperatorError["kind"][] = ["usage", "unknown", "notAllowed"];

function startOf(id: string): string {
  return id.slice(0, id.lastIndexOf("-"));
}

function parseEvent({ data }: ServerSentEvent, name: string): ToldEvent {
  const event = JSON.parse(data);
  const misfit = misfitOf("events", { startId: "", first: 0, last: 0, events: [event] });
  if (misfit === undefined) return event;
  throw new OperatorError("usage", `Cannot read the events of balancer ${name}: ${misfit}; install the same version of both`);
}
