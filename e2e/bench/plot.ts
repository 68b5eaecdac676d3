import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Result } from "./result.ts";

/** What is drawn side by side; subjects read `<curve>, <number> <by>`. */
interface Plot {
  readonly name: string;
  readonly panels: readonly string[];
  readonly by: string;
  readonly caption: string;
}

const PLOTS: readonly Plot[] = [
  {
    name: "policy-scale",
    panels: ["policy-scale: connect", "policy-scale: connections", "policy-scale: throughput"],
    ...{ by: "policies", caption: "number of policies" },
  },
  {
    name: "throughput",
    panels: ["throughput: rate", "throughput: CPU"],
    ...{ by: "B", caption: "bytes of a message" },
  },
];

/** Draws the results that have a plot, for docs/guide/performance.md. */
export function writePlots(results: readonly Result[]): void {
  for (const plot of PLOTS) {
    const curves = plot.panels.map((benchmark) =>
      curvesOf(
        results.filter((result) => result.benchmark === benchmark),
        plot,
      ),
    );
    if (curves.every(({ lines }) => lines.length === 0)) continue;
    const file = fileURLToPath(new URL(`../../docs/guide/${plot.name}.svg`, import.meta.url));
    writeFileSync(file, svg(curves));
    process.stderr.write(`drawn: ${file}\n`);
  }
}

interface Curves {
  readonly title: string;
  /** Label, and points by number of policies. */
  readonly lines: readonly (readonly [label: string, points: readonly Point[]])[];
}

type Point = readonly [x: number, y: number];

function curvesOf(results: readonly Result[], { by, caption }: Plot): Curves {
  const number = new RegExp(`(\\d+) ${by}$`);
  const lines = Map.groupBy(results, ({ subject }) => subject.split(",")[0] ?? "");
  const [first] = results;
  return {
    title: first ? `${first.benchmark.replace(/^.*: /, "")} (p50, ${first.unit}), by ${caption}` : "",
    lines: [...lines].map(([label, its]) => [
      label,
      its.map((result): Point => [Number(number.exec(result.subject)?.[1]), result.p50]),
    ]),
  };
}

const PANEL = { width: 360, height: 240, left: 48, bottom: 36, top: 34, gap: 24 } as const;
const COLOURS = ["#1b7837", "#2166ac", "#b2182b"];

/** Panels side by side: numbers to the right on a logarithmic scale, the measured value up from zero (pure). */
export function svg(panels: readonly Curves[]): string {
  const width = panels.length * (PANEL.width + PANEL.gap);
  const height = PANEL.height + PANEL.top + PANEL.bottom;
  const bodies = panels.map(
    (panel, i) => `<g transform="translate(${i * (PANEL.width + PANEL.gap)},0)">${draw(panel)}</g>`,
  );
  const style = "text{font:12px sans-serif;fill:#333}polyline{fill:none;stroke-width:2}line{stroke:#ccc}";
  const title = panels.map((panel) => panel.title).join("; ");
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}"><title>${title}</title><style>${style}</style>\n<rect width="100%" height="100%" fill="#fff"/>\n${bodies.join("\n")}\n</svg>\n`;
}

function draw({ title, lines }: Curves): string {
  const points = lines.flatMap(([, its]) => its);
  const xs = [...new Set(points.map(([x]) => x))].sort((a, b) => a - b);
  const top = Math.max(1, ...points.map(([, y]) => y)) * 1.1;
  const shown = (value: number) => Math.max(1, value); // none stands at the left end of the logarithmic scale
  const [low, high] = [shown(xs[0] ?? 1), shown(xs.at(-1) ?? 10)];
  const span = Math.log10(high / low) || 1;
  const x = (value: number) =>
    round(PANEL.left + (Math.log10(shown(value) / low) / span) * (PANEL.width - PANEL.left - 12));
  const y = (value: number) => round(PANEL.top + PANEL.height - (value / top) * PANEL.height);
  const grid = [0, 0.25, 0.5, 0.75, 1].map((part) => {
    const value = top * part;
    return `<line x1="${PANEL.left}" x2="${PANEL.width}" y1="${y(value)}" y2="${y(value)}"/><text x="${PANEL.left - 6}" y="${y(value) + 4}" text-anchor="end">${Math.round(value)}</text>`;
  });
  const ticks = xs.map(
    (value) => `<text x="${x(value)}" y="${y(0) + 18}" text-anchor="middle">${value}</text>`,
  );
  const curves = lines.map(([label, its], i) => {
    const at = its.map((point) => `${x(point[0])},${y(point[1])}`).join(" ");
    const colour = COLOURS[i % COLOURS.length];
    return `<polyline points="${at}" stroke="${colour}"/><text x="${PANEL.left + 8}" y="${PANEL.top + 14 + 16 * i}" style="fill:${colour}">${label}</text>`;
  });
  const caption = `<text x="${PANEL.left}" y="18">${title}</text>`;
  return [caption, ...grid, ...ticks, ...curves].join("\n");
}

const round = (value: number): number => Math.round(value * 10) / 10;
