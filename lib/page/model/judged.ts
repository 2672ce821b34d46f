/** What the verdict is made of, now or at a moment in the past, from what the page knows. Pure. */

import { judge, type JudgedSeries, type JudgedServer, type Verdict } from "../../observe/verdict.ts";
import type { Server, Service, Status } from "./contract.ts";
import { formatMinute } from "./format.ts";
import type { History } from "./history.ts";
import type { PoolRow } from "./pool_rows.ts";

/** What the verdict is asked of. */
export interface JudgeRequest {
  readonly status: Status;
  /** Services and their servers as they are now. */
  readonly services: readonly { readonly service: Service; readonly servers: readonly Server[]; readonly history: History }[];
}

/** The verdict on all services as they are now. */
export function judgeNow({ status, services }: JudgeRequest): Verdict {
  const servers = services.flatMap(({ service: { service }, servers }) => servers.map((server) => ({ ...server, service })));
  const histories = services.map(({ history }) => history).filter(({ newest }) => newest > 0);
  return judge(
    { status: { ...status, services: services.map(({ service }) => service) }, servers, series: seriesOf(histories) },
    clock,
  );
}

/** The verdict on a service at a second in the past, from the rows of that second. */
export function judgeThen(status: Status, service: Service, history: History, rows: readonly PoolRow[], at: number): Verdict {
  const counts: Record<string, number> = {};
  for (const { state } of rows) counts[state] = (counts[state] ?? 0) + 1;
  const open = Math.round(history.openAt(at)) || 0;
  const servers = rows.map(({ server, state, since, open }): JudgedServer => ({
    service: service.service,
    server,
    state,
    since: new Date(1000 * (Number.isNaN(since) ? history.oldest : since)).toISOString(),
    reason: null,
    open: Math.round(open) || 0,
  }));
  const then = { ...service, servers: counts };
  const facts = { stopping: false, services: [then], connections: { open, max: status.connections.max } };
  return judge({ status: facts, servers, series: seriesOf([history], at) }, clock);
}

/** The series of several services up to a second, in seconds. */
function seriesOf(
  histories: readonly History[],
  until = Math.max(0, ...histories.map(({ newest }) => newest)),
): JudgedSeries | null {
  if (until === 0) return null;
  const from = Math.min(...histories.map(({ oldest }) => oldest));
  const steps = until - from + 1;
  const services = histories.map((history) => {
    const list = (fate: string) => Array.from({ length: steps }, (_, i) => Math.round(history.ended(fate, from + i, 1)));
    return { service: history.service, fates: Object.fromEntries(history.fates.map((fate) => [fate, list(fate)])) };
  });
  const flows = histories.flatMap(({ service, flows }) =>
    flows.filter(({ at }) => at <= until).map((flow) => ({ ...flow, service, at: flow.at - from }))
  );
  const isKnown = ({ at }: { readonly at: number }) => at <= until;
  const pastOf = (service: string, server: string) => {
    const history = histories.find((history) => history.service === service);
    return history === undefined
      ? null
      : { states: history.statesOf(server).filter(isKnown), cut: history.cutsOf(server).filter(isKnown) };
  };
  return { from, step: 1, steps, services, flows, pastOf };
}

function clock(ms: number): string {
  return formatMinute(ms / 1000);
}
