/** Recipes of the Kubernetes documentation on NetworkPolicy, with what each lets through and what not. */
export interface Recipe {
  readonly title: string;
  readonly yaml: string;
  /** "from > to", optionally ":port" or ":port/udp"; asked over IPv4 and IPv6. */
  readonly reached: readonly string[];
  readonly refused: readonly string[];
}

const policy = (name: string, spec: string): string => `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: ${name}, namespace: default }
spec: ${spec}
`;

export const recipes: readonly Recipe[] = [
  {
    title: "deny all ingress traffic",
    yaml: policy("default-deny-ingress", "{ podSelector: {}, policyTypes: [Ingress] }"),
    reached: ["default/web > other/client"],
    refused: ["default/client > default/web", "other/client > default/web"],
  },
  {
    title: "allow all ingress traffic, beside the denial of all",
    yaml:
      policy("default-deny-ingress", "{ podSelector: {}, policyTypes: [Ingress] }") +
      `---\n${policy("allow-all-ingress", "{ podSelector: {}, ingress: [{}], policyTypes: [Ingress] }")}`,
    reached: ["default/client > default/web", "other/client > default/web"],
    refused: [],
  },
  {
    title: "deny all egress traffic",
    yaml: policy("default-deny-egress", "{ podSelector: {}, policyTypes: [Egress] }"),
    reached: ["other/client > default/web"],
    refused: ["default/client > default/web", "default/web > other/client"],
  },
  {
    title: "deny all ingress and all egress",
    yaml: policy("default-deny-all", "{ podSelector: {}, policyTypes: [Ingress, Egress] }"),
    reached: [],
    refused: ["default/client > default/web", "other/client > default/web", "default/web > other/client"],
  },
  {
    title: "the documentation's example: from pods and namespaces by label, on one port",
    yaml: policy(
      "test-network-policy",
      `
  podSelector: { matchLabels: { app: web } }
  policyTypes: [Ingress]
  ingress:
    - from:
        - namespaceSelector: { matchLabels: { project: myproject } }
        - podSelector: { matchLabels: { role: frontend } }
      ports: [{ protocol: TCP, port: 8080 }]`,
    ),
    reached: ["default/client > default/web:8080", "other/client > default/web:8080"],
    refused: ["default/client > default/web", "default/stranger > default/web:8080"],
  },
  {
    title: "a range of ports",
    yaml: policy(
      "multi-port-egress",
      `
  podSelector: { matchLabels: { role: frontend } }
  policyTypes: [Egress]
  egress: [{ to: [{ ipBlock: { cidr: 10.244.0.0/16 } }, { ipBlock: { cidr: "fd00:10:244::/56" } }], ports: [{ protocol: TCP, port: 5000, endPort: 6000 }] }]`,
    ),
    reached: ["default/client > default/web:5000"],
    refused: ["default/client > default/web", "default/client > default/web:8080"],
  },
  {
    title: "a namespace by its name, and by label and pod together",
    yaml: policy(
      "by-name",
      `
  podSelector: { matchLabels: { app: web } }
  policyTypes: [Ingress]
  ingress: [{ from: [{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: other } }, podSelector: { matchLabels: { role: frontend } } }] }]`,
    ),
    reached: ["other/client > default/web"],
    refused: ["default/client > default/web", "other/stranger > default/web"],
  },
  {
    title: "allow all egress traffic, beside the denial of all",
    yaml:
      policy("default-deny-egress", "{ podSelector: {}, policyTypes: [Egress] }") +
      `---\n${policy("allow-all-egress", "{ podSelector: {}, egress: [{}], policyTypes: [Egress] }")}`,
    reached: ["default/client > default/web", "default/web > other/client"],
    refused: [],
  },
  {
    title: "everywhere but a range, and labels by expressions",
    yaml: policy(
      "except",
      `
  podSelector: { matchExpressions: [{ key: app, operator: In, values: [web, db] }] }
  policyTypes: [Ingress]
  ingress:
    - from:
        - ipBlock: { cidr: 0.0.0.0/0, except: [10.244.0.0/16] }
        - ipBlock: { cidr: "::/0", except: ["fd00:10:244::/56"] }
        - podSelector: { matchExpressions: [{ key: role, operator: NotIn, values: [other] }, { key: role, operator: Exists }] }`,
    ),
    reached: ["default/client > default/web"],
    refused: ["default/stranger > default/web", "other/client > default/web"],
  },
  {
    title: "one port of UDP, as for DNS",
    yaml: policy(
      "udp",
      "{ podSelector: { matchLabels: { role: frontend } }, policyTypes: [Egress], egress: [{ ports: [{ protocol: UDP, port: 5000 }] }] }",
    ),
    reached: ["default/client > default/web:5000/udp"],
    refused: ["default/client > default/web:5000", "default/client > default/web:8080/udp"],
  },
];
