/**
 * What operators put into their own monitoring, and what an installation has beside the programs: manual pages and completion. Made
 * from the rows of the code. `deno task contrib` writes it, `deno task man` the manual pages alone; `tests/contrib_test.ts` fails
 * where it differs.
 */

import { COMPLETION_SCRIPTS } from "../../lib/control/completion_scripts.ts";
import { writeAlerts } from "./alerts.ts";
import { writeDashboard } from "./dashboard.ts";
import { writeControlManual, writeDaemonManual } from "./manual.ts";

const ROOT = `${import.meta.dirname}/../../`;

/** The folder whose files go into the prefix of an installation, under the same paths. */
export const INSTALLED = "contrib/share";

/** Every file, by its path from the root, and its text. bash and fish find a program's script by its name. */
export const FILES: Readonly<Record<string, () => string>> = {
  "contrib/grafana/dashboard.json": writeDashboard,
  "contrib/prometheus/alerts.yaml": writeAlerts,
  [`${INSTALLED}/man/man1/balancer.1`]: writeDaemonManual,
  [`${INSTALLED}/man/man1/balancerctl.1`]: writeControlManual,
  [`${INSTALLED}/bash-completion/completions/balancer`]: () => COMPLETION_SCRIPTS.bash,
  [`${INSTALLED}/bash-completion/completions/balancerctl`]: () => COMPLETION_SCRIPTS.bash,
  [`${INSTALLED}/zsh/site-functions/_balancerctl`]: () => COMPLETION_SCRIPTS.zsh,
  [`${INSTALLED}/fish/vendor_completions.d/balancer.fish`]: () => COMPLETION_SCRIPTS.fish,
  [`${INSTALLED}/fish/vendor_completions.d/balancerctl.fish`]: () => COMPLETION_SCRIPTS.fish,
};

if (import.meta.main) {
  const [folder = ""] = Deno.args;
  for (const [path, write] of Object.entries(FILES).filter(([path]) => path.startsWith(folder))) {
    await Deno.mkdir(`${ROOT}${path}`.replace(/[^/]*$/, ""), { recursive: true });
    await Deno.writeTextFile(ROOT + path, write());
  }
}
