import type { AnyResource } from "@margay/api";
import type { Update } from "../calc.ts";

/** Resources of a cluster as large as one likes, for benchmarks. */
export const NAMESPACES = 200;
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

/** The i-th pod, on a node. */
export const endpoint = (i: number, node: string): Update =>
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

/** The i-th policy: one in five hundred is for the same pods, and its peers are of two sets. */
export const policy = (i: number, order = 1000): Update =>
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

/** What stands for the i-th namespace. */
export const namespace = (i: number): Update =>
  put("profiles", "Profile", {
    name: `kns.${namespaceOf(i)}`,
    spec: {
      ingress: [{ action: "Allow" }],
      egress: [{ action: "Allow" }],
      labelsToApply: { "pcns.team": `x${i % 20}` },
    },
  });
