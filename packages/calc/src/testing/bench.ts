import { Calc, type Update } from "../calc.ts";
import { endpoint, NAMESPACES, namespace, policy } from "./large-cluster.ts";

/**
 * How long calc takes for a change. Not a test: prints one JSON line, in milliseconds of CPU time, which other programs
 * on the machine blur less than wall time.
 *
 *     node --expose-gc --conditions=margay-source packages/calc/src/testing/bench.ts [endpoints] [policies] [local]
 */
const [endpoints = 10_000, policies = 1000, local = 100] = process.argv.slice(2).map(Number);

/** CPU time of `act` in milliseconds, each run's share. */
function cpuMs(runs: number, act: (run: number) => void): number {
  const before = process.cpuUsage();
  for (let run = 0; run < runs; run++) act(run);
  const { user, system } = process.cpuUsage(before);
  return Math.round((user + system) / runs) / 1000;
}

const calc = new Calc("n1");
const every = Math.floor(endpoints / local);
const nodeOf = (i: number): string => (i % every === 0 ? "n1" : "n2");
const fullSyncMs = cpuMs(1, () => {
  for (let i = 0; i < NAMESPACES; i++) calc.apply([namespace(i)]);
  for (let i = 0; i < policies; i++) calc.apply([policy(i)]);
  for (let i = 0; i < endpoints; i++) calc.apply([endpoint(i, nodeOf(i))]);
  calc.state();
});
globalThis.gc?.();
const heapMB = process.memoryUsage().heapUsed >> 20;
const changed = (update: Update): void => {
  calc.apply([update]);
  calc.state();
};
const remoteEndpointMs = cpuMs(200, (run) => changed(endpoint(endpoints + run, "n2")));
/** Like those that are here: its policies are in use already. */
const localEndpointMs = cpuMs(50, (run) => changed(endpoint(every * (local + 1 + run), "n1")));
const policyMs = cpuMs(50, (run) => changed(policy((run * every) % policies, run)));
const before = members();
const runs = 10;
/** The first here of its kind: its policies need a set that nobody needed before. */
const firstOfItsKindMs = cpuMs(runs, (run) => changed(endpoint(endpoints + 1001 + run, "n1")));
const state = calc.state();
const size = { endpoints, policies, local: state.endpoints.length, active: state.policies.size };
const kind = { members: members(), firstOfItsKindMs, itsMembers: Math.round((members() - before) / runs) };
const rssMB = process.memoryUsage.rss() >> 20;
process.stdout.write(
  `${JSON.stringify({ ...size, ...kind, fullSyncMs, remoteEndpointMs, localEndpointMs, policyMs, heapMB, rssMB })}\n`,
);

function members(): number {
  const all = [...calc.state().sets.values()];
  return all.reduce((sum, { members: its }) => sum + its[4].size + its[6].size, 0);
}
