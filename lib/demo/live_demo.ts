/** The live demo: its story on a private balancer, and the dashboard that shows it, side by side until Ctrl-C. */

import type { CommandContext } from "../control/commands.ts";
import type { DashboardWorld } from "../dashboard/command.ts";
import { serveDashboard } from "../dashboard/local_dashboard.ts";
import { messageOf, OperatorError } from "../values/errors.ts";
import { type LivePool, playStory, SCENE_MS, startLivePool } from "./live_story.ts";
import { PRIVATE_NAME } from "./private_balancer.ts";
import type { Stage } from "./stage.ts";

/** What it needs. */
interface LiveOptions extends Pick<CommandContext, "say"> {
  readonly port: number;
  readonly opens: boolean;
  /** How long clients come and go before anything happens. */
  readonly steadyMs?: number;
  readonly world: DashboardWorld;
  readonly stage: Stage;
  readonly interrupted: AbortSignal;
}

/** Runs it until it is interrupted. Leaves nothing behind. Throws an operator error if it fails. */
export async function showLiveDemo({ stage, interrupted, steadyMs = SCENE_MS, ...options }: LiveOptions): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const end = new AbortController();
  const over = AbortSignal.any([interrupted, end.signal]);
  try {
    const pool = await startLivePool(stack, over);
    stage.say(`In a terminal: XDG_RUNTIME_DIR=${pool.folder} balancerctl top --name ${PRIVATE_NAME}`);
    const parts = [serve(pool, options, over), playStory({ pool, stage, stack, steadyMs, over })];
    await Promise.race(parts).finally(async () => {
      end.abort();
      await Promise.allSettled(parts);
    });
  } catch (error) {
    if (interrupted.aborted) return;
    throw error instanceof OperatorError ? error : new OperatorError("failed", `The demo failed: ${messageOf(error)}`);
  }
}

async function serve(
  { control }: LivePool,
  { world, ...options }: Omit<LiveOptions, "stage" | "interrupted" | "steadyMs">,
  interrupted: AbortSignal,
): Promise<void> {
  await serveDashboard({
    ...world,
    ...options,
    client: control,
    name: PRIVATE_NAME,
    writes: false,
    interrupted,
  });
}
