import { parseArgs } from "node:util";
import { labUp, withoutLab } from "./lab.ts";
import { writePlots } from "./plot.ts";
import { kept, type Result, table } from "./result.ts";

const HELP = `npm run bench -- [NAME...] [--quick] [--plot]

Measures Margay in a lab of one or two nodes on this machine, beside the reference CNI plugins; and IPAM with a thousand simulated
nodes on one etcd. Standard output: one JSON line for each result, then (on a terminal, or with --table) a table. Progress
goes to standard error.

  NAME          a benchmark, or all whose names begin so: bgp is bgp-ingest, bgp-overlap and so on
  --only NAME   the same; may be repeated
  --quick       fewer samples
  --plot        policy-scale's and throughput's curves into docs/guide
  --table       the table also when standard output is no terminal
`;

/** A node alone, as on a machine of its own: what other nodes do of a pod is their machines' work. */
const ALONE = ["--nodes", "1"];
const TWO = ["--nodes", "2"];

/**
 * Benchmarks by the lab they need: blocks of one address make every ADD claim one, and so announce a route; what leaves a
 * thousand policies or pods behind has a lab of its own. Without flags: none, an etcd is enough.
 */
const GROUPS: readonly Pick<Group, "flags" | "names">[] = [
  { flags: ALONE, names: ["pod-add-sequential", "pod-add-100-at-once"] },
  { flags: TWO, names: ["policy-to-enforced", "footprint-100-pods", "throughput"] },
  { flags: [...TWO, "--block-size", "32"], names: ["add-to-remote-route"] },
  { flags: TWO, names: ["policy-churn"] },
  { flags: TWO, names: ["pods-1500"] },
  { flags: TWO, names: ["kubernetes-latency"] },
  { flags: ALONE, names: ["kubernetes-pods"] },
  { names: ["ipam-1000-nodes", "controllers-scale", "policy-scale", "calc-scale"] },
  {
    names: [
      "bgp-ingest",
      "bgp-overlap",
      "bgp-reflect",
      "bgp-mesh",
      "bgp-restart",
      "bgp-churn",
      "bgp-flap",
      "bgp-join",
      "bgp-kernel",
    ],
  },
];

/** @returns the exit code: 1 if a benchmark could not be run. A missed target is no failure: figures are not tests. */
async function main(argv: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: {
      only: { type: "string", multiple: true },
      quick: { type: "boolean", default: false },
      table: { type: "boolean", default: process.stdout.isTTY },
      plot: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  const { quick } = values;
  const wanted = [...(values.only ?? []), ...positionals];
  const all = GROUPS.flatMap(({ names }) => names);
  const unknown = wanted.filter((word) => !all.some((name) => isNamed(name, word)));
  if (values.help || unknown.length > 0) {
    process.stderr.write(
      unknown.length > 0 ? `no benchmark ${unknown.join(", ")}; there are ${all.join(", ")}\n` : HELP,
    );
    return values.help ? 0 : 1;
  }
  const results: Result[] = [];
  const failed: string[] = [];
  for (const { flags, names } of GROUPS) {
    const chosen = names.filter((name) => wanted.length === 0 || wanted.some((word) => isNamed(name, word)));
    if (chosen.length > 0) await measure({ flags, names: chosen, quick }, results, failed);
  }
  if (values.table && results.length > 0) process.stdout.write(`\n${table(results)}\n`);
  if (values.plot) writePlots(results);
  const missed = results.filter((result) => kept(result) === false).length;
  process.stderr.write(
    `${results.length} results, ${missed} targets missed, ${failed.length} benchmarks failed\n`,
  );
  return failed.length > 0 ? 1 : 0;
}

const isNamed = (name: string, word: string): boolean => name === word || name.startsWith(`${word}-`);

interface Group {
  readonly flags?: readonly string[] | undefined;
  readonly names: readonly string[];
  readonly quick: boolean;
}

async function measure({ flags, names, quick }: Group, results: Result[], failed: string[]): Promise<void> {
  const lab = flags ? await labUp(flags) : withoutLab;
  try {
    for (const name of names) {
      process.stderr.write(`${name}\n`);
      const lines = await lab.bench(name, quick).catch((error: Error) => {
        process.stderr.write(`${name}: ${error.message}\n`);
        failed.push(name);
        return [];
      });
      for (const line of lines) {
        process.stdout.write(`${line}\n`);
        results.push(JSON.parse(line) as Result);
      }
    }
  } finally {
    await lab.end();
  }
}

process.exitCode = await main(process.argv.slice(2));
