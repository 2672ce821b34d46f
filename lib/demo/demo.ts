/**
 * The demo: a balancer of its own on a free port, five servers and a hundred clients, and what becomes of them when a server is
 * removed and when one is killed. Everything is private to it and gone afterwards; a balancer that runs is never touched.
 */

import { type Address, formatAddress, parseAddress } from "../values/address.ts";
import { ControlClient } from "../control/client.ts";
import { launchDaemon } from "../control/launch.ts";
import { messageOf, OperatorError } from "../values/errors.ts";
import { clientAddresses, DemoConnection, DemoServer } from "./cast.ts";
import type { Stage } from "./stage.ts";

const CLIENTS = 100;
const LETTERS = ["a", "b", "c", "d", "e"];
/** Clients that connect at a time. */
const TOGETHER = 5;
/** One client in so many is in the middle of an answer when a server is killed. */
const BUSY_EVERY = 7;
/** An exchange of the demo is over after this time, and a connection is left alone for longer before its server is killed. */
const QUIET_MS = 150;
const LEFT_ALONE_MS = 400;
/** The demo ends by force after this time. */
const DEMO_MAX_MS = 30_000;

const BY_HAND = [
  "balancerctl start 127.0.0.1 8080      # port 0 takes a free one",
  "balancerctl add 127.0.0.1 8001        # a server of yours; as many as you like",
  "balancerctl list",
  "balancerctl remove 127.0.0.1 8001",
  "balancerctl stop",
];

/** What happened, in figures. */
export interface DemoFigures {
  readonly clients: number;
  /** Clients per server. */
  readonly spread: Readonly<Record<string, number>>;
  /** Clients that came back to the server they had. */
  readonly returned: number;
  readonly removed: Moves & { readonly server: string; readonly clients: number };
  readonly added: Moves & { readonly server: string };
  readonly killed: {
    readonly server: string;
    /** Connections open, those of the server among them, and those of these that were in the middle of an answer. */
    readonly connections: number;
    readonly itsConnections: number;
    readonly itsBusy: number;
    /** Connections that went on with the server they had, that went on with another one, and that were reset. */
    readonly kept: number;
    readonly moved: number;
    readonly reset: number;
    /** Clients whose connection was reset and who were served when they came again, the slowest after so long. */
    readonly servedAgain: number;
    readonly slowestMs: number;
  };
  readonly fates: Readonly<Record<string, number>>;
}

/** Clients that had to move, and clients that moved though they need not. */
interface Moves {
  readonly moved: number;
  readonly movedNeedlessly: number;
}

/** Who has which server, by letter. */
type Seating = ReadonlyMap<string, string>;

interface Company {
  readonly address: Address;
  readonly control: ControlClient;
  readonly servers: ReadonlyMap<string, DemoServer>;
  readonly clients: readonly string[];
  readonly stage: Stage;
}

/** Plays the demo to its end, in less than 30 s, or until the signal. Leaves nothing behind either way. */
export async function playDemo(stage: Stage, interrupted: AbortSignal): Promise<DemoFigures> {
  await using stack = new AsyncDisposableStack();
  const over = AbortSignal.any([interrupted, AbortSignal.timeout(DEMO_MAX_MS)]);
  const ended = Promise.withResolvers<never>();
  over.addEventListener("abort", () => {
    const reason = interrupted.aborted ? "it was interrupted" : `it took more than ${DEMO_MAX_MS / 1000} s`;
    ended.reject(new OperatorError("failed", `The demo ended early: ${reason}`));
  });
  const played = play(stage, stack, over).catch((error) => {
    throw error instanceof OperatorError ? error : new OperatorError("failed", `The demo could not go on: ${messageOf(error)}`);
  });
  return await Promise.race([played, ended.promise]);
}

async function play(stage: Stage, stack: AsyncDisposableStack, over: AbortSignal): Promise<DemoFigures> {
  const company = await gather(stage, stack, over);
  const { clients, servers, control } = company;
  const first = servers.get("c")!;
  const second = servers.get("e")!;

  stage.scene(`${CLIENTS} clients connect to ${formatAddress(company.address)}; five servers stand behind it`);
  const before = await seat(company);
  await stage.pause(800);

  stage.scene("They come again");
  const again = await seat(company);
  const returned = clients.filter((client) => again.get(client) === before.get(client)).length;
  stage.say(`${returned} of ${CLIENTS} found the server they had`);
  await stage.pause(800);

  stage.scene(`Server c is removed: balancerctl remove 127.0.0.1 ${first.address.port}`);
  await control.remove(formatAddress(first.address), "1s", 1000);
  const during = await seat(company, before);
  const removed = { server: "c", clients: countOf(before, "c"), ...compare(before, during, "c") };
  stage.say(
    `${removed.moved} clients of c have other servers now; of the other ${
      CLIENTS - removed.clients
    }, ${removed.movedNeedlessly} moved`,
  );
  await stage.pause(800);

  stage.scene(`Server c comes back: balancerctl add 127.0.0.1 ${first.address.port}`);
  await control.add({ address: first.address.host, port: first.address.port });
  const after = await seat(company, during);
  const home = clients.filter((client) => before.get(client) === "c" && after.get(client) === "c").length;
  const added = { server: "c", moved: home, movedNeedlessly: compare(before, after, "c").movedNeedlessly };
  stage.say(`Its ${added.moved} clients are with it again; of the others, ${added.movedNeedlessly} moved`);
  await stage.pause(800);

  stage.scene(`Server e is killed while ${CLIENTS} connections are open`);
  const killed = await kill(second, company, stack);
  const { itsConnections, itsBusy, kept, moved, reset, servedAgain, slowestMs } = killed;
  stage.say(`${itsConnections} of them were with e, ${itsBusy} in the middle of an answer`);
  stage.say(`kept   ${kept}  they have other servers and noticed nothing`);
  stage.say(`moved  ${moved}  their next question was answered by another server, on the same connection`);
  stage.say(
    `reset  ${reset}  their answer was cut; they came again and ${servedAgain} of ${reset} were served, the slowest after ${slowestMs} ms`,
  );
  await stage.pause(800);

  stage.scene("The same by hand");
  for (const line of BY_HAND) stage.say(line);
  const { fates } = await control.status();
  return { clients: CLIENTS, spread: Object.fromEntries(count(before)), returned, removed, added, killed, fates };
}

/** Brings everybody together: a balancer of the demo's own in a temporary folder, servers in its pool, and clients. */
async function gather(stage: Stage, stack: AsyncDisposableStack, over: AbortSignal): Promise<Company> {
  const clients = await clientAddresses(CLIENTS);
  // deno-lint-ignore no-sync-fn-in-async-fn -- at once with what removes it: an interruption must not come between
  const folder = Deno.makeTempDirSync({ prefix: "balancer_demo_" });
  const launching = launchDaemon(
    [
      ...["run", "127.0.0.1", "0", "--name=demo", "--load-bound=off", "--log-level=error", "--stop-at-eof"],
      ...["--redistribute=idle", `--quiet=${QUIET_MS}ms`],
    ],
    {
      detached: false,
      signal: over,
      env: { RUNTIME_DIRECTORY: "", STATE_DIRECTORY: "", LOGS_DIRECTORY: "", XDG_RUNTIME_DIR: folder, XDG_STATE_HOME: folder },
    },
  );
  stack.defer(async () => {
    await launching.then(({ daemon }) => endDaemon(daemon), () => {});
    await Deno.remove(folder, { recursive: true });
  });
  const { address } = await launching;
  const control = stack.use(new ControlClient("demo", `${folder}/balancer/demo.sock`));
  const servers = new Map<string, DemoServer>();
  for (const letter of LETTERS) {
    const server = stack.use(await DemoServer.start(letter));
    servers.set(letter, server);
    await control.add({ address: server.address.host, port: server.address.port });
  }
  return { address: parseAddress(address), control, servers, clients, stage };
}

async function endDaemon(daemon: Deno.ChildProcess): Promise<void> {
  try {
    daemon.kill("SIGKILL");
  } catch { /* it has ended */ }
  await daemon.status;
}

/** Lets every client connect and leave, a few at a time, and shows who serves how many, and how that differs from `before`. */
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

/** Kills a server while every client has a connection open, looks what becomes of each, and lets those that lost theirs come again. */
async function kill(
  victim: DemoServer,
  { clients, address }: Company,
  stack: AsyncDisposableStack,
): Promise<DemoFigures["killed"]> {
  const connections = await Promise.all(clients.map((client) => DemoConnection.open(client, address)));
  for (const connection of connections) stack.use(connection);
  const busy = connections.filter((_, i) => i % BUSY_EVERY === 0);
  await Promise.all(busy.map((connection) => connection.begin()));
  await new Promise((resolve) => setTimeout(resolve, LEFT_ALONE_MS));
  // Those in the middle of an answer have just got a part of it: their servers are not silent, but at work.
  await Promise.all(busy.map((connection) => connection.begin()));
  await victim.kill();
  const outcomes = await Promise.all(connections.map((connection) => outcomeOf(connection, busy.includes(connection))));
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

/** What a client finds when it goes on: the rest of its answer, the same server, another one, or nothing. */
async function outcomeOf(connection: DemoConnection, isBusy: boolean): Promise<Outcome> {
  try {
    if (isBusy) await connection.end();
    return isBusy || await connection.ask() === connection.letter ? "kept" : "moved";
  } catch {
    return "reset";
  }
}

/** Milliseconds until a server speaks to the client; undefined if none does. */
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

/** Clients of `letter` that have another server in `after`, and clients of others that have. */
function compare(before: Seating, after: Seating, letter: string): Moves {
  const movers = [...before].filter(([client, server]) => after.get(client) !== server);
  const moved = movers.filter(([, server]) => server === letter).length;
  return { moved, movedNeedlessly: movers.length - moved };
}

function signed(change: number): string {
  return change === 0 ? "" : `(${change > 0 ? "+" : ""}${change})`;
}
