/**
 * What each contender is told: configuration files of the rivals, tuned as their manuals advise for what is measured, and command
 * lines of ours. Pure: the same texts go to the contenders and into the report.
 */

/** What a configuration depends on. */
export interface Wiring {
  readonly port: number;
  readonly backendPort: number;
  /** Threads of HAProxy, worker processes of nginx, workers of ours. */
  readonly workers: number;
  /** The limit on open files. */
  readonly openFiles: number;
  /** Long streams of bytes, and not requests or idle connections. */
  readonly isBulk: boolean;
}

/** Descriptors that a proxy needs besides those of its connections. */
const DESCRIPTORS_RESERVED = 200;
/** HAProxy counts two descriptors for each pipe at its start; this many are more than any workload here splices through. */
const HAPROXY_PIPES = 500;
/** More connections than any workload has; a limit on open files may allow fewer. */
const CONNECTIONS_MAX = 100_000;

/**
 * The body of every answer of the web server: with its head about 300 bytes, so that what is measured is requests and not bytes.
 */
export const WEB_BODY = "A small answer, of the size that an API gives to a question such as whether something is so. ".padEnd(
  128,
  ".",
);

/**
 * HAProxy as a TCP proxy. For bulk it splices both ways through pipes of 1 MiB, which halves its CPU time there (its own choice of
 * when to splice, splice-auto, does not). Small requests cost it a sixth more with these options, so they are for bulk alone.
 */
export function haproxyConfiguration({ port, backendPort, workers, openFiles, isBulk }: Wiring): string {
  const splicing = isBulk ? "  option splice-request\n  option splice-response\n" : "";
  const connections = Math.min(CONNECTIONS_MAX, Math.floor((openFiles - DESCRIPTORS_RESERVED) / 2) - HAPROXY_PIPES);
  return `global
  nbthread ${workers}
  maxconn ${connections}
  maxpipes ${HAPROXY_PIPES}
  tune.bufsize 65536
  tune.pipesize 1048576

defaults
  mode tcp
  maxconn ${connections}
${splicing}  timeout connect 5s
  timeout client 1h
  timeout server 1h

listen bench
  bind 127.0.0.1:${port}
  server backend 127.0.0.1:${backendPort}
`;
}

/**
 * nginx as a TCP proxy. Large buffers halve its CPU time per byte and cost small requests nothing that can be measured. Without
 * reuseport its workers share one listener, and one of them may take most clients.
 */
export function nginxConfiguration({ port, backendPort, workers, openFiles }: Wiring, loadModule: string): string {
  return `${loadModule === "" ? "" : `${loadModule}\n`}daemon off;
pid nginx.pid;
error_log stderr crit;
worker_processes ${workers};
worker_rlimit_nofile ${descriptors(openFiles)};

events {
  worker_connections ${descriptors(openFiles)};
}

stream {
  access_log off;
  proxy_buffer_size 256k;
  proxy_timeout 1h;

  server {
    listen 127.0.0.1:${port}${workers > 1 ? " reuseport" : ""} backlog=4096;
    proxy_pass 127.0.0.1:${backendPort};
  }
}
`;
}

/** The web server behind all contenders. */
export function webConfiguration(
  { port, proxyPort, workers, openFiles }: Omit<Wiring, "backendPort" | "isBulk"> & { readonly proxyPort: number },
): string {
  const folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `  ${name}_temp_path temp_${name};`);
  return `daemon off;
pid nginx.pid;
error_log stderr crit;
worker_processes ${workers};
worker_rlimit_nofile ${descriptors(openFiles)};

events {
  worker_connections ${descriptors(openFiles)};
}

http {
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
${folders.join("\n")}

  server {
    listen 127.0.0.1:${port}${workers > 1 ? " reuseport" : ""} backlog=4096;
    listen 127.0.0.1:${proxyPort} proxy_protocol${workers > 1 ? " reuseport" : ""} backlog=4096;
    location / {
      default_type text/plain;
      return 200 "${WEB_BODY}";
    }
  }
}
`;
}

/** The engines of ours, and the arguments that each takes for its number of workers. */
const ENGINES = {
  epoll: (workers: number): string[] => ["--workers", String(workers)],
  streams: (): string[] => [],
};

/** An engine of ours. */
export type EngineName = keyof typeof ENGINES;

/**
 * The arguments of our `balancer`. The load is not bounded, and any server is as good as another, as with the rivals. An older
 * version (--against) gets the same arguments, so a renamed option keeps its old spelling here.
 */
export function balancerArguments(engine: EngineName, { port, workers }: Pick<Wiring, "port" | "workers">): string[] {
  const settings = ["--key", "ip:port", "--load-bound", "off", "--log-level", "warning"];
  return ["run", "127.0.0.1", String(port), "--engine", engine, ...ENGINES[engine](workers), ...settings];
}

/** nginx takes no word for "unlimited". */
function descriptors(openFiles: number): number {
  return Math.min(openFiles, CONNECTIONS_MAX * 2);
}
