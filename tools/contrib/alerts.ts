/** The alerts, and `contrib/prometheus/alerts.yaml` made from them. The docs list them from the same rows. */

import { IS_BAD, select } from "./queries.ts";

/** An alert. */
interface Alert {
  /** What is compared, in PromQL. */
  readonly expr: string;
  /** For how long it must be so. */
  readonly for: string;
  readonly severity: "warning" | "critical";
  /** One line, with Prometheus's templates. */
  readonly summary: string;
  /** When it fires, for the documentation: a clause. */
  readonly when: string;
  /** What it means and what to do: sentences. */
  readonly description: string;
}

const accepted = select("balancer_accepted_connections_total");
const failedChecks = select("balancer_server_checks_total", 'outcome=~"no_answer|wrong_answer"');
const isDown = `${select("balancer_server_state", 'state="down"')} == 1`;

/** Every alert, by its name. */
export const ALERTS: Readonly<Record<string, Alert>> = {
  BalancerUnreachable: {
    expr: 'up{job="balancer"} == 0',
    for: "1m",
    severity: "critical",
    summary: "Balancer {{ $labels.instance }} does not answer",
    when: "Prometheus cannot read the metrics of a balancer of the job `balancer`",
    description:
      "Prometheus has not been able to read the metrics of {{ $labels.instance }} for a minute. It has stopped, hangs, or " +
      "cannot be reached. Look at its service and at /live.",
  },
  BalancerServerDown: {
    expr: isDown,
    for: "2m",
    severity: "warning",
    summary: "Server {{ $labels.server }} is down",
    when: "a server fails its health checks",
    description: "{{ $labels.server }} fails its health checks and gets no new clients from {{ $labels.instance }}. " +
      "balancerctl list says why.",
  },
  BalancerPoolSmall: {
    expr: `sum without (state) (${select("balancer_servers", 'state="up"')}) / ` +
      `sum without (state) (${select("balancer_servers", 'state=~"up|resting|down"')}) < 0.5`,
    for: "1m",
    severity: "critical",
    summary: "Less than half of the servers of {{ $labels.instance }} are up",
    when: "less than half of the servers are up; servers that are draining or removed do not count",
    description:
      "Only {{ $value | humanizePercentage }} of the servers that should get clients are up. The others' clients share " +
      "what is left. balancerctl list says why servers are down.",
  },
  BalancerConnectionsFail: {
    expr: `sum without (fate) (rate(${select("balancer_connection_fates_total", IS_BAD)}[5m])) / ` +
      `sum without (fate) (rate(${select("balancer_connection_fates_total")}[5m])) > 0.05`,
    for: "5m",
    severity: "warning",
    summary: "{{ $value | humanizePercentage }} of the connections of {{ $labels.instance }} end badly",
    when: "more than 5 % of the connections end with a fate that is the client's loss",
    description:
      "Clients found no server, were refused, or lost their server. balancerctl recent shows the last of them with the " +
      "reason; the dashboard shows which fate it is.",
  },
  BalancerNearConnectionLimit: {
    expr: `${select("balancer_open_connections")} / ${select("balancer_open_connections_max")} > 0.8`,
    for: "5m",
    severity: "warning",
    summary: "{{ $labels.instance }} is at {{ $value | humanizePercentage }} of its limit of connections",
    when: "more than 80 % of the connections that --max-connections allows are open",
    description: "At the limit, new clients are refused. Raise --max-connections, or the limit on open files if it is auto.",
  },
  BalancerLocalPortsRunOut: {
    expr: `${select("balancer_server_local_ports_ratio")} > 0.8`,
    for: "5m",
    severity: "warning",
    summary: "{{ $labels.instance }} has used {{ $value | humanizePercentage }} of its local ports towards {{ $labels.server }}",
    when: "more than 80 % of the local ports towards a server are in use",
    description:
      "Without a free local port no connection to {{ $labels.server }} can be made. Widen net.ipv4.ip_local_port_range, " +
      "or spread the clients over more servers.",
  },
  BalancerRingsDiffer: {
    expr: `count by (job, service) (count by (job, service, fingerprint) (${select("balancer_ring_info")})) > 1`,
    for: "5m",
    severity: "warning",
    summary: "Balancers of job {{ $labels.job }} send clients of service {{ $labels.service }} to different servers",
    when: "balancers of one job have rings with different fingerprints for one service",
    description:
      "A client that comes to another balancer gets another server. Their pools differ in a server or a weight: compare " +
      "balancerctl list on each of them. Balancers that are to differ belong in different jobs.",
  },
  BalancerNoClients: {
    expr: `increase(${accepted}[5m]) == 0 and increase(${accepted}[1h] offset 5m) > 60`,
    for: "1m",
    severity: "warning",
    summary: "No client has come to {{ $labels.instance }} for 5 minutes",
    when: "no client was accepted for 5 minutes, though more than 60 were in the hour before",
    description: "Clients do not reach the balancer, or whoever sends them has stopped. Look at what is in front of it: DNS, the " +
      "virtual address, a firewall.",
  },
  BalancerChecksFail: {
    expr: `sum without (outcome) (rate(${failedChecks}[10m])) / ` +
      `sum without (outcome) (rate(${select("balancer_server_checks_total")}[10m])) > 0.1 unless ignoring (state) ${isDown}`,
    for: "10m",
    severity: "warning",
    summary: "{{ $value | humanizePercentage }} of the checks of {{ $labels.server }} fail",
    when: "more than 10 % of a server's checks fail, and the server is not down",
    description: "{{ $labels.server }} fails some of its checks, too few in a row to be down. It is overloaded, or the network " +
      "between it and {{ $labels.instance }} loses packets.",
  },
};

/** The text of `contrib/prometheus/alerts.yaml`. A string of JSON is one of YAML. */
export function writeAlerts(): string {
  const rules = Object.entries(ALERTS).map(([name, { expr, for: wait, severity, summary, description }]) =>
    [
      `      - alert: ${name}`,
      `        expr: ${JSON.stringify(expr)}`,
      `        for: ${wait}`,
      "        labels:",
      `          severity: ${severity}`,
      "        annotations:",
      `          summary: ${JSON.stringify(summary)}`,
      `          description: ${JSON.stringify(description)}`,
    ].join("\n")
  );
  return `# Made by "deno task contrib". Prometheus reads it by rule_files; docs/observing.md says what each alert means.
groups:
  - name: balancer
    rules:
${rules.join("\n")}
`;
}
