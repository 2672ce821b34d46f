/**
 * The demo: starts a private balancer with five servers and 100 clients, and shows what happens to them when a server is removed
 * and when one is killed. It leaves nothing behind and touches no other balancer.
 */

import { abortable, delay } from "@std/async";

import { type Address, formatAddress } from "../values/address.ts";
import type { ControlClient } from "../control/client.ts";
import { messageOf, OperatorError } from "../values/errors.ts";
import { clientAddresses, DemoConnection, DemoServer } from "./cast.ts";
import { startPrivateBalancer } from "./private_balancer.ts";
import type { Stage } from "./stage.ts";

const CLIENTS = 100;
const LETTERS = ["a", "b", "c", "d", "e"];
/** Clients that connect at the same time. */
const TOGETHER = 5;
/** Every seventh client is in the middle of an answer when a server is killed. */
const BUSY_EVERY = 7;
/** Time after which a connection of the demo counts as idle, and the longer time without traffic before a server is killed. */
const QUIET_MS = 150;
const PAUSE_MS = 400;
/** The longest that the demo may take. */
const DEMO_MAX_MS = 30_000;

const EXAMPLE = [
  "balancerctl start 127.0.0.1 8080      # port 0: any free port",
  "balancerctl add 127.0.0.1 8001        # repeat for each of your servers",
  "balancerctl list",
  "balancerctl remove 127.0.0.1 8001",
  "balancerctl stop",
];

/** The figures of the demo. */
interface DemoFigures {
  readonly clients: number;
  /** Clients per server. */
  readonly spread: Readonly<Record<string, number>>;
  /** Clients that got the same server when they connected again. */
  readonly returned: number;
  readonly removed: Moves & { readonly server: string; readonly clients: number };
  readonly added: Moves & { readonly server: string };
  readonly killed: {
    readonly server: string;
    /** Open connections, how many of them were on the killed server, and how many of those were in the middle of an answer. */
    readonly connections: number;
    readonly itsConnections: number;
    readonly itsBusy: number;
    /** Connections that stayed with their server, that moved to another one, and that were reset. */
    readonly kept: number;
    readonly moved: number;
    readonly reset: number;
    /** Clients whose connection was reset and who were served when they connected again, and the longest time it took. */
    readonly servedAgain: number;
    readonly slowestMs: number;
  };
  readonly fates: Readonly<Record<string, number>>;
}

/** Clients that had to move, and clients that moved without need. */
interface Moves {
  readonly moved: number;
  readonly movedNeedlessly: number;
}

/** The letter of each client's server. */
type Seating = ReadonlyMap<string, string>;

interface Company {
  readonly address: Address;
  readonly control: ControlClient;
  readonly servers: ReadonlyMap<string, DemoServer>;
  readonly clients: readonly string[];
  readonly stage: Stage;
}

/** Runs the demo, for less than 30 s or until the signal. Leaves nothing behind. */
export async function playDemo(stage: Stage, interrupted: AbortSignal): Promise<DemoFigures> {
  await using stack = new AsyncDisposableStack();
  const over = AbortSignal.any([interrupted, AbortSignal.timeout(DEMO_MAX_MS)]);
  return await abortable(play(stage, stack, over), over).catch((error) => {
    if (error === over.reason) {
      const reason = interrupted.aborted ? "it was interrupted" : `it took more than ${DEMO_MAX_MS / 1000} s`;
      throw new OperatorError("failed", `The demo ended early: ${reason}`);
    }
    throw error instanceof OperatorError ? error : new OperatorError("failed", `The demo failed: ${messageOf(error)}`);
  });
}

async function play(stage: Stage, stack: AsyncDisposableStack, over: AbortSignal): Promise<DemoFigures> {
  const company = await gather(stage, stack, over);
  const { clients, servers, control } = company;
  const first = servers.get("c")!;
  const second = servers.get("e")!;

  stage.scene(`${CLIENTS} clients connect to ${formatAddress(company.address)}; it has five servers`);
  const before = await seat(company);
  await stage.pause(800);

  stage.scene("They connect again");
  const again = await seat(company);
  const returned = clients.filter((client) => again.get(client) === before.get(client)).length;
  stage.say(`${returned} of ${CLIENTS} got the same server`);
  await stage.pause(800);

  stage.scene(`Server c is removed: balancerctl remove 127.0.0.1 ${first.address.port}`);
  await control.remove(formatAddress(first.address), "1s", 1000);
  const during = await seat(company, before);
  const removed = { server: "c", clients: countOf(before, "c"), ...compare(before, during, "c") };
  const others = CLIENTS - removed.clients;
  stage.say(`The ${removed.moved} clients of c moved to other servers; of the other ${others}, ${removed.movedNeedlessly} moved`);
  await stage.pause(800);

  stage.scene(`Server c comes back: balancerctl add 127.0.0.1 ${first.address.port}`);
  await control.add({ address: first.address.host, port: first.address.port });
  const after = await seat(company, during);
  const returning = clients.filter((client) => before.get(client) === "c" && after.get(client) === "c").length;
  const added = { server: "c", moved: returning, movedNeedlessly: compare(before, after, "c").movedNeedlessly };
  stage.say(`Its ${added.moved} clients moved back to it; of the others, ${added.movedNeedlessly} moved`);
  await stage.pause(800);

  stage.scene(`Server e is killed while ${CLIENTS} connections are open`);
  const killed = await kill(second, company, stack);
  const { itsConnections, itsBusy, kept, moved, reset, servedAgain, slowestMs } = killed;
  const outcome = `${servedAgain} of ${reset} reconnected and were served within ${slowestMs} ms`;
  stage.say(`${itsConnections} of them are with e, ${itsBusy} in the middle of an answer`);
  stage.say(`kept   ${kept}  on other servers: they noticed nothing`);
  stage.say(`moved  ${moved}  another server answers their next request, on the same connection`);
  stage.say(`reset  ${reset}  answer cut off; ${outcome}`);
  await stage.pause(800);

  stage.scene("Try it yourself");
  for (const line of EXAMPLE) stage.say(line);
  const { fates } = await control.status();
  return { clients: CLIENTS, spread: Object.fromEntries(count(before)), returned, removed, added, killed, fates };
}

/** Starts a balancer of the demo's own, adds servers to its pool, and chooses the addresses of the clients. */
async function gather(stage: Stage, stack: AsyncDisposableStack, over: AbortSignal): Promise<Company> {
  const clients = await clientAddresses(CLIENTS);
  const settings = ["--load-bound=off", "--redistribute=idle", `--quiet=${QUIET_MS}ms`];
  const { address, control } = await startPrivateBalancer(settings, stack, over);
  const servers = new Map<string, DemoServer>();
  for (const letter of LETTERS) {
    const server = stack.use(await DemoServer.start(letter));
    servers.set(letter, server);
    await control.add({ address: server.address.host, port: server.address.port });
  }
  return { address, control, servers, clients, stage };
}

/** Lets every client connect and close, a few at a time. Shows the clients of each server, and the difference from `before`. */
async function seat({ clients, address, stage }: Company, before?: Seating): Promise<Seating> {
  const seating = new Map<string, string>();
  const change = (letter: string) => before === undefined ? 0 : countOf(seating, letter) - countOf(before, letter);
  for (let i = 0; i < clients.length; i += TOGETHER) {
    await Promise.all(
      clients.slice(i, i + TOGETHER).map(async (client) => {
        using connection = await DemoConnection.open(client, address);
        seating.set(client, connection.letter);
      }),
    );
    const isLast = i + TOGETHER >= clients.length;
    stage.bars(count(seating), { isFirst: i === 0, isLast }, (letter) => isLast ? signed(change(letter)) : "");
    await stage.pause(25);
  }
  return seating;
}

/** Kills a server while every client has an open connection, and finds out what happens to each. Reset clients connect again. */
async function kill(
  victim: DemoServer,
  { clients, address }: Company,
  stack: AsyncDisposableStack,
): Promise<DemoFigures["killed"]> {
  const connections = await Promise.all(clients.map((client) => DemoConnection.open(client, address)));
  for (const connection of connections) stack.use(connection);
  const busy = connections.filter((_, i) => i % BUSY_EVERY === 0);
  await Promise.all(busy.map((connection) => connection.begin()));
  await delay(PAUSE_MS);
  // Busy connections have just received a part of their answer, so they do not count as idle.
  await Promise.all(busy.map((connection) => connection.begin()));
  await victim.kill();
  const outcomes = await Promise.all(connections.map((connection) => outcomeOf(connection, { isBusy: busy.includes(connection) })));
  const countOutcome = (outcome: Outcome) => outcomes.filter((other) => other === outcome).length;
  const its = connections.filter(({ letter }) => letter === victim.letter);
  const waitsMs = await Promise.all(
    clients.filter((_, i) => outcomes[i] === "reset").map((client) => timeToBeServed(client, address)),
  );
  return {
    server: victim.letter,
    connections: connections.length,
    itsConnections: its.length,
    itsBusy: its.filter((connection) => busy.includes(connection)).length,
    kept: countOutcome("kept"),
    moved: countOutcome("moved"),
    reset: countOutcome("reset"),
    servedAgain: waitsMs.filter((ms) => ms !== undefined).length,
    slowestMs: Math.round(Math.max(0, ...waitsMs.map((ms) => ms ?? 0))),
  };
}

type Outcome = "kept" | "moved" | "reset";

/** What has happened to a connection, found out by using it. */
async function outcomeOf(connection: DemoConnection, { isBusy }: { readonly isBusy: boolean }): Promise<Outcome> {
  try {
    if (isBusy) await connection.end();
    return isBusy || await connection.ask() === connection.letter ? "kept" : "moved";
  } catch {
    return "reset";
  }
}

/** Milliseconds until the client has a server's answer; undefined if it gets none. */
async function timeToBeServed(client: string, address: Address): Promise<number | undefined> {
  const startedMs = performance.now();
  try {
    using _connection = await DemoConnection.open(client, address);
    return performance.now() - startedMs;
  } catch {
    return undefined;
  }
}

function count(seating: Seating): Map<string, number> {
  return new Map(LETTERS.map((letter) => [letter, countOf(seating, letter)]));
}

function countOf(seating: Seating, letter: string): number {
  return [...seating.values()].filter((other) => other === letter).length;
}

/** How many clients of the server `letter`, and how many of the others, have another server in `after`. */
function compare(before: Seating, after: Seating, letter: string): Moves {
  const movers = [...before].filter(([client, server]) => after.get(client) !== server);
  const moved = movers.filter(([, server]) => server === letter).length;
  return { moved, movedNeedlessly: movers.length - moved };
}

function signed(change: number): string {
  return change === 0 ? "" : `(${change > 0 ? "+" : ""}${change})`;
}
