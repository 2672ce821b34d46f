/**
 * The console sessions of the documents: real commands of the programs in this checkout with what they print. Written between the
 * marks `<!-- session: name -->` and `<!-- end -->` by `deno task picture`. Process numbers and times differ from run to run, so no
 * test compares them. Needs free ports 8001 to 8003 and 8080, curl, and Linux, where all of 127.0.0.0/8 is loopback.
 */

import { createConnection } from "node:net";
import { readDocuments } from "./tables.ts";

const ROOT = `${import.meta.dirname}/../`;
const CLIENTS = 24;
const LISTEN_PORT = 8080;
/** Longer than `--quiet`. */
const PAUSE_MS = 500;

/** Servers that run, commands that prepare, and commands that are shown with their output. */
interface Session {
  readonly servers: readonly number[];
  readonly before?: readonly string[];
  /** How many clients have an idle connection, each from an address of its own. */
  readonly clients?: number;
  readonly shown: readonly string[];
}

const START = `balancerctl start 127.0.0.1 ${LISTEN_PORT}`;
const ADD_BOTH = "balancerctl add 127.0.0.1 8001 && balancerctl add 127.0.0.1 8002";

const SESSIONS: Readonly<Record<string, Session>> = {
  two: {
    servers: [8001, 8002],
    shown: [
      START,
      "balancerctl add 127.0.0.1 8001",
      "balancerctl add 127.0.0.1 8002",
      `for i in 1 2 3 4; do curl -s --interface 127.0.0.$i http://127.0.0.1:${LISTEN_PORT}/; done`,
      "balancerctl list",
      "balancerctl stop",
    ],
  },
  remove: {
    servers: [8001, 8002, 8003],
    before: [`${START} --redistribute idle`, ADD_BOTH, "balancerctl add 127.0.0.1 8003"],
    clients: CLIENTS,
    shown: ["balancerctl plan remove 127.0.0.1 8001", "balancerctl remove 127.0.0.1 8001", "balancerctl explain 127.0.0.1"],
  },
  drain: {
    servers: [8001, 8002],
    before: [START, ADD_BOTH],
    shown: ["balancerctl drain 127.0.0.1 8001", "balancerctl list", "balancerctl undrain 127.0.0.1 8001"],
  },
  status: {
    servers: [8001, 8002],
    before: [START, ADD_BOTH, `curl -s http://127.0.0.1:${LISTEN_PORT}/`],
    shown: ["balancerctl status | head -n 6"],
  },
};

/** A machine of its own for one session: its files, its servers, its `balancerctl`. */
async function play({ servers, before = [], clients = 0, shown }: Session): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "balancer-session-" });
  const listening = servers.map((port) =>
    Deno.serve({ port, hostname: "127.0.0.1", onListen: () => {} }, () => new Response(`hello from ${port}\n`))
  );
  const shell = await makeShell(folder);
  const open: Disposable[] = [];
  try {
    for (const line of before) await shell(line);
    for (let i = 1; i <= clients; i++) open.push(await openIdle(`127.0.0.${i}`));
    if (clients > 0) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    const blocks: string[] = [];
    for (const line of shown) blocks.push(`$ ${line}\n${await shell(line)}`);
    return blocks.join("");
  } finally {
    for (const connection of open) connection[Symbol.dispose]();
    await shell("balancerctl stop --grace 0 2>&1 || true");
    await Promise.all(listening.map((server) => server.shutdown()));
    await Deno.remove(folder, { recursive: true });
  }
}

/** A shell in which `balancerctl` is that of this checkout, and no file is anybody else's. It gives what a person would see. */
async function makeShell(folder: string): Promise<(line: string) => Promise<string>> {
  const program = `#!/bin/sh\nexec "${Deno.execPath()}" run -q --no-prompt -P=balancerctl "${ROOT}ctl.ts" "$@"\n`;
  await Deno.writeTextFile(`${folder}/balancerctl`, program, { mode: 0o755 });
  const env = { PATH: `${folder}:${Deno.env.get("PATH")}`, XDG_RUNTIME_DIR: folder, XDG_STATE_HOME: folder, NO_COLOR: "1" };
  return async (line) => {
    const { success, stdout } = await new Deno.Command("sh", { args: ["-c", `{ ${line}; } 2>&1`], env, stdin: "null" }).output();
    const text = new TextDecoder().decode(stdout);
    if (!success) throw new Error(`${line} failed: ${text}`);
    return text;
  };
}

/** A client's connection that has had an answer and stays open. */
function openIdle(localAddress: string): Promise<Disposable> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host: "127.0.0.1", port: LISTEN_PORT, localAddress });
    socket.once("error", reject).once("data", () => resolve({ [Symbol.dispose]: () => socket.destroy() }));
    socket.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  });
}

function withSessions(text: string, played: ReadonlyMap<string, string>): string {
  return text.replace(/(<!-- session: (\w+) -->)[^]*?(<!-- end -->)/g, (_, start, name, end) => {
    if (!played.has(name)) throw new Error(`There is no session ${name}`);
    return `${start}\n\n\`\`\`console\n${played.get(name)}\`\`\`\n\n${end}`;
  });
}

if (import.meta.main) {
  const played = new Map<string, string>();
  for (const [name, session] of Object.entries(SESSIONS)) played.set(name, await play(session));
  for (const [path, text] of await readDocuments()) await Deno.writeTextFile(ROOT + path, withSessions(text, played));
}
