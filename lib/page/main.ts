/** x */
import type { Status } from "./model/contract.ts";
const s: Status | undefined = undefined;
document.title = String(s);
