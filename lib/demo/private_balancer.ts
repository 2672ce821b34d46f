/** A balancer that only the demo knows: it runs on a free port, its files are in a temporary folder, and it ends with the demo. */

import { type Address, parseAddress } from "../values/address.ts";
import { ControlClient } from "../control/client.ts";
import { launchDaemon } from "../control/launch.ts";

/** Its name. */
export const PRIVATE_NAME = "demo";

/** The balancer, while it runs. */
export interface PrivateBalancer {
  readonly address: Address;
  readonly control: ControlClient;
  /** The folder in which its socket is found where XDG_RUNTIME_DIR names it. */
  readonly folder: string;
}

/**
 * Starts it with these settings. The stack ends it and removes its files; so does the end of this program, of whatever kind, except
 * that files remain after a kill. Throws an operator error.
 */
export async function startPrivateBalancer(
  settings: readonly string[],
  stack: AsyncDisposableStack,
  over: AbortSignal,
): Promise<PrivateBalancer> {
  // deno-lint-ignore no-sync-fn-in-async-fn -- no interruption may come between it and what removes it
  const folder = Deno.makeTempDirSync({ prefix: "balancer_demo_" });
  const launching = launchDaemon(
    ["run", "127.0.0.1", "0", `--name=${PRIVATE_NAME}`, "--log-level=error", "--stop-at-eof", ...settings],
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
  const control = stack.use(new ControlClient(PRIVATE_NAME, `${folder}/balancer/${PRIVATE_NAME}.sock`));
  return { address: parseAddress(address), control, folder };
}

async function endDaemon(daemon: Deno.ChildProcess): Promise<void> {
  try {
    daemon.kill("SIGKILL");
  } catch { /* it has ended */ }
  await daemon.status;
}
