import type { Expectation } from "./matrix.ts";
import type { PodRequest } from "./pods.ts";

/** The demo's story: a shop of three tiers, and somebody from operations in another namespace. */
const CAST = [
  { name: "web-1", namespace: "shop", labels: { app: "web" } },
  { name: "web-2", namespace: "shop", labels: { app: "web" } },
  { name: "api-1", namespace: "shop", labels: { app: "api" } },
  { name: "api-2", namespace: "shop", labels: { app: "api" } },
  { name: "db", namespace: "shop", labels: { app: "db" } },
  { name: "monitor", namespace: "ops", labels: { app: "monitor" } },
] as const;

export const NAMESPACE_LABELS = { shop: { team: "shop" }, ops: { team: "ops" } } as const;

/** The pods over the nodes in turn; more than six are further web pods. Pure. */
export function pods(nodes: readonly string[], count: number): PodRequest[] {
  const more = Array.from({ length: Math.max(0, count - CAST.length) }, (_, index) => ({
    name: `web-${index + 3}`,
    namespace: "shop",
    labels: { app: "web" },
  }));
  const all = [...CAST.slice(0, count), ...more];
  return all.map((pod, index) => ({ ...pod, node: nodes[index % nodes.length] ?? "" }));
}

/** What the demo applies. */
export const POLICY = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: db
  namespace: shop
spec:
  podSelector:
    matchLabels: { app: db }
  policyTypes: [Ingress]
  ingress:
  - from:
    - podSelector:
        matchLabels: { app: api }
    - namespaceSelector:
        matchLabels: { team: ops }
    ports:
    - { protocol: TCP, port: 80 }
`;

/** Without a policy everybody reaches everybody, as Kubernetes has it. */
export const before: Expectation = () => true;

/** With it, the database hears the api pods and operations only. */
export const after: Expectation = (from, to) =>
  to !== "shop/db" || from.startsWith("shop/api-") || from.startsWith("ops/");
