import type { BlockUsage, PoolUsage } from "@margay/ipam";
import { contains, formatAddress, offset, type Prefix, parsePrefix, prefixSize } from "@margay/net";
import { sizeOf } from "./ipam-read.ts";
import type { Terminal } from "./terminal.ts";

/** Characters at most; one of a larger pool stands for several blocks. */
const CELLS = 2048;
/** So many a row, or half as many where that is too wide for the least terminal. */
const WIDTH = 64;
const TERMINAL = 80;

/**
 * A pool as a picture: one character for each block (or for each equal part of a pool that has more than 2,048), row by
 * row in order of address. `·` nobody's, then by how full: ░ to a third, ▒ to two thirds, ▓ more, █ full.
 */
export function heatMap(
  { name, cidr, blockSize, blocks, inUse, total }: PoolUsage,
  terminal: Terminal,
): string {
  const pool = parsePrefix(cidr);
  const finest = Math.max(blockSize, ...blocks.map((block) => parsePrefix(block.cidr).length));
  const length = Math.min(finest, pool.length + Math.log2(CELLS));
  const cells = cellsOf(pool, length, blocks);
  const widest = Math.max(...cells.map(({ first }) => first.length));
  const width = widest + 1 + WIDTH > TERMINAL ? WIDTH / 2 : WIDTH;
  const starts = cells.filter((_, i) => i % width === 0);
  const label = Math.max(...starts.map(({ first }) => first.length));
  const rows = starts.map(({ first }, i) => {
    const row = cells.slice(i * width, (i + 1) * width).map((cell) => shade(cell, terminal));
    return `${first.padEnd(label)} ${row.join("")}`;
  });
  const claimed = `${blocks.length} blocks claimed, ${inUse} of ${sizeOf(total)} addresses in use`;
  return [`${name} ${cidr}: ${claimed}`, `each character is a /${length}`, ...rows].join("\n");
}

interface Cell {
  /** Its first address. */
  readonly first: string;
  readonly size: number;
  readonly inUse: number;
}

function cellsOf(pool: Prefix, length: number, blocks: readonly BlockUsage[]): Cell[] {
  const size = prefixSize({ ...pool, length });
  const placed = blocks.map((block) => ({ ...block, prefix: parsePrefix(block.cidr) }));
  return Array.from({ length: 2 ** (length - pool.length) }, (_, i) => {
    const first = offset(pool, BigInt(i) * size);
    const cell = { ...first, length };
    const here = placed.filter(({ prefix }) => contains(cell, prefix) || contains(prefix, cell));
    const sum = (of: (block: BlockUsage) => number) => here.reduce((all, block) => all + of(block), 0);
    return { first: formatAddress(first), size: sum((b) => b.size), inUse: sum((b) => b.inUse) };
  });
}

function shade({ size, inUse }: Cell, { colours }: Terminal): string {
  if (size === 0) return colours.dim("·");
  const part = inUse / size;
  if (part === 1) return colours.red("█");
  if (part > 2 / 3) return colours.yellow("▓");
  return colours.green(part > 1 / 3 ? "▒" : "░");
}
