/** Figures in few cells: counts, bytes, times. Pure. */

const UNITS = ["", "k", "M", "G", "T", "P"] as const;

/** What stands for an unknown figure. */
export const NOTHING = "-";

/** A count in at most 5 cells: `9999`, `12.3k`, `123k`, `1.2M`. */
export function countText(count: number): string {
  return count < 10_000 ? String(Math.round(count)) : scaled(count);
}

/** Bytes in at most 5 cells: `0`, `999`, `1.2k`, `34M`. */
export function bytesText(bytes: number): string {
  return bytes < 1000 ? String(Math.round(bytes)) : scaled(bytes);
}

/** A rate per second in at most 5 cells: a fraction only where it is less than 10. */
export function rateText(rate: number): string {
  return rate > 0 && rate < 10 && !Number.isInteger(rate) ? rate.toFixed(1) : countText(rate);
}

function scaled(value: number): string {
  let [rest, unit] = [value, 0];
  while (rest >= 999.5 && unit < UNITS.length - 1) {
    rest /= 1000;
    unit += 1;
  }
  return `${rest < 99.95 ? rest.toFixed(1) : Math.round(rest)}${UNITS[unit]}`;
}

/** Milliseconds in at most 5 cells: `0.4`, `12`, `1500`. */
export function msText(ms: number): string {
  return ms < 9.95 ? ms.toFixed(1) : countText(ms);
}

/** A time that has passed, in at most 6 cells: `42s`, `5m`, `3h12m`, `2d4h`, `123d`. */
export function ageText(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [minutes, hours, days] = [Math.floor(seconds / 60), Math.floor(seconds / 3600), Math.floor(seconds / 86_400)];
  if (minutes === 0) return `${seconds}s`;
  if (hours === 0) return `${minutes}m`;
  if (days === 0) return `${hours}h${minutes % 60}m`;
  return days < 10 ? `${days}d${hours % 24}h` : `${days}d`;
}

/** The time of day in UTC; with its date where that is not the one of `nowMs`. */
export function clockText(ms: number, nowMs: number): string {
  const [iso, now] = [ms, nowMs].map((time) => new Date(time).toISOString());
  return iso.slice(0, 10) === now.slice(0, 10) ? iso.slice(11, 19) : `${iso.slice(0, 10)} ${iso.slice(11, 16)}`;
}
