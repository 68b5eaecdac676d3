import fc from "fast-check";

/**
 * Random policies of every kind over pods labelled app=a|b|c in the namespaces shop (team=web) and ops (team=ops), and network sets
 * that bear the same labels. Some pods have the port `http`, the service account `robot`, or stand behind service shop/svc.
 */
type Document = {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
};

/** `count` sets of documents, the first of each the tier of its policies; always the same for one seed. */
export const randomPolicies = (seed: number, count: number): readonly (readonly Document[])[] =>
  fc.sample(policySet, { seed, numRuns: count });

const pick = <T>(...values: T[]) => fc.constantFrom(...values);
const selector = pick("app == 'a'", "app == 'b'", "app in {'b','c'}", "app != 'a'", "all()");
const namespaceSelector = pick("team == 'web'", "team != 'web'", "all()");
const namespace = pick("shop", "ops");

const entity = (ports: boolean) =>
  fc.oneof(
    {
      weight: 9,
      arbitrary: fc.record(
        {
          ...{ selector, notSelector: selector, namespaceSelector },
          serviceAccounts: fc.constant({ names: ["robot"] }),
          ...(ports && {
            ports: pick<(number | string)[]>([80], ["80:81", 443], [8080], ["http"]),
            notPorts: pick<(number | string)[]>([80], [8080], ["http"]),
          }),
        },
        { requiredKeys: [], noNullPrototype: true },
      ),
    },
    { weight: 1, arbitrary: fc.constant({ services: { name: "svc", namespace: "shop" } }) },
  );

const rule = pick("TCP", "UDP", undefined).chain((protocol) =>
  fc.record({
    action: pick("Allow", "Allow", "Deny", "Pass", "Log"),
    ...(protocol !== undefined && { protocol: fc.constant(protocol) }),
    source: entity(false),
    destination: entity(protocol !== undefined),
  }),
);
const rules = fc.array(rule, { minLength: 1, maxLength: 3 });

const calico = fc.record({
  tier: pick("default", "early"),
  order: pick(1, 2),
  selector,
  types: pick(["Ingress"], ["Egress"], ["Ingress", "Egress"]),
  ingress: rules,
  egress: rules,
});

const labels = pick(
  {},
  { matchLabels: { app: "a" } },
  { matchExpressions: [{ key: "app", operator: "NotIn", values: ["b"] }] },
);
const team = pick({}, { matchLabels: { team: "ops" } });
const peer = fc.oneof(
  fc.record({ podSelector: labels }),
  fc.record({ namespaceSelector: team }),
  fc.record({ podSelector: labels, namespaceSelector: team }),
  fc.constant({ ipBlock: { cidr: "10.244.0.0/16", except: ["10.244.0.0/26"] } }),
);
const port = pick<object>(
  { port: 80 },
  { port: "http" },
  { port: 8080, protocol: "UDP" },
  { port: 8000, endPort: 8100 },
);
const half = { peers: fc.array(peer, { maxLength: 2 }), ports: fc.array(port, { maxLength: 2 }) };
const kubernetes = fc.record({
  podSelector: labels,
  policyTypes: pick(["Ingress"], ["Egress"], ["Ingress", "Egress"]),
  ingress: fc.array(
    fc.record(half).map(({ peers, ports }) => ({ from: peers, ports })),
    { maxLength: 2 },
  ),
  egress: fc.array(
    fc.record(half).map(({ peers, ports }) => ({ to: peers, ports })),
    { maxLength: 2 },
  ),
});

const cnpPeer = fc.oneof(
  team.map((namespaces) => ({ namespaces })),
  fc
    .tuple(team, labels)
    .map(([namespaceSelector, podSelector]) => ({ pods: { namespaceSelector, podSelector } })),
);
const protocols = pick(undefined, [{ tcp: { destinationPort: { number: 80 } } }], [{ udp: {} }, { tcp: {} }]);
const cnpRules = (side: "from" | "to", peer: fc.Arbitrary<object>) =>
  fc.array(
    fc
      .tuple(pick("Accept", "Deny", "Pass"), fc.array(peer, { minLength: 1, maxLength: 2 }), protocols)
      .map(([action, peers, only]) => ({ action, [side]: peers, ...(only && { protocols: only }) })),
    { maxLength: 2 },
  );
const clusterWide = fc.record({
  tier: pick("Admin", "Baseline"),
  priority: pick(1, 2),
  subject: cnpPeer,
  ingress: cnpRules("from", cnpPeer),
  egress: cnpRules("to", fc.oneof(cnpPeer, fc.constant({ networks: ["10.244.0.0/26", "fd00:10:244::/64"] }))),
});

const ours = (kind: string, metadata: object, spec: object) =>
  ({ apiVersion: "margay.dev/v1", kind, metadata, spec }) as unknown as Document; // the literal is one
const one = (name: string): fc.Arbitrary<Document> =>
  fc.oneof(
    calico.map((spec) => ours("GlobalNetworkPolicy", { name }, spec)),
    fc.tuple(namespace, calico).map(([ns, spec]) => ours("NetworkPolicy", { name, namespace: ns }, spec)),
    fc.tuple(namespace, kubernetes).map(([ns, spec]) => ({
      ...ours("NetworkPolicy", { name, namespace: ns }, spec),
      apiVersion: "networking.k8s.io/v1",
    })),
    calico.map((spec) => ours("StagedGlobalNetworkPolicy", { name }, spec)),
    clusterWide.map((spec) => ({
      ...ours("ClusterNetworkPolicy", { name }, spec),
      apiVersion: "policy.networking.k8s.io/v1alpha2",
    })),
  );

/** Both nodes' own interfaces, with a policy over what they forward. */
const hostPart = fc.record({ isThere: pick(false, false, true), spec: calico }).map(({ isThere, spec }) => {
  const hep = (node: string) =>
    ours(
      "HostEndpoint",
      { name: node, labels: { role: "host" } },
      { node, interfaceName: "*", profiles: ["projectcalico-default-allow"] },
    );
  const policy = ours(
    "GlobalNetworkPolicy",
    { name: "forwarded" },
    { ...spec, selector: "role == 'host'", applyOnForward: true },
  );
  return isThere ? [hep("n1"), hep("n2"), policy] : [];
});

/** Pods' own networks, or one address of theirs and what is elsewhere, by a label that pods bear, too. */
const networkSet = fc
  .record({
    app: pick("a", "b", "c"),
    nets: pick(["10.244.0.0/26", "fd00:10:244::/64"], ["10.244.0.1/32", "198.51.100.0/24"]),
  })
  .map(({ app, nets }) => ours("GlobalNetworkSet", { name: "nets", labels: { app } }, { nets }));

const early = pick("Deny", "Pass").map((defaultAction) =>
  ours("Tier", { name: "early" }, { order: 1, defaultAction }),
);
const policySet = fc
  .integer({ min: 1, max: 4 })
  .chain((count) =>
    fc.tuple(hostPart, networkSet, early, ...Array.from({ length: count }, (_, i) => one(`p${i}`))),
  )
  .map(([hosts, nets, tier, ...policies]) => [tier, nets, ...policies, ...hosts]);
