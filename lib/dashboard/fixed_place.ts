/** The dashboard of `balancer run --dashboard`: served at an address that stays, entered by the token in a file, and read-only. */

import { ControlClient } from "../control/client.ts";
import { OperatorError } from "../values/errors.ts";
import type { DaemonConfig } from "../values/config.ts";
import { failWith } from "../values/errors.ts";
import { openPlain } from "../values/plain_file.ts";
import { Bridge } from "./bridge.ts";
import { linkTo } from "./daemon_link.ts";
import { readPage } from "./page.ts";

/** Viewers at a time: fewer than `balancerctl dashboard` has, because descriptors of the daemon are for its clients. */
const VIEWERS_MAX = 200;
/** The daemon's own name for it: the daemon may not read the environment for the user's. */
const WHO = "the dashboard";
/** With 32 letters or digits by chance a token has more than 128 bits. */
const TOKEN_CHARS_MIN = 32;
const TOKEN_CHARS_MAX = 4096;

/** What a fixed place is about. */
interface FixedOptions {
  /** The daemon's own name and control socket. */
  readonly name: string;
  readonly socket: string;
  readonly onDrop: () => void;
  readonly onFault: (error: unknown) => void;
}

/** The settings of a fixed place. */
type FixedConfig = Pick<DaemonConfig, "dashboard" | "dashboardToken" | "dashboardHosts">;

/** Serves the dashboard as the settings say. Throws an operator error. */
export async function openFixedPlace(config: FixedConfig, { name, socket, onDrop, onFault }: FixedOptions): Promise<Bridge> {
  const { dashboard: address, dashboardToken: tokenFile, dashboardHosts: hosts } = config;
  if (address === null || tokenFile === null) throw new OperatorError("usage", "The dashboard needs an address and a token");
  const client = new ControlClient(name, socket, { who: WHO });
  return await Bridge.open({
    address,
    hosts,
    daemon: linkTo(client),
    page: await readPage(),
    writes: false,
    token: await readToken(tokenFile),
    viewersMax: VIEWERS_MAX,
    onDrop,
    onFault,
    onEnd: () => client[Symbol.dispose](),
  });
}

/** The token in a file that nobody but its owner can read. Throws an operator error. */
export async function readToken(path: string): Promise<string> {
  const cannot = `Cannot use dashboard token ${JSON.stringify(path)}`;
  using file = await openPlain(path, { read: true }, cannot).catch(failWith(cannot));
  requirePrivate(await file.stat(), cannot);
  const bytes = new Uint8Array(TOKEN_CHARS_MAX + 2); // a line feed, and one more shows that it is longer
  const length = await file.read(bytes).catch(failWith(cannot)) ?? 0;
  const token = new TextDecoder().decode(bytes.subarray(0, length)).trim();
  if (!/^[!-~]*$/.test(token)) throw new OperatorError("failed", `${cannot}: it must be one line of visible ASCII without spaces`);
  if (token.length < TOKEN_CHARS_MIN || token.length > TOKEN_CHARS_MAX) {
    const wayOut = `it has ${token.length} characters and must have ${TOKEN_CHARS_MIN} to ${TOKEN_CHARS_MAX}`;
    throw new OperatorError("failed", `${cannot}: ${wayOut}; make one with openssl rand -hex 32`);
  }
  return token;
}

function requirePrivate({ mode, uid }: Deno.FileInfo, cannot: string): void {
  if (mode === null) return; // Windows
  const octal = (mode & 0o777).toString(8).padStart(3, "0");
  if ((mode & 0o077) !== 0) {
    throw new OperatorError("failed", `${cannot}: its mode is ${octal}, and others can use it; run chmod 600 on it`);
  }
  if (uid !== Deno.uid() && uid !== 0) {
    throw new OperatorError("failed", `${cannot}: it belongs to user ${uid}, and this is user ${Deno.uid()}`);
  }
}
