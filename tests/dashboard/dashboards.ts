/** Dashboards to test: a daemon that says what a test wants, the bridge in front of it, and requests as bytes. */

import { formatAddress, parseAddress } from "../../lib/values/address.ts";
import type { Answers } from "../../lib/control/api.ts";
import { Bridge, type BridgeOptions } from "../../lib/dashboard/bridge.ts";
import type { DaemonLink } from "../../lib/dashboard/daemon_link.ts";
import { policyOf } from "../../lib/dashboard/page.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { connect, Queue, readText, soon, writeText } from "../helpers.ts";
import { NO_HOLD, serverAnswer } from "../answers.ts";

/** A daemon that is asked, and what it says. */
export interface TestDaemon extends DaemonLink {
  /** Why it cannot be asked; undefined: it can. */
  why: string | undefined;
  startId: string;
  /** How often it was looked at. */
  looks: number;
  /** Servers by service. */
  readonly pools: Map<string, Answers["server"][]>;
  /** Texts of its events; each has its place as a number, from 1. */
  readonly happened: string[];
  /** The oldest event that it keeps. */
  firstKept: number;
  /** What was passed on. */
  readonly asked: { readonly method: string; readonly path: string; readonly body: unknown }[];
  /** Resolves before a request that was passed on is answered. */
  wait: Promise<void>;
}

/** A server as the API shows it. */
export function shownServer(server: string, open = 0): Answers["server"] {
  return serverAnswer({ server, open });
}

/** A daemon with a service `default` and one server. */
export function testDaemon(): TestDaemon {
  const daemon: TestDaemon = {
    why: undefined,
    startId: "a1",
    looks: 0,
    pools: new Map([["default", [shownServer("10.0.0.1:80")]]]),
    happened: ["started"],
    firstKept: 1,
    asked: [],
    wait: Promise.resolve(),
    look(since) {
      daemon.looks++;
      if (daemon.why !== undefined) return Promise.reject(new OperatorError("notRunning", daemon.why));
      return Promise.resolve({
        status: { name: "test", services: [...daemon.pools.keys()].map((service) => ({ service })) } as Answers["status"],
        servers: [...daemon.pools].map(([service, servers]) => ({ service, servers, ring: ringOf(servers), hold: NO_HOLD })),
        events: eventsAfter(daemon, since?.event),
        series: seriesAfter(daemon, since?.second),
      });
    },
    async forward(method, path, body) {
      daemon.asked.push({ method, path, body });
      await daemon.wait;
      if (daemon.why !== undefined) throw new OperatorError("notRunning", daemon.why);
      return { status: 200, type: "application/json", text: JSON.stringify({ path }) };
    },
  };
  return daemon;
}

function ringOf({ length }: readonly unknown[]): Answers["servers"]["ring"] {
  return { fingerprint: "f", points: length, peakToMean: 1 };
}

function eventsAfter({ startId, happened, firstKept }: TestDaemon, after: number | undefined): Answers["events"] {
  const last = happened.length;
  const numbers = happened.map((_, i) => i + 1).filter((number) => number > (after ?? last - 1));
  const events = numbers.filter((number) => number >= firstKept).map((number) => eventOf(number, happened));
  return { startId, first: firstKept, last, events };
}

function seriesAfter({ startId }: TestDaemon, after: number | undefined): Answers["series"] {
  const from = after === undefined ? 1000 : after + 1;
  return { startId, from, step: 1, steps: 1, services: [], servers: [], flows: [] };
}

function eventOf(number: number, texts: readonly string[]): Answers["events"]["events"][number] {
  const text = texts[number - 1];
  return { number, at: "", kind: "server", level: "info", service: null, server: null, who: null, text };
}

/** An answer. */
export interface Reply {
  readonly status: number;
  readonly head: string;
  readonly body: string;
}

/** A dashboard under test. */
export interface TestDashboard extends AsyncDisposable {
  readonly bridge: Bridge;
  readonly daemon: TestDaemon;
  /** Of this dashboard, as its own page sends it. */
  readonly host: string;
  readonly origin: string;
  readonly dropped: () => number;
  /** Sends a request, with these lines in its head in place of the page's own, and reads the answer to its end. */
  send(method: string, target: string, lines?: readonly string[], body?: string): Promise<Reply>;
  /** Uses a link: the Cookie line of a session. */
  enter(): Promise<string>;
  /** A stream, and its messages as they come. */
  follow(cookie: string): Promise<Stream>;
}

/** A stream of `/live`. */
export interface Stream extends Disposable {
  /** The next message that is no comment. */
  next(): Promise<{ readonly name: string; readonly id: string | undefined; readonly data: unknown }>;
}

/** Opens a dashboard on loopback. Looks follow each other quickly. */
export async function openDashboard(options: Partial<BridgeOptions> = {}): Promise<TestDashboard> {
  let dropped = 0;
  const daemon = testDaemon();
  const html = "<script>1</script><style>a{}</style>";
  const page = { html, gzip: new Uint8Array([1, 2, 3]), policy: await policyOf(html) };
  const bridge = await Bridge.open({
    address: { host: "127.0.0.1", port: 0 },
    daemon,
    page,
    writes: false,
    viewersMax: 10,
    periodMs: 20,
    onDrop: () => dropped++,
    ...options,
  });
  const host = formatAddress(bridge.address);
  const send = (method: string, target: string, lines: readonly string[] = [], body = "") =>
    exchange(host, headOf(method, target, host, lines, body) + body);
  return {
    bridge,
    daemon: (options.daemon ?? daemon) as TestDaemon,
    host,
    origin: `http://${host}`,
    dropped: () => dropped,
    send,
    async enter() {
      const { pathname, search } = new URL(await bridge.link());
      const { head } = await send("GET", pathname + search);
      return `cookie: ${head.match(/^set-cookie: ([^;]+);/im)![1]}`;
    },
    follow: (cookie) => follow(host, cookie),
    [Symbol.asyncDispose]: () => bridge[Symbol.asyncDispose](),
  };
}

/** The head of a request; a line that is given takes the place of the usual one with its name. */
function headOf(method: string, target: string, host: string, lines: readonly string[], body: string): string {
  const usual = [`host: ${host}`, "connection: close", ...(body === "" ? [] : [`content-length: ${body.length}`])];
  const names = lines.map((line) => line.split(":")[0].toLowerCase());
  const head = [...usual.filter((line) => !names.includes(line.split(":")[0])), ...lines];
  return `${method} ${target} HTTP/1.1\r\n${head.map((line) => `${line}\r\n`).join("")}\r\n`;
}

/** Sends these bytes and reads everything until the end. */
export async function exchange(host: string, text: string): Promise<Reply> {
  using socket = await connect(parseAddress(host));
  await writeText(socket, text);
  const [head, body = ""] = (await soon(readText(socket), "the answer")).split("\r\n\r\n");
  return { status: Number(head.match(/^HTTP\/1\.1 ([0-9]+) /)?.[1]), head, body };
}

async function follow(host: string, cookie: string): Promise<Stream> {
  const [name, value] = [cookie.slice(0, cookie.indexOf(":")), cookie.slice(cookie.indexOf(":") + 1).trim()];
  const end = new AbortController();
  const response = await fetch(`http://${host}/live`, { headers: { [name]: value }, signal: end.signal });
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  const messages = new Queue<string>();
  const reading = (async () => {
    let text = "";
    for await (const part of response.body!.pipeThrough(new TextDecoderStream())) {
      const whole = (text + part).split("\n\n");
      text = whole.pop()!;
      for (const message of whole) if (/^event: /m.test(message)) messages.put(message);
    }
  })().catch(() => {}); // it was ended
  return {
    async next() {
      const message = await messages.take();
      const field = (name: string) => message.match(new RegExp(`^${name}: (.*)$`, "m"))?.[1];
      return { name: field("event")!, id: field("id"), data: JSON.parse(field("data")!) };
    },
    [Symbol.dispose]() {
      end.abort();
      void reading;
    },
  };
}
