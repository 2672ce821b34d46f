/** Runs `top`: full screen, or one frame. Loaded when it is needed, because other commands are to start fast. */

import { OperatorError } from "../values/errors.ts";
import type { CommandInput } from "../values/command_line.ts";
import { parseDuration } from "../values/duration.ts";
import type { Style } from "../values/terminal.ts";
import type { CommandContext } from "../control/commands.ts";
import { Feed } from "./feed.ts";
import { composeFrame } from "./frame.ts";
import { ASCII, type Glyphs, isUtf8, UNICODE } from "./glyphs.ts";
import { poolRows } from "./moment.ts";
import { COLOURS, encode, NO_COLOURS, plainText, Screen, type Size } from "./screen.ts";
import { Session } from "./session.ts";
import { requireTerminal, sizeOfTerminal, Terminal } from "./terminal.ts";
import { FIRST_VIEW } from "./view.ts";

const INTERVAL_MIN_MS = 100;
const INTERVAL_MAX_MS = 3_600_000;
const DEFAULT_INTERVAL_MS = 1000;
/** The largest side of a frame: no terminal is larger. */
const SIDE_MAX = 1000;

/** Shows `top` until the person quits; with `--once` returns the frame as text in a style. */
export async function runTop({ options }: CommandInput, context: CommandContext): Promise<(style: Style) => string> {
  const intervalMs = options.interval === undefined
    ? DEFAULT_INTERVAL_MS
    : parseDuration(options.interval, "Interval", INTERVAL_MIN_MS, INTERVAL_MAX_MS);
  const glyphs = glyphsFor(options.ascii !== undefined);
  const isOnce = options.once !== undefined;
  if (options.size !== undefined && !isOnce) {
    throw new OperatorError("usage", "Cannot use --size without --once: a terminal has its own size");
  }
  const size = options.size === undefined ? undefined : parseSize(options.size);
  if (!isOnce) requireTerminal();
  const { client, clientOf } = context;
  const feed = new Feed((service) => service === undefined ? client : clientOf(service), options.service);
  if (isOnce) return await once(feed, glyphs, size ?? sizeOfTerminal());
  const wants = { connections: FIRST_VIEW.connectionSort, connectionsMax: 0 };
  const moment = await feed.read(wants, Date.now()); // a daemon that does not run is told before the screen is taken over
  const interrupted = context.takeInterrupts();
  const screen = new Screen(context.style?.hasColours ? COLOURS : NO_COLOURS);
  using terminal = new Terminal();
  const parts = { feed, clientOf, terminal, screen, glyphs, intervalMs, mayWrite: options.write !== undefined };
  await new Session(parts, moment).run(interrupted);
  return () => "";
}

async function once(feed: Feed, glyphs: Glyphs, size: Size): Promise<(style: Style) => string> {
  const nowMs = Date.now();
  const moment = await feed.read({ connections: FIRST_VIEW.connectionSort, connectionsMax: Infinity }, nowMs);
  const setting = { glyphs, size, nowMs, lost: undefined, mayWrite: false, isLive: false };
  const lines = composeFrame(moment, poolRows(moment, FIRST_VIEW.sort, FIRST_VIEW.filter), FIRST_VIEW, setting);
  return ({ hasColours }) => lines.map((line) => hasColours ? encode(line, COLOURS) : plainText(line)).join("\n");
}

function glyphsFor(isAscii: boolean): Glyphs {
  const [LC_ALL, LC_CTYPE, LANG] = ["LC_ALL", "LC_CTYPE", "LANG"].map((name) => Deno.env.get(name));
  return isAscii || !isUtf8({ LC_ALL, LC_CTYPE, LANG }) ? ASCII : UNICODE;
}

/** A size as in `80x24`. Throws a `usage` error. */
export function parseSize(text: string): Size {
  const [columns, rows] = /^([0-9]{1,4})x([0-9]{1,4})$/.exec(text)?.slice(1).map(Number) ?? [];
  if (columns >= 1 && columns <= SIDE_MAX && rows >= 1 && rows <= SIDE_MAX) return { columns, rows };
  throw new OperatorError("usage", `Size ${JSON.stringify(text)} is not COLUMNSxROWS, each from 1 to ${SIDE_MAX}, such as 80x24`);
}
