// npm run soak: IPAM under kills, pool changes and node deletions, a million operations, judged from outside.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { scratch } from "@margay/testing";
import { bundled } from "./bundle.ts";
import { runRound } from "./round.ts";

const HELP = `npm run soak -- [--operations N] [--round N] [--every N] [--seed N] [--fresh]

Eight processes assign and release addresses on one real etcd, while they are killed, pools change and nodes are deleted.
Their logs are judged from outside: no address held by two at overlapping times, and every invariant in the end.
Goes in rounds, and without --seed goes on where it was interrupted. Exit code 1 at the first violation; the seed is printed.

  --operations N   how many in all (1000000) that are done; those that fail, for lack of addresses or of etcd, do not count
  --round N        how many with one etcd (50000)
  --every N        how many from one kill or change of pools to the next, on average (200)
  --seed N         of the first round; each next one has the next (random)
  --fresh          begin anew
`;

const WORKER = fileURLToPath(new URL("worker.ts", import.meta.url));
const STATE = fileURLToPath(new URL("../../.cache/soak.json", import.meta.url));

interface State {
  readonly seed: number;
  readonly done: number;
}

const { values } = parseArgs({
  options: {
    operations: { type: "string", default: "1000000" },
    round: { type: "string", default: "50000" },
    every: { type: "string", default: "200" },
    seed: { type: "string" },
    fresh: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(130)); // takes etcd and all with it
if (values.help) process.stderr.write(HELP);
else process.exitCode = await soak(Number(values.operations), Number(values.round));

async function soak(operations: number, round: number): Promise<number> {
  const given = values.seed === undefined ? undefined : Number(values.seed);
  const isNew = values.fresh || given !== undefined || !existsSync(STATE);
  let state: State = isNew
    ? { seed: given ?? Math.floor(Math.random() * 2 ** 31), done: 0 }
    : (JSON.parse(readFileSync(STATE, "utf8")) as State); // our own file
  if (state.done >= operations) state = { seed: state.seed, done: 0 };
  const directory = scratch(tmpdir(), "soak-program");
  process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
  const worker = await bundled(WORKER, directory); // once: all rounds try the same program
  while (state.done < operations) {
    const { seed, done } = state;
    const amount = Math.min(round, operations - done);
    const started = performance.now();
    const say = (text: string) =>
      process.stderr.isTTY &&
      process.stderr.write(`\r\x1b[Kseed ${seed}: ${text}; ${done} of ${operations} before`);
    const { violations, ...counts } = await runRound({
      seed,
      operations: amount,
      every: Number(values.every),
      worker,
      say,
    });
    const seconds = Math.round((performance.now() - started) / 100) / 10;
    process.stdout.write(`${JSON.stringify({ seed, ...counts, seconds, violations: violations.length })}\n`);
    for (const violation of violations.slice(0, 20)) process.stdout.write(`${violation}\n`);
    if (violations.length > 0) return 1;
    state = { seed: seed + 1, done: done + counts.operations };
    if (given === undefined) save(state);
  }
  return 0;
}

/** A run with a seed of its own is one of a kind: it leaves the long one where it was. */
function save(state: State): void {
  mkdirSync(dirname(STATE), { recursive: true });
  writeFileSync(STATE, JSON.stringify(state));
}
