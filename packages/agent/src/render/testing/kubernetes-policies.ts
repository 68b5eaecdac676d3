/** What the types of k8s.io/api networking/v1 (v0.34) and network-policy-api v1alpha2 (v0.2) say, each with a document and who may then talk. */
export interface Row {
  readonly documents: readonly object[];
  /** FelixConfiguration. */
  readonly settings?: object;
  /** `b > a tcp 80`, in both families; with `v4` or `v6`, in one. */
  readonly allowed: readonly string[];
  readonly denied: readonly string[];
}

const policy = (spec: object, name = "p", namespace = "x") => ({
  ...{ apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata: { name, namespace }, spec },
});
const DB = { podSelector: { matchLabels: { role: "db" } } };
const from = (...peers: object[]) => policy({ ...DB, ingress: [{ from: peers }] });
const ports = (...all: object[]) => policy({ ...DB, ingress: [{ ports: all }] });
const egress = (...rules: object[]) => policy({ ...DB, policyTypes: ["Egress"], egress: rules });
const block = (cidr: string, ...except: string[]) => ({
  ipBlock: { cidr, ...(except.length > 0 && { except }) },
});
const where = (key: string, operator: string, ...values: string[]) => ({
  podSelector: { matchExpressions: [{ key, operator, ...(values.length > 0 && { values }) }] },
  namespaceSelector: {},
});

const B = "b > a tcp 80";
const C = "c > a tcp 80";
const OUT = "far > a tcp 80";
const EVERYBODY = [B, C, OUT, "far2 > a tcp 80"];
const OUTWARD = ["a > b tcp 80", "a > c tcp 80", "a > far tcp 80"];

export const NETWORK_POLICIES: Readonly<Record<string, Row>> = {
  "no policy selects the pod: all is allowed, its own node as well": {
    documents: [policy({ podSelector: {} }, "p", "z")],
    settings: { defaultEndpointToHostAction: "Accept" },
    allowed: [
      ...EVERYBODY,
      ...OUTWARD,
      "b > a udp 81",
      "c > a2 tcp 80",
      "a > node tcp 80",
      "node > a tcp 80",
    ],
    denied: [],
  },
  "spec: {}: podSelector defaults to an empty one, which is all pods of the namespace; ingress alone": {
    documents: [policy({})],
    allowed: [...OUTWARD.slice(1), "a > c tcp 80", "b > c udp 80", "node > a tcp 80", "node > a2 tcp 80"],
    denied: [...EVERYBODY, "a > b tcp 80", "c > a2 tcp 80", "far > a2 udp 81", "c > b udp 81"],
  },
  "ingress: []: nothing is allowed, but from the pod's local node": {
    documents: [policy({ ...DB, ingress: [] })],
    allowed: ["node > a tcp 80", "node > a udp 81", "node > a2 tcp 80", ...OUTWARD, "c > b tcp 80"],
    denied: EVERYBODY,
  },
  "ingress: [{}]: all is allowed, to every address of the pod": {
    documents: [policy({ ...DB, ingress: [{}] })],
    allowed: [...EVERYBODY, "c > a2 tcp 80", "far > a2 udp 8080"],
    denied: [],
  },
  "from: [] and ports: [] are as if they were missing": {
    documents: [policy({ ...DB, ingress: [{ from: [], ports: [] }] })],
    allowed: [...EVERYBODY, "b > a udp 81"],
    denied: [],
  },
  "policies add up": {
    documents: [
      policy({ ...DB, ingress: [] }, "none"),
      policy({ ...DB, ingress: [{ ports: [{ port: 80 }] }] }, "port"),
      policy({ ...DB, ingress: [{ from: [{ namespaceSelector: {} }] }] }, "pods"),
    ],
    allowed: [...EVERYBODY, "c > a tcp 81", "b > a udp 80"],
    denied: ["far > a tcp 81", "far > a udp 80"],
  },
  "rules of a policy add up, peers and ports of a rule must both match": {
    documents: [
      policy({
        ...DB,
        ingress: [
          { from: [{ podSelector: {} }], ports: [{ port: 80 }] },
          { from: [block("192.0.2.2/32"), block("fd00:2::2/128")], ports: [{ port: 81, protocol: "UDP" }] },
        ],
      }),
    ],
    allowed: [B, "far > a udp 81"],
    denied: ["b > a tcp 81", "b > a udp 81", C, OUT, "far2 > a udp 81"],
  },
  "policyTypes missing, egress alone: both directions are isolated": {
    documents: [policy({ ...DB, egress: [{ to: [{ podSelector: {} }] }] })],
    allowed: ["a > b tcp 80", "node > a tcp 80"],
    denied: [...EVERYBODY, "a > c tcp 80", "a > far tcp 80"],
  },
  "policyTypes missing, egress: []: as the API server defaults it, ingress alone": {
    documents: [policy({ ...DB, egress: [] })],
    allowed: OUTWARD,
    denied: EVERYBODY,
  },
  "policyTypes: [Egress], ingress rules beside it: they say nothing": {
    documents: [policy({ ...DB, policyTypes: ["Egress"], ingress: [{ ports: [{ port: 8080 }] }] })],
    allowed: EVERYBODY,
    denied: OUTWARD,
  },
  "policyTypes: [Ingress], egress rules beside it: they say nothing": {
    documents: [policy({ ...DB, policyTypes: ["Ingress"], egress: [{ ports: [{ port: 8080 }] }] })],
    allowed: OUTWARD,
    denied: EVERYBODY,
  },
  "policyTypes: [Ingress, Egress] without sections: nothing in or out, and nothing else is isolated": {
    documents: [policy({ ...DB, policyTypes: ["Ingress", "Egress"] })],
    allowed: ["b > c tcp 80", "far > b tcp 80", "node > a tcp 80"],
    denied: [...EVERYBODY, ...OUTWARD, "a > far udp 81"],
  },
  "policyTypes: [], and the same one twice": {
    documents: [
      policy({ ...DB, policyTypes: [] }, "none"),
      policy({ podSelector: { matchLabels: { role: "frontend" } }, policyTypes: ["Egress", "Egress"] }),
    ],
    allowed: ["a > far tcp 80", "c > b tcp 80"],
    denied: [...EVERYBODY, "b > far tcp 80"],
  },
  "podSelector: pods of the policy's own namespace": {
    documents: [from({ podSelector: { matchLabels: { role: "frontend" } } })],
    allowed: [B],
    denied: [C, OUT],
  },
  "namespaceSelector: {}: every pod of every namespace, and nobody else": {
    documents: [from({ namespaceSelector: {} })],
    allowed: [B, C],
    denied: [OUT],
  },
  "namespaceSelector by label: all pods there": {
    documents: [from({ namespaceSelector: { matchLabels: { team: "two" } } })],
    allowed: [C],
    denied: [B, OUT],
  },
  "namespaceSelector by the name that each namespace bears": {
    documents: [from({ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "y" } } })],
    allowed: [C],
    denied: [B],
  },
  "both in one peer: and; labels of a pod are none of its namespace": {
    documents: [
      from(
        {
          namespaceSelector: { matchLabels: { team: "two" } },
          podSelector: { matchLabels: { level: "gold" } },
        },
        { namespaceSelector: { matchLabels: { role: "frontend" } } },
        { podSelector: { matchLabels: { team: "one" } } },
      ),
    ],
    allowed: [C],
    denied: [B, OUT],
  },
  "in two peers: or": {
    documents: [
      from({ namespaceSelector: { matchLabels: { team: "two" } } }, { podSelector: { matchLabels: {} } }),
    ],
    allowed: [B, C],
    denied: [OUT],
  },
  "In, and a selector that nobody meets": {
    documents: [
      from(where("level", "In", "gold", "silver"), { podSelector: { matchLabels: { no: "one" } } }),
    ],
    allowed: [C],
    denied: [B, OUT],
  },
  "NotIn: also those without the label, and nobody outside": {
    documents: [from(where("level", "NotIn", "gold", "silver"))],
    allowed: [B],
    denied: [C, OUT],
  },
  "Exists, of a label without a value too": {
    documents: [
      policy({
        podSelector: { matchLabels: { level: "" } },
        ingress: [{ from: [where("level", "Exists")] }],
      }),
    ],
    allowed: [C, "c > b tcp 80"],
    denied: [B, OUT],
  },
  DoesNotExist: {
    documents: [from(where("level", "DoesNotExist"))],
    allowed: [B],
    denied: [C, OUT],
  },
  "ipBlock, written with bits of a host; its exceptions": {
    documents: [from(block("192.0.2.77/24", "192.0.2.128/25"), block("fd00:2::1/64", "fd00:2::80/121"))],
    allowed: [OUT],
    denied: ["far2 > a tcp 80", B],
  },
  "ipBlock with leading zeros, as Kubernetes reads them: decimal": {
    documents: [from(block("192.000.002.000/024", "192.000.002.0128/25"))],
    allowed: ["far > a tcp 80 v4"],
    denied: ["far2 > a tcp 80", "far > a tcp 80 v6", B],
  },
  "ipBlock of one family opens nothing of the other": {
    documents: [from(block("0.0.0.0/0"))],
    allowed: EVERYBODY.map((flow) => `${flow} v4`),
    denied: EVERYBODY.map((flow) => `${flow} v6`),
  },
  "... nor the other way round": {
    documents: [from(block("::/0", "fd00:2::c8/128"))],
    allowed: [B, C, OUT].map((flow) => `${flow} v6`),
    denied: [...EVERYBODY.map((flow) => `${flow} v4`), "far2 > a tcp 80 v6"],
  },
  "exceptions that are all of the block": {
    documents: [from(block("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"), block("::/0", "::/1", "8000::/1"))],
    allowed: ["node > a tcp 80"],
    denied: EVERYBODY,
  },
  "an exception of one peer is none of another": {
    documents: [from(block("192.0.2.0/24", "192.0.2.200/32", "192.0.2.200/32"), block("192.0.2.200/32"))],
    allowed: ["far > a tcp 80 v4", "far2 > a tcp 80 v4"],
    denied: [B],
  },
  "ipBlock with the pods' addresses means pods": {
    documents: [from(block("10.244.0.0/24", "10.244.0.2/32"), block("fd00::/64", "fd00::2/128"))],
    allowed: [C],
    denied: [B, OUT],
  },
  "ports: TCP unless it says otherwise": {
    documents: [ports({ port: 80 })],
    allowed: EVERYBODY,
    denied: ["b > a udp 80", "b > a tcp 81"],
  },
  "a port without a number: all of its protocol; without anything: all of TCP": {
    documents: [ports({ protocol: "UDP" })],
    allowed: ["b > a udp 80", "far > a udp 8080"],
    denied: EVERYBODY,
  },
  "... without anything: all of TCP": {
    documents: [ports({})],
    allowed: [...EVERYBODY, "far > a tcp 8080"],
    denied: ["b > a udp 80"],
  },
  "endPort: both ends are in it, and may be one": {
    documents: [ports({ port: 80, endPort: 81 }, { port: 8080, endPort: 8080, protocol: "UDP" })],
    allowed: [B, "c > a tcp 81", "far > a udp 8080"],
    denied: ["b > a tcp 8080", "b > a udp 80"],
  },
  "a named port is the pod's that receives": {
    documents: [policy({ podSelector: {}, ingress: [{ ports: [{ port: "web" }] }] })],
    allowed: ["c > a tcp 8080", "far > b tcp 80", "c > a2 tcp 8080"],
    denied: ["c > a tcp 80", "far > b tcp 8080", "c > a udp 8080", "far > b udp 80"],
  },
  "a named port of the other protocol, and one that no pod has": {
    documents: [
      policy({
        podSelector: {},
        ingress: [{ ports: [{ port: "web", protocol: "UDP" }, { port: "dns" }, { port: "nobodys" }] }],
      }),
    ],
    allowed: ["node > a tcp 8080"],
    denied: ["c > a tcp 8080", "c > a udp 8080", "c > b tcp 81", "c > b udp 81", "far > b tcp 80"],
  },
  "a named port, a number and a range together": {
    documents: [
      policy({
        podSelector: { matchLabels: { role: "frontend" } },
        ingress: [{ ports: [{ port: "dns", protocol: "UDP" }, { port: 8080, endPort: 8090 }, { port: 80 }] }],
      }),
    ],
    allowed: ["c > b udp 81", "far > b tcp 8080", "a > b tcp 80"],
    denied: ["c > b udp 80", "c > b tcp 81"],
  },
  "more ports than one rule of the kernel holds": {
    documents: [
      ports(
        ...Array.from({ length: 70 }, (_, i) => ({ port: 1000 + 2 * i })),
        { port: 81, protocol: "UDP" },
        { port: 8080 },
      ),
    ],
    allowed: ["far > a tcp 8080", "b > a udp 81"],
    denied: [...EVERYBODY, "b > a udp 8080"],
  },
  "egress: [] closes, answers to what came in pass": {
    documents: [egress()],
    allowed: EVERYBODY,
    denied: OUTWARD,
  },
  "egress: [{}] opens": { documents: [egress({})], allowed: OUTWARD, denied: [] },
  "egress to pods and to blocks, with ports": {
    documents: [
      egress(
        { to: [{ namespaceSelector: { matchLabels: { team: "two" } } }], ports: [{ port: 80 }] },
        { to: [block("192.0.2.0/24", "192.0.2.200/32")] },
      ),
    ],
    allowed: ["a > c tcp 80", "a > far udp 81 v4"],
    denied: ["a > c tcp 81", "a > c udp 80", "a > far2 tcp 80", "a > far tcp 80 v6", "a > b tcp 80"],
  },
  "egress to a named port: what each destination calls so": {
    documents: [egress({ to: [{ namespaceSelector: {} }], ports: [{ port: "web" }] })],
    allowed: ["a > b tcp 80", "a > c tcp 81"],
    denied: ["a > b tcp 81", "a > c tcp 80", "a > far tcp 80", "a > far tcp 8080"],
  },
  "egress to a named port of anybody": {
    documents: [egress({ ports: [{ port: "web" }, { port: "dns", protocol: "UDP" }] })],
    allowed: ["a > b tcp 80", "a > c tcp 81", "a > b udp 81"],
    denied: ["a > b tcp 81", "a > c udp 81", "a > far tcp 80", "a > far udp 81"],
  },
  "egress to a named port within a block: the pods there, and nobody who has no such name": {
    documents: [
      egress({
        to: [block("10.244.0.0/24", "10.244.0.3/32"), block("192.0.2.0/24")],
        ports: [{ port: "web" }],
      }),
    ],
    allowed: ["a > b tcp 80 v4"],
    denied: ["a > b tcp 80 v6", "a > c tcp 81", "a > far tcp 80", "a > far tcp 81"],
  },
  "what is allowed in must be allowed out on the other side": {
    documents: [
      policy({ ...DB, ingress: [{}] }),
      policy({ podSelector: { matchLabels: { role: "frontend" } }, policyTypes: ["Egress"] }, "out"),
    ],
    allowed: [C, OUT],
    denied: [B],
  },
  "an exception outside its block is refused: closed, while others still allow": {
    documents: [
      policy({ ...DB, ingress: [{ from: [block("10.244.0.0/24", "192.0.2.0/24")] }] }, "bad"),
      policy({ ...DB, ingress: [{ from: [{ podSelector: {} }] }] }, "good"),
    ],
    allowed: [B, "node > a tcp 80", "c > b tcp 80"],
    denied: [C, OUT, ...OUTWARD],
  },
  ...Object.fromEntries(
    [
      ["endPort without port", { endPort: 90 }],
      ["endPort below port", { port: 90, endPort: 80 }],
      ["endPort beside a name", { port: "web", endPort: 90 }],
    ].map(([why, port]) => [
      `${why} is refused: closed`,
      { documents: [ports(port as object)], allowed: ["c > b tcp 80"], denied: [...EVERYBODY, ...OUTWARD] },
    ]),
  ),
};

const cluster = (spec: object, name = "c") => ({
  ...{ apiVersion: "policy.networking.k8s.io/v1alpha2", kind: "ClusterNetworkPolicy", metadata: { name } },
  spec: { tier: "Admin", priority: 10, subject: { pods: { podSelector: DB.podSelector } }, ...spec },
});
const pods = { namespaces: {} };
const nobody = policy({ ...DB, policyTypes: ["Ingress", "Egress"] });
const everybody = policy({ ...DB, policyTypes: ["Ingress", "Egress"], ingress: [{}], egress: [{}] });
const y = { namespaces: { matchLabels: { team: "two" } } };
const ANY = { networks: ["0.0.0.0/0", "::/0"] };

export const CLUSTER_POLICIES: Readonly<Record<string, Row>> = {
  "Admin: Accept and Deny are final, before NetworkPolicy": {
    documents: [
      cluster({ ingress: [{ action: "Accept", from: [y] }], egress: [{ action: "Deny", to: [y] }] }),
      policy({ ...DB, policyTypes: ["Ingress", "Egress"], egress: [{}] }),
    ],
    allowed: [C, "a > b tcp 80", "a > far tcp 80"],
    denied: [B, OUT, "a > c tcp 80"],
  },
  "Admin: what no rule of it matches goes on to NetworkPolicy": {
    documents: [cluster({ ingress: [{ action: "Deny", from: [y] }] }), everybody],
    allowed: [B, OUT, ...OUTWARD],
    denied: [C],
  },
  "Pass: the rest of the tier is skipped, NetworkPolicy decides": {
    documents: [
      cluster({ priority: 1, ingress: [{ action: "Pass", from: [y] }] }),
      cluster({ priority: 2, ingress: [{ action: "Deny", from: [pods] }] }, "d"),
      policy({ ...DB, ingress: [{ ports: [{ port: 80 }] }] }),
    ],
    allowed: [C, OUT],
    denied: [B, "c > a tcp 81"],
  },
  "a lower priority value goes first, 0 to 1000; within a policy the order of rules": {
    documents: [
      cluster({ priority: 1000, ingress: [{ action: "Deny", from: [pods] }] }, "a-last"),
      cluster(
        {
          priority: 0,
          ingress: [
            { action: "Accept", from: [y], protocols: [{ tcp: { destinationPort: { number: 80 } } }] },
          ],
        },
        "z-first",
      ),
      cluster(
        {
          ingress: [
            { action: "Accept", from: [pods], protocols: [{ udp: { destinationPort: { number: 81 } } }] },
            { action: "Deny", from: [pods], protocols: [{ udp: {} }] },
          ],
        },
        "m-between",
      ),
    ],
    allowed: [C, OUT, "b > a udp 81", "far > a udp 80"],
    denied: [B, "c > a tcp 81", "b > a udp 80"],
  },
  "Baseline: for pods that no NetworkPolicy selects, after all others": {
    documents: [cluster({ tier: "Baseline", ingress: [{ action: "Deny", from: [pods] }] })],
    allowed: [OUT, ...OUTWARD, "node > a tcp 80"],
    denied: [B, C],
  },
  "Baseline: a NetworkPolicy decides in its place": {
    documents: [
      cluster({
        tier: "Baseline",
        ingress: [{ action: "Deny", from: [pods] }],
        egress: [{ action: "Deny", to: [pods] }],
      }),
      policy({ ...DB, ingress: [{ from: [{ podSelector: {} }] }] }),
    ],
    allowed: [B, "a > far tcp 80"],
    denied: [C, OUT, "a > b tcp 80"],
  },
  "Baseline Accept does not open what NetworkPolicy closed": {
    documents: [cluster({ tier: "Baseline", ingress: [{ action: "Accept", from: [pods] }] }), nobody],
    allowed: ["node > a tcp 80"],
    denied: [...EVERYBODY, ...OUTWARD],
  },
  "no rules in a direction: nothing of it is affected": {
    documents: [cluster({ egress: [{ action: "Deny", to: [ANY] }] })],
    allowed: EVERYBODY,
    denied: OUTWARD,
  },
  "networks: of both families, pods within them too; the same one twice": {
    documents: [
      cluster({
        egress: [
          { action: "Pass", to: [y] },
          { action: "Deny", to: [{ networks: ["10.244.0.1/24", "10.244.0.2/24", "fd00:2::/64"] }] },
        ],
      }),
    ],
    allowed: ["a > c tcp 80", "a > far tcp 80 v4", "a > b tcp 80 v6"],
    denied: ["a > b tcp 80 v4", "a > far tcp 80 v6"],
  },
  "nodes: by their labels, all if the selector is empty": {
    documents: [
      cluster({
        egress: [
          {
            action: "Deny",
            to: [{ nodes: { matchLabels: { zone: "one" } } }],
            protocols: [{ tcp: { destinationPort: { number: 80 } } }],
          },
          { action: "Accept", to: [{ nodes: {} }] },
        ],
      }),
      nobody,
    ],
    settings: { defaultEndpointToHostAction: "Accept" },
    allowed: ["a > node tcp 81", "a > node udp 80"],
    denied: ["a > node tcp 80", "a > far tcp 81"],
  },
  "protocols: ranges, named ports of every protocol": {
    documents: [
      cluster({
        ingress: [
          {
            action: "Accept",
            from: [pods],
            protocols: [
              { tcp: { destinationPort: { range: { start: 79, end: 80 } } } },
              { destinationNamedPort: "web" },
              { udp: { destinationPort: { number: 81 } } },
            ],
          },
        ],
      }),
      nobody,
    ],
    allowed: [B, C, "b > a tcp 8080", "c > a udp 81"],
    denied: ["b > a tcp 81", "b > a udp 8080", OUT],
  },
  "egress to a named port: the destination's": {
    documents: [
      cluster({
        egress: [
          {
            action: "Deny",
            to: [pods],
            protocols: [{ destinationNamedPort: "web" }, { destinationNamedPort: "dns" }],
          },
        ],
      }),
    ],
    allowed: ["a > b tcp 81", "a > c tcp 80", "a > far tcp 80"],
    denied: ["a > b tcp 80", "a > c tcp 81", "a > b udp 81"],
  },
  "subject: namespaces": {
    documents: [
      cluster({
        subject: y,
        ingress: [
          {
            action: "Deny",
            from: [{ pods: { namespaceSelector: { matchLabels: { team: "one" } }, podSelector: {} } }],
          },
        ],
      }),
    ],
    allowed: [B, C, "far > c tcp 80"],
    denied: ["a > c tcp 80", "b > c udp 81"],
  },
  "an Accept with a peer of a kind that is not known matches nothing; its other rules stand": {
    documents: [
      cluster({
        ingress: [
          { action: "Accept", from: [{ tenants: {} }, pods] },
          { action: "Accept", from: [y] },
        ],
      }),
      nobody,
    ],
    allowed: [C],
    denied: [B, OUT],
  },
  ...Object.fromEntries(
    ["Deny", "Pass"].map((action) => [
      `a ${action} with a peer of a kind that is not known denies all at its place`,
      {
        documents: [
          cluster({
            ingress: [
              { action: "Accept", from: [y] },
              { action, from: [{ tenants: {} }], protocols: [{ udp: {} }] },
              { action: "Accept", from: [pods] },
            ],
          }),
        ],
        allowed: [C, ...OUTWARD],
        denied: [B, OUT],
      },
    ]),
  ),
};
