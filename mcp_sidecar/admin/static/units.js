// Numbers as people read them.

export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 10) return `${value.toFixed(1)} ms`;
  if (value < 1000) return `${Math.round(value)} ms`;
  if (value < 60_000) return `${(value / 1000).toFixed(1)} s`;
  return duration(value / 1000);
}

/** Seconds, in the two units that matter. */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  for (const [length, unit, lesser, name] of [[86400, "d", 3600, "h"], [3600, "h", 60, "m"], [60, "m", 1, "s"]]) {
    if (whole >= length) return `${Math.floor(whole / length)}${unit} ${Math.floor((whole % length) / lesser)}${name}`;
  }
  return `${whole}s`;
}

export const count = (value) => value.toLocaleString("en");

export function clock(seconds) {
  const at = new Date(seconds * 1000);
  const two = (number) => String(number).padStart(2, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

export const now = () => Date.now() / 1000;
