import type { AnyResource } from "@margay/api";
import { Calc, type Update } from "../calc.ts";

/**
 * How long calc takes for a change. Not a test: prints one JSON line, in milliseconds of CPU time, which other programs
 * on the machine blur less than wall time.
 *
 *     node --expose-gc --conditions=margay-source packages/calc/src/testing/bench.ts [endpoints] [policies] [local]
 */
const [endpoints = 10_000, policies = 1000, local = 100] = process.argv.slice(2).map(Number);
const NAMESPACES = 200;
const namespaceOf = (i: number): string => `ns${i % NAMESPACES}`;

/** Made by hand: api's validation of 250,000 resources is not what is measured. */
const put = (plural: string, kind: string, { namespace, name, labels, spec }: Made): Update => {
  const metadata = { name, labels: labels ?? {}, ...(namespace !== undefined && { namespace }) };
  const value = { apiVersion: "margay.dev/v1", kind, metadata, spec } as unknown as AnyResource;
  return { key: `/margay/v1/${plural}/${namespace === undefined ? "" : `${namespace}/`}${name}`, value };
};

interface Made {
  readonly namespace?: string;
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly spec: object;
}

const endpoint = (i: number, node: string): Update =>
  put("workloadendpoints", "WorkloadEndpoint", {
    namespace: namespaceOf(i),
    name: `p${i}`,
    labels: { app: `app${i % 500}`, tier: `t${i % 10}`, "pod-name": `p${i}` },
    spec: {
      ...{ orchestrator: "k8s", endpoint: "eth0", node, pod: `p${i}`, interfaceName: `cali${i}` },
      ipNetworks: [
        `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}/32`,
        `fd00::${i
          .toString(16)
          .padStart(5, "1")
          .replace(/(?=....$)/, ":")}/128`,
      ],
      profiles: [`kns.${namespaceOf(i)}`],
    },
  });

const policy = (i: number, order = 1000): Update =>
  put("networkpolicies", "NetworkPolicy", {
    namespace: namespaceOf(i),
    name: `k${i}`,
    spec: {
      ...{ tier: "default", order, types: ["Ingress"] },
      selector: `projectcalico.org/orchestrator == 'k8s' && app == 'app${i % 500}'`,
      ingress: [
        {
          ...{ action: "Allow", protocol: "TCP", destination: { ports: [80 + (i % 50)] } },
          source: { selector: `tier == 't${i % 10}'`, namespaceSelector: `team == 'x${i % 20}'` },
        },
      ],
    },
  });

const namespace = (i: number): Update =>
  put("profiles", "Profile", {
    name: `kns.${namespaceOf(i)}`,
    spec: {
      ingress: [{ action: "Allow" }],
      egress: [{ action: "Allow" }],
      labelsToApply: { "pcns.team": `x${i % 20}` },
    },
  });

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
