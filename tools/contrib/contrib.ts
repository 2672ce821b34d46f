/**
 * What operators put into their own monitoring, made from the rows of the code. `deno task contrib` writes it;
 * `tests/contrib_test.ts` fails where it differs.
 */

import { writeAlerts } from "./alerts.ts";
import { writeDashboard } from "./dashboard.ts";

/** Every file, by its path from the root, and its text. */
export const FILES: Readonly<Record<string, () => string>> = {
  "contrib/grafana/dashboard.json": writeDashboard,
  "contrib/prometheus/alerts.yaml": writeAlerts,
};

if (import.meta.main) {
  for (const [path, write] of Object.entries(FILES)) await Deno.writeTextFile(`${import.meta.dirname}/../../${path}`, write());
}
