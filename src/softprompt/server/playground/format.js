// Numbers as text.

const integerFormat = new Intl.NumberFormat("en");

/** 1,204 tokens; 1 token. */
export function pluralize(count, noun) {
  return `${integerFormat.format(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** 31 ms, 1.2 s. */
export function formatDuration(seconds) {
  if (seconds < 0.0095) return `${(1000 * seconds).toFixed(1)} ms`;
  return seconds < 0.9995 ? `${Math.round(1000 * seconds)} ms` : `${seconds.toFixed(seconds < 9.95 ? 1 : 0)} s`;
}

/** 93.1%. */
export function formatPercent(share) {
  return `${(100 * share).toFixed(1)}%`;
}

/** A measured number with three significant digits. */
export function formatNumber(number) {
  return Number.isInteger(number) ? integerFormat.format(number) : String(Number(number.toPrecision(3)));
}
