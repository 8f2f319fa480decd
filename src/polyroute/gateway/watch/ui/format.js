// Numbers as people read them.

export function usd(value) {
  if (value === null || value === undefined) return "unknown";
  const amount = Number(value);
  if (amount === 0) return "$0";
  const sign = amount < 0 ? "−" : "";
  const size = Math.abs(amount);
  if (size >= 1) return `${sign}$${size.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
  const digits = Math.min(10, 1 - Math.floor(Math.log10(size)));
  return `${sign}$${size.toFixed(Math.max(2, digits))}`;
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.0995) return `${Math.max(0, value * 1000).toFixed(value < 0.00095 ? 1 : 0)} ms`;
  if (value < 60) return `${value.toFixed(value < 9.95 ? 2 : 1)} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

export function percent(value) {
  if (value === null || value === undefined) return "–";
  return `${(100 * value).toFixed(value > 0.1 || value === 0 ? 0 : 1)} %`;
}

export const count = (value) => Number(value).toLocaleString("en");

const short = (value) => (value >= 1e6 ? `${(value / 1e6).toFixed(1)} M` : value >= 1e4 ? `${Math.round(value / 1e3)} k` : count(value));
export const tokens = (value) => (value === null || value === undefined ? "–" : short(value));

export const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");
export const hour = (at) => new Date(at * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });

export function ago(at, now = Date.now() / 1000) {
  const gone = Math.max(0, now - at);
  if (gone < 60) return `${Math.round(gone)} s ago`;
  if (gone < 3600) return `${Math.round(gone / 60)} min ago`;
  return `${Math.round(gone / 3600)} h ago`;
}

export const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;
