/**
 * What each contender is told: the rivals' configuration files, with all that they have against the loss of a server, and our
 * command lines. Pure. Load is not bounded and a client's address alone decides its server, as with the rivals, so that a client
 * that comes again has the server that it had.
 */

import type { Address } from "../../lib/values/address.ts";
import { PING, PONG } from "./protocol.ts";

/** How far ours goes, as `--redistribute` has it; `none`: a balancer that has no such flag, or is to be run without. */
export const LEVELS = ["new", "unanswered", "idle"] as const;
/** See LEVELS. */
export type Level = typeof LEVELS[number] | "none";

/** The engines of ours. */
export const ENGINE_NAMES = ["epoll", "streams"] as const;
/** One of ENGINE_NAMES. */
export type EngineName = typeof ENGINE_NAMES[number];

/** How servers are checked, by everybody who can. */
export interface Checks {
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** So many that are not answered make a server down. */
  readonly fall: number;
  /** So many that are answered make it up. */
  readonly rise: number;
}

/** A silent server is found after 1.5 s at the most. */
export const CHECKS: Checks = { intervalMs: 500, timeoutMs: 400, fall: 2, rise: 1 };
/** Connections that any of them may have. */
const CONNECTIONS_MAX = 8000;

/** Where a rival listens, its servers, and how it checks them. */
export interface Wiring {
  readonly port: number;
  readonly servers: readonly Address[];
  readonly checks: Checks;
}

/** What an operator adds to a rival's configuration. */
export interface Addition {
  /** A line for the whole program. */
  readonly program?: string;
  /** Words for every server. */
  readonly server?: string;
}

/** HAProxy. */
export function haproxyConfiguration({ port, servers, checks }: Wiring, { program = "", server = "" }: Addition): string {
  const { intervalMs, timeoutMs, fall, rise } = checks;
  return `global
  nbthread 2
  maxconn ${CONNECTIONS_MAX}
  ${program}

defaults
  mode tcp
  maxconn ${CONNECTIONS_MAX}
  retries 3
  option redispatch 1
  timeout connect 3s
  timeout client 1h
  timeout server 1h
  timeout check ${timeoutMs}ms

listen lost
  bind 127.0.0.1:${port} backlog 4096
  balance source
  hash-type consistent
  option tcp-check
  tcp-check connect
  tcp-check send ${PING}\\n
  tcp-check expect string ${PONG}
  default-server check inter ${intervalMs}ms fall ${fall} rise ${rise} ${server}
${servers.map(({ host, port }, i) => `  server s${i} ${host}:${port}`).join("\n")}
`;
}

/** nginx, which has no checks of its own: a server that refuses a connection rests for a second, for all workers. */
export function nginxConfiguration({ port, servers }: Wiring, loadModule: string, { program = "" }: Addition): string {
  return `${loadModule === "" ? "" : `${loadModule}\n`}daemon off;
pid nginx.pid;
error_log stderr crit;
worker_processes 2;
${program}

events {
  worker_connections ${CONNECTIONS_MAX};
}

stream {
  access_log off;

  upstream servers {
    zone servers 64k;
    hash $remote_addr consistent;
${servers.map(({ host, port }) => `    server ${host}:${port} max_fails=1 fail_timeout=1s;`).join("\n")}
  }

  server {
    listen 127.0.0.1:${port} reuseport backlog=4096;
    proxy_pass servers;
    proxy_next_upstream on;
    proxy_connect_timeout 3s;
    proxy_timeout 1h;
  }
}
`;
}

/** The arguments of our `balancer`: of the flags that are about lost servers, those that it has. */
export function balancerArguments(engine: EngineName, level: Level, checks: Checks, known: ReadonlySet<string>): string[] {
  const { intervalMs, timeoutMs, fall, rise } = checks;
  const wanted = {
    "redistribute": level,
    "quiet": "250ms",
    "replay-buffer": "64KiB",
    "check": `send:${PING}\\n expect:${PONG}`,
    "check-interval": `${intervalMs}ms`,
    "check-timeout": `${timeoutMs}ms`,
    "fall": String(fall),
    "rise": String(rise),
    "rest": "500ms",
  };
  const flags = level === "none" ? [] : Object.entries(wanted).filter(([name]) => known.has(name));
  const settings = flags.flatMap(([name, value]) => [`--${name}`, value]);
  return ["run", "127.0.0.1", "0", "--engine", engine, "--load-bound", "off", "--log-level", "warning", ...settings];
}

/** The flags that a help names. */
export function flagsOf(help: string): Set<string> {
  return new Set([...help.matchAll(/^\s+--([a-z-]+)/gm)].map(([, name]) => name));
}
