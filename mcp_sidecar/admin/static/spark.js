// A bar for every slot of a server's last minutes: the mean, behind it the worst, in red where calls failed.

import { drawing } from "/static/dom.js";
import { milliseconds } from "/static/units.js";

const WIDTH = 180;
const HEIGHT = 26;

export class Spark {
  constructor() {
    this.worst = drawing("path", { class: "worst" });
    this.mean = drawing("path", { class: "mean" });
    this.failed = drawing("path", { class: "failed" });
    const base = drawing("path", { class: "base", d: `M0 ${HEIGHT - 0.5}H${WIDTH}` });
    this.svg = drawing(
      "svg",
      { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
      base, this.worst, this.mean, this.failed,
    );
  }

  show({ slots, p50_ms, p95_ms }) {
    const top = Math.max(...slots.worst_ms.map((value) => value ?? 0), 1);
    const step = WIDTH / slots.calls.length;
    const parts = { worst: "", mean: "", failed: "" };
    slots.calls.forEach((calls, index) => {
      if (!calls) return;
      const bar = (value) => {
        const height = Math.max(2, (value / top) * (HEIGHT - 2));
        return `M${(index * step).toFixed(1)} ${HEIGHT}v${(-height).toFixed(1)}h${(step - 0.8).toFixed(1)}V${HEIGHT}z`;
      };
      parts.worst += bar(slots.worst_ms[index]);
      parts[slots.failed[index] ? "failed" : "mean"] += bar(slots.mean_ms[index]);
    });
    for (const [name, path] of Object.entries(parts)) this[name].setAttribute("d", path);
    const seen = p50_ms === null ? "no calls" : `p50 ${milliseconds(p50_ms)}, p95 ${milliseconds(p95_ms)}`;
    this.svg.setAttribute("aria-label", `latency of the last minutes: ${seen}, worst ${milliseconds(Math.max(...slots.worst_ms.map((v) => v ?? 0)))}`);
  }
}
