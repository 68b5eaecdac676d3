import { describe, expect, test } from "@jest/globals";
import { ApiError } from "../errors.ts";
import { parseKubernetes } from "./convert.ts";

const policy = (spec: object) => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name: "p", namespace: "shop" },
  spec,
});
const specOf = (spec: object) => parseKubernetes(policy(spec))?.resource.spec;
const POD = 'projectcalico.org/orchestrator == "k8s"';

describe("a large NetworkPolicy is enforced, not refused", () => {
  const many = (count: number) => Array.from({ length: count }, (_, i) => i);
  test("with more exceptions than Calico's rules may have: they stand in one rule, or each would be let through by another", () => {
    const except = many(5000).map((i) => `10.${i >> 8}.${i & 255}.0/24`);
    const { ingress } = specOf({
      podSelector: {},
      ingress: [{ from: [{ ipBlock: { cidr: "10.0.0.0/8", except } }] }],
    }) as { ingress: { source: { notNets: string[] } }[] };
    expect(ingress.map(({ source }) => source.notNets.length)).toEqual([5000]);
  });
  test("with more rules, up to a bound", () => {
    const peers = (count: number) =>
      many(count).map((i) => ({ podSelector: { matchLabels: { app: `a${i}` } } }));
    const rules = (count: number) =>
      (specOf({ podSelector: {}, egress: [{ to: peers(count) }] }) as { egress: object[] }).egress.length;
    expect(rules(8192)).toBe(8192);
    expect(() => rules(8193)).toThrow(ApiError);
  });
  test("what it becomes fits the datastore, or it is refused, hence closed: peers and ports multiply", () => {
    const to = many(20_000).map((i) => ({ ipBlock: { cidr: `10.${i >> 8}.${i & 255}.0/24` } }));
    const large = (ports: number) => ({
      podSelector: {},
      egress: [{ to, ports: many(ports).map((i) => ({ port: i + 1 })) }],
    });
    expect(() => specOf(large(50))).not.toThrow();
    expect(() => specOf(large(300))).toThrow(
      /spec: becomes \d+ characters of rules; the datastore takes 1400000/,
    );
  });
});

describe('NetworkPolicy: which pods and which directions ("The NetworkPolicy resource" of the Kubernetes documentation)', () => {
  test.each<[string, object, object]>([
    [
      "an empty podSelector selects all pods of the namespace",
      { podSelector: {} },
      { selector: POD, types: ["Ingress"], ingress: [] },
    ],
    [
      "labels and expressions are all required",
      {
        podSelector: {
          matchLabels: { role: "db", app: "x" },
          matchExpressions: [
            { key: "env", operator: "In", values: ["prod", "dev"] },
            { key: "env", operator: "NotIn", values: ["test"] },
            { key: "owner", operator: "Exists" },
            { key: "legacy", operator: "DoesNotExist" },
          ],
        },
      },
      {
        selector: `${POD} && app == "x" && role == "db" && env in {"dev", "prod"} && env not in {"test"} && has(owner) && !has(legacy)`,
      },
    ],
    ["without policyTypes: Ingress, even with no rules", { podSelector: {} }, { types: ["Ingress"] }],
    [
      "without policyTypes: Egress too if there are egress rules",
      { podSelector: {}, egress: [{}] },
      { types: ["Ingress", "Egress"], ingress: [], egress: [{ action: "Allow" }] },
    ],
    [
      "an empty list of egress rules is no egress rule",
      { podSelector: {}, egress: [] },
      { types: ["Ingress"] },
    ],
    ["empty policyTypes are absent ones", { podSelector: {}, policyTypes: [] }, { types: ["Ingress"] }],
    [
      "default deny all egress",
      { podSelector: {}, policyTypes: ["Egress"] },
      { types: ["Egress"], egress: [] },
    ],
    [
      "rules of a direction that policyTypes leaves out have no effect",
      { podSelector: {}, policyTypes: ["Egress"], ingress: [{}] },
      { types: ["Egress"], egress: [] },
    ],
    [
      "an empty rule allows everything",
      { podSelector: {}, ingress: [{}] },
      { ingress: [{ action: "Allow" }] },
    ],
    [
      "empty from and ports too",
      { podSelector: {}, ingress: [{ from: [], ports: [] }] },
      { ingress: [{ action: "Allow" }] },
    ],
    [
      "null is absent",
      { podSelector: {}, ingress: null, policyTypes: null },
      { types: ["Ingress"], ingress: [] },
    ],
  ])("%s", (_why, spec, expected) => {
    expect(specOf(spec)).toMatchObject({ tier: "default", order: 1000, ...expected });
  });
});

describe('NetworkPolicy: peers ("Behavior of to and from selectors")', () => {
  const pods = { matchLabels: { role: "client" } };
  const namespaces = { matchLabels: { user: "alice" } };
  test.each<[string, object[], object[]]>([
    [
      "podSelector alone: pods of the policy's own namespace",
      [{ podSelector: pods }],
      [{ selector: `${POD} && role == "client"` }],
    ],
    [
      "namespaceSelector alone: all pods of those namespaces",
      [{ namespaceSelector: namespaces }],
      [{ selector: POD, namespaceSelector: 'user == "alice"' }],
    ],
    [
      "both in one item: those pods in those namespaces",
      [{ namespaceSelector: namespaces, podSelector: pods }],
      [{ selector: `${POD} && role == "client"`, namespaceSelector: 'user == "alice"' }],
    ],
    [
      "both in two items: either",
      [{ namespaceSelector: namespaces }, { podSelector: pods }],
      [{ selector: POD, namespaceSelector: 'user == "alice"' }, { selector: `${POD} && role == "client"` }],
    ],
    [
      "an empty namespaceSelector selects all namespaces",
      [{ namespaceSelector: {} }],
      [{ selector: POD, namespaceSelector: "all()" }],
    ],
    ["an empty podSelector all pods of the namespace", [{ podSelector: {} }], [{ selector: POD }]],
    [
      "a namespace by name",
      [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "kube-system" } } }],
      [{ selector: POD, namespaceSelector: 'kubernetes.io/metadata.name == "kube-system"' }],
    ],
    [
      "ipBlock with exceptions",
      [{ ipBlock: { cidr: "172.17.0.0/16", except: ["172.17.1.0/24", "172.17.2.0/24"] } }],
      [{ nets: ["172.17.0.0/16"], notNets: ["172.17.1.0/24", "172.17.2.0/24"] }],
    ],
    [
      "ipBlock of IPv6",
      [{ ipBlock: { cidr: "2001:db8::/64", except: ["2001:db8::/96"] } }],
      [{ nets: ["2001:db8::/64"], notNets: ["2001:db8::/96"] }],
    ],
    [
      "blocks without exceptions share a rule per family, after the others",
      [
        { ipBlock: { cidr: "10.0.0.0/8" } },
        { ipBlock: { cidr: "fd00::/8" } },
        { podSelector: {} },
        { ipBlock: { cidr: "192.0.2.0/24", except: ["192.0.2.1/32"] } },
        { ipBlock: { cidr: "172.16.0.0/12" } },
      ],
      [
        { selector: POD },
        { nets: ["192.0.2.0/24"], notNets: ["192.0.2.1/32"] },
        { nets: ["10.0.0.0/8", "172.16.0.0/12"] },
        { nets: ["fd00::/8"] },
      ],
    ],
    [
      "leading zeros are decimal",
      [{ ipBlock: { cidr: "010.008.0.0/08", except: ["010.0100.0.0/016"] } }],
      [{ nets: ["10.0.0.0/8"], notNets: ["10.100.0.0/16"] }],
    ],
    ["host bits of ipBlock are dropped", [{ ipBlock: { cidr: "10.1.2.3/8" } }], [{ nets: ["10.0.0.0/8"] }]],
  ])("%s", (_why, peers, entities) => {
    expect(specOf({ podSelector: {}, ingress: [{ from: peers }] })).toMatchObject({
      ingress: entities.map((source) => ({ action: "Allow", source })),
    });
    expect(specOf({ podSelector: {}, policyTypes: ["Egress"], egress: [{ to: peers }] })).toMatchObject({
      egress: entities.map((destination) => ({ action: "Allow", destination })),
    });
  });
});

describe('NetworkPolicy: ports (NetworkPolicyPort; "Targeting a range of ports")', () => {
  test.each<[string, object[], object[]]>([
    ["the protocol is TCP unless given", [{ port: 80 }], [{ protocol: "TCP", destination: { ports: [80] } }]],
    ["a named port", [{ port: "http" }], [{ protocol: "TCP", destination: { ports: ["http"] } }]],
    [
      "a range",
      [{ port: 32000, endPort: 32768 }],
      [{ protocol: "TCP", destination: { ports: ["32000:32768"] } }],
    ],
    ["a range of one", [{ port: 80, endPort: 80 }], [{ protocol: "TCP", destination: { ports: [80] } }]],
    ["no port: all of the protocol", [{ protocol: "UDP" }], [{ protocol: "UDP" }]],
    ["an empty entry: all of TCP", [{}], [{ protocol: "TCP" }]],
    ["all of a protocol swallows its single ports", [{ port: 80 }, {}], [{ protocol: "TCP" }]],
    [
      "one rule per protocol",
      [{ port: 53 }, { port: 53, protocol: "UDP" }, { port: 443 }, { port: 9, protocol: "SCTP" }],
      [
        { protocol: "TCP", destination: { ports: [53, 443] } },
        { protocol: "UDP", destination: { ports: [53] } },
        { protocol: "SCTP", destination: { ports: [9] } },
      ],
    ],
    [
      "51 ports take two rules",
      Array.from({ length: 51 }, (_, i) => ({ port: i + 1 })),
      [
        { protocol: "TCP", destination: { ports: Array.from({ length: 50 }, (_, i) => i + 1) } },
        { protocol: "TCP", destination: { ports: [51] } },
      ],
    ],
  ])("%s", (_why, ports, rules) => {
    const wanted = rules.map((rule) => ({ action: "Allow", ...rule }));
    expect(specOf({ podSelector: {}, ingress: [{ ports }] })).toMatchObject({ ingress: wanted });
    expect(specOf({ podSelector: {}, policyTypes: ["Egress"], egress: [{ ports }] })).toMatchObject({
      egress: wanted,
    });
  });

  test("egress joins peer and ports in the destination", () => {
    const egress = [{ to: [{ ipBlock: { cidr: "10.0.0.0/24" } }], ports: [{ port: 5978 }] }];
    expect(specOf({ podSelector: {}, policyTypes: ["Egress"], egress })).toMatchObject({
      egress: [{ action: "Allow", protocol: "TCP", destination: { nets: ["10.0.0.0/24"], ports: [5978] } }],
    });
  });

  test("each peer with each protocol", () => {
    const ingress = [
      {
        from: [{ podSelector: {} }, { ipBlock: { cidr: "10.0.0.0/8" } }],
        ports: [{ port: 1 }, { port: 2, protocol: "UDP" }],
      },
    ];
    expect((specOf({ podSelector: {}, ingress }) as { ingress: object[] }).ingress).toHaveLength(4);
  });
});

describe("what Kubernetes refuses is refused", () => {
  const from = (peer: object) => ({ podSelector: {}, ingress: [{ from: [peer] }] });
  const ports = (port: object) => ({ podSelector: {}, ingress: [{ ports: [port] }] });
  test.each<[string, object, string]>([
    ["an empty peer", from({}), "spec.ingress[0].from[0]"],
    [
      "ipBlock beside a selector",
      from({ ipBlock: { cidr: "10.0.0.0/8" }, podSelector: {} }),
      "spec.ingress[0].from[0].ipBlock",
    ],
    [
      "except outside of cidr",
      from({ ipBlock: { cidr: "10.0.0.0/8", except: ["11.0.0.0/16"] } }),
      "spec.ingress[0].from[0].ipBlock.except[0]",
    ],
    [
      "except equal to cidr",
      from({ ipBlock: { cidr: "10.0.0.0/8", except: ["10.0.0.0/8"] } }),
      "spec.ingress[0].from[0].ipBlock.except[0]",
    ],
    ["no CIDR", from({ ipBlock: { cidr: "x" } }), "spec.ingress[0].from[0].ipBlock.cidr"],
    ["endPort without port", ports({ endPort: 9 }), "spec.ingress[0].ports[0].endPort"],
    ["endPort with a named port", ports({ port: "http", endPort: 9 }), "spec.ingress[0].ports[0].endPort"],
    ["endPort below port", ports({ port: 10, endPort: 9 }), "spec.ingress[0].ports[0].endPort"],
    ["port 0", ports({ port: 0 }), "spec.ingress[0].ports[0].port"],
    ["an unknown protocol", ports({ protocol: "ICMP" }), "spec.ingress[0].ports[0].protocol"],
    ["an unknown type", { podSelector: {}, policyTypes: ["Both"] }, "spec.policyTypes[0]"],
    [
      "In without values",
      { podSelector: { matchExpressions: [{ key: "a", operator: "In" }] } },
      "spec.podSelector.matchExpressions[0].values",
    ],
    [
      "Exists with values",
      { podSelector: { matchExpressions: [{ key: "a", operator: "Exists", values: ["x"] }] } },
      "spec.podSelector.matchExpressions[0].values",
    ],
  ])("%s", (_why, spec, path) => {
    try {
      specOf(spec);
      throw new Error("accepted");
    } catch (error) {
      expect(error).toBeInstanceOf(ApiError);
      expect((error as ApiError).issues.map((issue) => issue.path)).toEqual([path]);
    }
  });
});

test("an unknown field is warned of with its path", () => {
  expect(parseKubernetes(policy({ podSelector: {}, ingress: [{ form: [] }] }))?.warnings).toEqual([
    "spec.ingress[0].form: unknown field, ignored",
  ]);
});

test("the policy keeps its namespace, labels and annotations under a name of its own", () => {
  const metadata = {
    name: "p",
    namespace: "shop",
    labels: { a: "b" },
    annotations: { c: "d" },
    uid: "1",
    generation: 3,
  };
  const { resource, warnings } = parseKubernetes({ ...policy({ podSelector: {} }), metadata }) ?? {};
  expect(resource?.metadata).toEqual({
    name: "knp.default.p",
    namespace: "shop",
    labels: { a: "b" },
    annotations: { c: "d" },
  });
  expect(warnings).toEqual([]);
});

test("a namespace becomes a profile that allows all and hands on its labels", () => {
  const namespace = {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name: "shop", labels: { team: "a" } },
    spec: { finalizers: ["kubernetes"] },
    status: { phase: "Active" },
  };
  expect(parseKubernetes(namespace)).toEqual({
    warnings: [],
    resource: {
      apiVersion: "margay.dev/v1",
      kind: "Profile",
      metadata: { name: "kns.shop" },
      spec: {
        ingress: [{ action: "Allow" }],
        egress: [{ action: "Allow" }],
        labelsToApply: {
          "pcns.team": "a",
          "pcns.projectcalico.org/name": "shop",
          "pcns.kubernetes.io/metadata.name": "shop",
        },
      },
    },
  });
});

test("an endpoint slice keeps the addresses and ports of its service", () => {
  const slice = {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: "db-x", namespace: "shop", labels: { "kubernetes.io/service-name": "db" } },
    addressType: "IPv6",
    endpoints: [
      { addresses: ["fd00::1"], conditions: { ready: false, serving: true }, nodeName: "n1", zone: "z" },
      { addresses: ["fd00::2"] },
      // with publishNotReadyAddresses ready is always true
      { addresses: ["fd00::3"], conditions: { ready: true, serving: true, terminating: true } },
    ],
    ports: [{ name: "sql", port: 5432 }, { name: "any" }],
  };
  const spec = {
    service: "db",
    endpoints: [
      { addresses: ["fd00::1"], ready: false, nodeName: "n1" },
      { addresses: ["fd00::2"], ready: true },
      { addresses: ["fd00::3"], ready: false },
    ],
    ports: [{ name: "sql", protocol: "TCP", port: 5432 }],
  };
  expect(parseKubernetes(slice)?.resource).toMatchObject({ kind: "EndpointSlice", spec });
  const names = { ...slice, addressType: "FQDN", endpoints: [{ addresses: ["db.example.org"] }] };
  expect(parseKubernetes(names)?.resource).toMatchObject({ spec: { endpoints: [] } });
});

test("other kinds are not converted", () => {
  expect(parseKubernetes({ apiVersion: "v1", kind: "Pod" })).toBeUndefined();
  expect(parseKubernetes(undefined)).toBeUndefined();
});

test("a service account becomes a profile that hands on its labels and allows nothing by itself", () => {
  const account = {
    ...{ apiVersion: "v1", kind: "ServiceAccount", secrets: [] },
    metadata: { name: "ci", namespace: "shop", labels: { role: "build" } },
  };
  expect(parseKubernetes(account)?.resource).toMatchObject({
    kind: "Profile",
    metadata: { name: "ksa.shop.ci" },
    spec: { labelsToApply: { "pcsa.role": "build", "pcsa.projectcalico.org/name": "ci" } },
  });
});

/** What is wrong with it. */
function issuesOf(made: () => unknown) {
  try {
    made();
    return [];
  } catch (error) {
    return error instanceof ApiError ? (error.issues ?? []) : [];
  }
}

describe("ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2)", () => {
  const cnp = (spec: object) => ({
    apiVersion: "policy.networking.k8s.io/v1alpha2",
    kind: "ClusterNetworkPolicy",
    metadata: { name: "p" },
    spec: { tier: "Admin", priority: 7, subject: { namespaces: {} }, ...spec },
  });
  const converted = (spec: object) => parseKubernetes(cnp(spec))?.resource;
  const team = { namespaces: { matchLabels: { team: "a" } } };
  const teamRule = { selector: POD, namespaceSelector: 'team == "a"' };
  const from = (rule: object) => ({ ingress: [{ action: "Deny", from: [team], ...rule }] });
  const to = (...peers: object[]) => ({ egress: [{ action: "Accept", to: peers }] });
  const rules = (spec: object) =>
    converted(spec)?.spec as { ingress: object[]; egress: object[] } | undefined;

  test("its tier and priority are ours, and an empty direction is left alone", () => {
    expect(converted({ tier: "Baseline", ...from({ name: "keep out" }) })).toMatchObject({
      kind: "GlobalNetworkPolicy",
      metadata: { name: "kcnp.baseline.p" },
      spec: {
        ...{ tier: "kube-baseline", order: 7, types: ["Ingress"], selector: POD, namespaceSelector: "all()" },
        ingress: [{ action: "Deny", source: teamRule, metadata: { annotations: { name: "keep out" } } }],
        egress: [],
      },
    });
    expect(converted({})).toMatchObject({ spec: { tier: "kube-admin", types: [] } });
  });

  test("subject and peers may be pods of namespaces", () => {
    const pods = {
      podSelector: { matchLabels: { app: "x" } },
      namespaceSelector: { matchLabels: { team: "a" } },
    };
    const both = { selector: `${POD} && app == "x"`, namespaceSelector: 'team == "a"' };
    expect(converted({ subject: { pods } })).toMatchObject({ spec: both });
    expect(rules(from({ from: [{ pods }] }))?.ingress).toEqual([{ action: "Deny", source: both }]);
    expect(rules(from({ from: [{ pods: { podSelector: {} } }] }))?.ingress).toMatchObject([
      { source: { selector: POD, namespaceSelector: "all()" } },
    ]);
  });

  test("networks of one family share a rule; nodes are found by their labels", () => {
    const networks = ["10.0.0.0/8", "fd00::/8", "192.0.2.0/24"];
    const nodes = { matchLabels: { zone: "x" } };
    expect(rules(to({ networks }, { nodes }, { networks: ["198.51.100.0/24"] }))?.egress).toEqual([
      { action: "Allow", destination: { nodeSelector: 'zone == "x"' } },
      { action: "Allow", destination: { nets: ["10.0.0.0/8", "192.0.2.0/24", "198.51.100.0/24"] } },
      { action: "Allow", destination: { nets: ["fd00::/8"] } },
    ]);
  });

  test("domain names of a peer share a rule", () => {
    const domainNames = ["WWW.example.com", "*.a.example."];
    expect(rules(to({ domainNames }))?.egress).toEqual([
      { action: "Allow", destination: { domains: domainNames, nets: ["255.255.255.255/32"] } }, // for versions before
    ]);
  });

  test("ports by protocol; a protocol alone is all of its ports, a name that of every protocol", () => {
    const port = (destinationPort: object) => ({ destinationPort });
    const protocols = [
      { tcp: port({ number: 80 }) },
      { tcp: port({ range: { start: 8000, end: 8010 } }) },
      { udp: {} },
      { destinationNamedPort: "web" },
    ];
    expect(rules(from({ action: "Pass", protocols }))?.ingress).toEqual([
      { action: "Pass", protocol: "TCP", source: teamRule, destination: { ports: [80, "8000:8010", "web"] } },
      { action: "Pass", protocol: "UDP", source: teamRule },
      { action: "Pass", protocol: "SCTP", source: teamRule, destination: { ports: ["web"] } },
    ]);
  });

  test.each<[why: string, spec: object, path: string, message: RegExp]>([
    ...["Deny", "Pass"].map((action): [string, object, string, RegExp] => [
      `domain names in a rule to ${action}: not all of their addresses are ever known`,
      { egress: [{ action, to: [team, { domainNames: ["a.example"] }] }] },
      "spec.egress[0].to[1].domainNames",
      /only for rules that accept/,
    ]),
    ...[
      "example",
      "a.*.example",
      "*",
      "*a.example",
      "-a.example",
      "a..example",
      `${"a".repeat(64)}.example`,
    ].map((name): [string, object, string, RegExp] => [
      `what is no name: ${name.slice(0, 20)}`,
      to({ domainNames: [name] }),
      "spec.egress[0].to[0].domainNames[0]",
      /must be a domain name/,
    ]),
    [
      "more names than the API allows",
      to({ domainNames: Array.from({ length: 26 }, (_, i) => `n${i}.example`) }),
      "spec.egress[0].to[0].domainNames",
      /25/,
    ],
    [
      "named ports of domains",
      {
        egress: [
          {
            action: "Accept",
            to: [{ domainNames: ["a.example"] }],
            protocols: [{ destinationNamedPort: "web" }],
          },
        ],
      },
      "spec.egress[0].to",
      /no named ports/,
    ],
    [
      "domain names of who sends",
      from({ from: [{ domainNames: ["a.example"] }] }),
      "spec.ingress[0].from[0]",
      /found 0/,
    ],
    [
      "a peer of a kind not known",
      from({ from: [{ tenants: {} }] }),
      "spec.ingress[0].from[0]",
      /exactly one of namespaces, pods, found 0/,
    ],
    ["two kinds in one peer", from({ from: [{ ...team, pods: {} }] }), "spec.ingress[0].from[0]", /found 2/],
    ["nobody at all", from({ from: [] }), "spec.ingress[0].from", /1/],
    ["a priority out of range", { priority: 1001 }, "spec.priority", /1000/],
    [
      "an empty range",
      from({ protocols: [{ tcp: { destinationPort: { range: { start: 2, end: 2 } } } }] }),
      "spec.ingress[0].protocols[0].tcp.destinationPort.range.end",
      /above 2/,
    ],
    [
      "named ports of networks",
      {
        egress: [
          {
            action: "Accept",
            to: [{ networks: ["10.0.0.0/8"] }],
            protocols: [{ destinationNamedPort: "web" }],
          },
        ],
      },
      "spec.egress[0].to",
      /no named ports/,
    ],
  ])("refused: %s", (_why, spec, path, message) => {
    expect(issuesOf(() => converted(spec))).toContainEqual(
      expect.objectContaining({ path, message: expect.stringMatching(message) }),
    );
  });
});

describe("AdminNetworkPolicy and BaselineAdminNetworkPolicy (policy.networking.k8s.io/v1alpha1)", () => {
  const document = (kind: string, name: string, spec: object) => ({
    ...{ apiVersion: "policy.networking.k8s.io/v1alpha1", kind, metadata: { name } },
    spec: { subject: { namespaces: {} }, ...spec },
  });
  const admin = (spec: object) =>
    parseKubernetes(document("AdminNetworkPolicy", "p", { priority: 3, ...spec }))?.resource;
  const baseline = (spec: object) =>
    parseKubernetes(document("BaselineAdminNetworkPolicy", "default", spec))?.resource;
  const team = { namespaces: { matchLabels: { team: "a" } } };
  const teamRule = { selector: POD, namespaceSelector: 'team == "a"' };

  test("the same rules as a ClusterNetworkPolicy of the first tier, at its priority", () => {
    const ports = [
      { portNumber: { port: 80 } },
      { portRange: { protocol: "UDP", start: 53, end: 54 } },
      { namedPort: "web" },
    ];
    expect(admin({ ingress: [{ name: "in", action: "Allow", from: [team], ports }] })).toMatchObject({
      kind: "GlobalNetworkPolicy",
      metadata: { name: "kanp.adminnetworkpolicy.p" },
      spec: {
        ...{ tier: "kube-admin", order: 3, types: ["Ingress"], selector: POD, egress: [] },
        ingress: [
          { protocol: "TCP", destination: { ports: [80, "web"] } },
          { protocol: "UDP", destination: { ports: ["53:54", "web"] } },
          { protocol: "SCTP", destination: { ports: ["web"] } },
        ].map((rule) => ({
          ...{ action: "Allow", source: teamRule, metadata: { annotations: { name: "in" } } },
          ...rule,
        })),
      },
    });
  });

  test("the baseline is the last of the last tier; without ports every protocol is meant", () => {
    const egress = [
      { action: "Deny", to: [{ networks: ["10.0.0.0/8"] }, { nodes: { matchLabels: { a: "b" } } }] },
    ];
    const made = baseline({ egress });
    expect(made).toMatchObject({
      metadata: { name: "kbanp.baselineadminnetworkpolicy.default" },
      spec: {
        ...{ tier: "kube-baseline", types: ["Egress"] },
        egress: [
          { action: "Deny", destination: { nodeSelector: 'a == "b"' } },
          { action: "Deny", destination: { nets: ["10.0.0.0/8"] } },
        ],
      },
    });
    expect(made?.spec).not.toHaveProperty("order");
  });

  test.each<[why: string, made: () => unknown, path: string, message: RegExp]>([
    [
      "a baseline does not pass",
      () => baseline({ ingress: [{ action: "Pass", from: [team] }] }),
      "spec.ingress[0].action",
      /Pass/,
    ],
    ["no priority", () => admin({ priority: undefined }), "spec.priority", /./],
    [
      "two kinds of port in one",
      () =>
        admin({
          ingress: [{ action: "Deny", from: [team], ports: [{ namedPort: "a", portNumber: { port: 1 } }] }],
        }),
      "spec.ingress[0].ports[0]",
      /found 2/,
    ],
    [
      "an empty range",
      () =>
        admin({ ingress: [{ action: "Deny", from: [team], ports: [{ portRange: { start: 2, end: 2 } }] }] }),
      "spec.ingress[0].ports[0].portRange.end",
      /above 2/,
    ],
    [
      "named ports of nodes",
      () => admin({ egress: [{ action: "Deny", to: [{ nodes: {} }], ports: [{ namedPort: "web" }] }] }),
      "spec.egress[0].to",
      /no named ports/,
    ],
    [
      "domain names in a rule to deny",
      () => admin({ egress: [{ action: "Deny", to: [{ domainNames: ["a.example"] }] }] }),
      "spec.egress[0].to[0].domainNames",
      /only for rules that accept/,
    ],
  ])("refused: %s", (_why, made, path, message) => {
    expect(issuesOf(made)).toContainEqual(
      expect.objectContaining({ path, message: expect.stringMatching(message) }),
    );
  });
});
