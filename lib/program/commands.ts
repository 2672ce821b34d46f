/** Every command of `balancerctl`: those that ask the daemon and print its answer, and those that have a room of their own. */

import { type Command, COMMANDS } from "../control/commands.ts";
import { dashboardCommand, type DashboardWorld, EMPTY_WORLD } from "../dashboard/command.ts";
import { demoCommand } from "../demo/command.ts";
import { EMPTY_STAGE, type Stage } from "../demo/stage.ts";
import { TOP } from "../top/command.ts";

/** What commands need of the world beside their context. Each is asked for when its command runs. */
interface Worlds {
  readonly stage: () => Stage;
  readonly dashboard: () => DashboardWorld;
}

/** For who only reads what the commands say of themselves. */
const EMPTY_WORLDS: Worlds = { stage: () => EMPTY_STAGE, dashboard: () => EMPTY_WORLD };

/** The commands by their names, in the order of the help. */
export function everyCommand({ stage, dashboard }: Worlds = EMPTY_WORLDS): Readonly<Record<string, Command>> {
  return { ...COMMANDS, top: TOP, dashboard: dashboardCommand(dashboard), demo: demoCommand(stage, dashboard) };
}
