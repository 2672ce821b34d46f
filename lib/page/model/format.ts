/** Numbers and times as people read them. Times of day are those of the reader's place. */

const THOUSANDS = /\B(?=(\d{3})+$)/g;

/** `12,345`; a dash where nothing is known. */
export function formatCount(count: number): string {
  return Number.isFinite(count) ? String(Math.round(count)).replace(THOUSANDS, ",") : "–";
}

/** A count in at most five characters: `12,345`, `123k`, `1.2M`. */
export function formatShort(count: number): string {
  if (!Number.isFinite(count)) return "–";
  for (const [size, unit, from] of [[1e9, "G", 1e9], [1e6, "M", 1e6], [1e3, "k", 1e5]] as const) {
    if (count >= from) return `${trimmed(count / size)}${unit}`;
  }
  return formatCount(count);
}

/** Something per second: `84`, `0.4`, `1.2k`. */
export function formatRate(rate: number): string {
  if (!Number.isFinite(rate)) return "–";
  return rate > 0 && rate < 10
    ? rate.toFixed(1).replace(/\.0$/, "")
    : rate < 10_000
    ? formatCount(rate)
    : `${trimmed(rate / 1000)}k`;
}

const BYTE_UNITS = ["B", "kB", "MB", "GB", "TB"];

/** Bytes in units of 1,000: `1.2 MB`. */
export function formatBytes(bytes: number): string {
  if (!Number.isFinite(bytes)) return "–";
  let unit = 0;
  for (; bytes >= 999.5 && unit < BYTE_UNITS.length - 1; unit++) bytes /= 1000;
  return `${unit === 0 ? Math.round(bytes) : trimmed(bytes)} ${BYTE_UNITS[unit]}`;
}

/** Milliseconds: `0.4 ms`, `12 ms`, `1.2 s`. */
export function formatMs(ms: number): string {
  if (!Number.isFinite(ms)) return "–";
  return ms >= 999.5 ? `${trimmed(ms / 1000)} s` : `${ms < 10 ? trimmed(ms) : Math.round(ms)} ms`;
}

/** A part of a whole: `16.7 %`, `< 0.1 %`. */
export function formatPercent(share: number): string {
  if (!Number.isFinite(share)) return "–";
  if (share > 0 && share < 0.001) return "< 0.1 %";
  return `${(100 * share).toFixed(1).replace(/\.0$/, "")} %`;
}

const SPANS: readonly [seconds: number, unit: string][] = [[86_400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

/** How long something lasts, in its largest unit: `3 min`, `2 h`. */
export function formatSpan(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const [size, unit] = SPANS.find(([size]) => whole >= size) ?? [1, "s"];
  return `${Math.floor(whole / size)} ${unit}`;
}

/** The time of day of a second since 1970: `14:02:10`. */
export function formatClock(second: number): string {
  const date = new Date(second * 1000);
  return `${formatMinute(second)}:${two(date.getSeconds())}`;
}

/** The time of day to the minute: `14:02`. */
export function formatMinute(second: number): string {
  const date = new Date(second * 1000);
  return `${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** `1 connection`, `12 connections`. */
export function plural(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${Math.round(count) === 1 ? "" : "s"}`;
}

function two(number: number): string {
  return String(number).padStart(2, "0");
}

function trimmed(number: number): string {
  return number >= 99.95 ? String(Math.round(number)) : number.toFixed(1).replace(/\.0$/, "");
}
