import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { type AnyResource, keyOf, parse, parseKubernetes, type WorkloadEndpoint } from "@margay/api";
import { explain, placeOf, type Survey, survey, type Update } from "@margay/calc";
import { formatAddress } from "@margay/net";
import fc from "fast-check";
import { type ProbeCell, TestLab } from "./testing/lab.ts";
import { randomPolicies } from "./testing/random-policy.ts";

/**
 * What `explain` says of a packet against what a real one does, on each backend in turn. A soak:
 * MARGAY_EXPLAIN_PACKETS=10000 MARGAY_SEED=random npm run e2e -- explain
 */
const PACKETS = Number(process.env.MARGAY_EXPLAIN_PACKETS ?? 1000);
const BACKENDS = [
  { nftablesMode: "Disabled", iptablesBackend: "NFT" },
  { nftablesMode: "Enabled" },
  { nftablesMode: "Disabled", iptablesBackend: "Legacy" },
] as const;
const SEED = fc.readConfigureGlobal().seed ?? 0;
const PODS = [
  { id: "shop/a1", node: "n1", app: "a", http: 80, account: "robot" },
  { id: "shop/b2", node: "n2", app: "b", http: 8080 },
  { id: "ops/a2", node: "n2", app: "a", http: 8080 },
  { id: "ops/b1", node: "n1", app: "b", account: "robot" },
  { id: "ops/c1", node: "n1", app: "c" },
];
const FLOWS = [
  { protocol: "tcp", port: 80 },
  { protocol: "udp", port: 8080 },
  { protocol: "tcp", port: 8080 },
  { protocol: "udp", port: 80 },
] as const;
/** Pairs of pods, in both families, each flow. */
const PACKETS_A_ROUND = PODS.length * (PODS.length - 1) * 2 * FLOWS.length;
const ROUNDS = Math.ceil(PACKETS / PACKETS_A_ROUND);

let lab: TestLab;
beforeAll(async () => {
  lab = await TestLab.up("e2e-explain", ["--nodes", "2"]);
  await lab.must(["namespace", "label", "shop", "team=web"]);
  await lab.must(["namespace", "label", "ops", "team=ops"]);
  for (const { id, node, app } of PODS)
    await lab.must(["pod", "add", id, "--node", node, "--labels", `app=${app}`]);
  await lab.apply(JSON.stringify(list([SLICE(await endpoints()), ...(await endpoints()).map(withMore)])));
  await lab.wait();
});

const list = (items: readonly object[]) => ({ apiVersion: "v1", kind: "List", items });
const felix = (spec: object) => ({
  ...{ apiVersion: "margay.dev/v1", kind: "FelixConfiguration", metadata: { name: "default" } },
  spec,
});

const endpoints = async (): Promise<readonly WorkloadEndpoint[]> =>
  (await read(["workloadendpoints"])).flatMap(({ value }) =>
    value?.kind === "WorkloadEndpoint" ? [value] : [],
  );

/** Ports and accounts come from Kubernetes; a lab has none. */
function withMore(endpoint: WorkloadEndpoint): WorkloadEndpoint {
  const { namespace } = endpoint.metadata;
  const pod = PODS.find(({ id }) => id === `${namespace}/${endpoint.spec.pod}`);
  const ports = (["TCP", "UDP"] as const).map((protocol) => ({
    ...{ name: "http", protocol, port: pod?.http ?? 0 },
  }));
  return {
    ...endpoint,
    spec: {
      ...endpoint.spec,
      ...(pod?.http && { ports }),
      ...(pod?.account && { serviceAccountName: pod.account }),
    },
  };
}

/** Behind service shop/svc stand the pods of shop, in IPv4. */
const SLICE = (all: readonly WorkloadEndpoint[]) => ({
  ...{ apiVersion: "margay.dev/v1", kind: "EndpointSlice", metadata: { name: "svc-1", namespace: "shop" } },
  spec: {
    ...{ service: "svc", ports: [{ port: 80 }] },
    endpoints: all
      .filter(({ metadata }) => metadata.namespace === "shop")
      .map(({ spec }) => ({ addresses: [spec.ipNetworks[0]?.split("/")[0]] })),
  },
});
afterAll(() => lab?.down());

/** What stands during the whole file. */
const LASTING = ["nodes", "ippools", "blockaffinities", "workloadendpoints", "profiles", "slices"];

const put = (value: AnyResource): Update => ({
  key: keyOf(value.kind, value.metadata.name, value.metadata.namespace),
  value,
});

/** What `apply` makes of a document. */
const applied = (document: object): Update =>
  put(parseKubernetes(document)?.resource ?? parse(document).resource);

/** Resources of these kinds, read through the command line. */
async function read(kinds: readonly string[]): Promise<Update[]> {
  const lists = await Promise.all(
    kinds.map(async (kind) => {
      const stdout = await lab.margay(["get", kind, "-A", "-o", "json"]);
      return (JSON.parse(stdout) as { items: object[] }).items;
    }),
  );
  return lists.flat().map((item) => put(parse(item).resource));
}

test(
  `explain says what really happens to ${ROUNDS * PACKETS_A_ROUND} packets (seed ${SEED})`,
  async () => {
    const lasting = await read(LASTING);
    const seen = { allowed: 0, denied: 0 };
    const beyond = { allowed: 0, denied: 0 };
    for (const [round, policies] of randomPolicies(SEED, ROUNDS).entries()) {
      const backend = BACKENDS[round % BACKENDS.length] ?? {};
      await lab.apply(JSON.stringify(list([felix(backend), ...policies])));
      const known = survey([...lasting, ...policies.map(applied)]);
      for (const { protocol, port } of FLOWS) {
        const probed = await lab.must([
          "probe",
          "-o",
          "json",
          "--protocol",
          protocol,
          "--port",
          String(port),
        ]);
        const flow = { protocol: protocol === "tcp" ? 6 : 17, destinationPort: port, sourcePort: 10_000 };
        const wrong: object[] = [];
        for (const { from, to, answers } of (JSON.parse(probed) as { cells: ProbeCell[] }).cells) {
          const ends = { source: placeOf(from, known), destination: placeOf(to, known) };
          for (const { family, answer } of answers) {
            const told = explain(known, { ...flow, ...ends, family: family as 4 | 6 });
            const really = answer === "reached" ? "allowed" : "denied";
            seen[really]++;
            if (told.verdict !== really) wrong.push({ from, to, family, answer, because: told.because });
          }
        }
        const where = { seed: SEED, round, backend, protocol, port };
        expect({ ...where, wrong }).toEqual({ ...where, wrong: [] });
      }
      const elsewhere = await pingsElsewhere(known, round);
      for (const { explained } of elsewhere) beyond[explained]++;
      const where = { seed: SEED, round, backend };
      const wrong = elsewhere.filter(({ explained, really }) => explained !== really);
      expect({ ...where, wrong }).toEqual({ ...where, wrong: [] });
      await lab.delete(JSON.stringify(list(policies.slice(1))));
    }
    expect(seen.allowed + seen.denied).toBeGreaterThanOrEqual(PACKETS);
    expect(Math.min(seen.allowed, seen.denied)).toBeGreaterThan((ROUNDS * PACKETS_A_ROUND) / 20);
    expect(Math.min(beyond.allowed, beyond.denied)).toBeGreaterThan(0);
  },
  60_000 + ROUNDS * 60_000,
);

/** What is no pod: as explain knows it in each family, and the namespace of the lab that has these addresses. */
const OTHERS = [
  { at: "n1", names: { 4: "n1", 6: "n1" } },
  { at: "n2", names: { 4: "n2", 6: "n2" } },
  { at: "tor", names: { 4: "198.51.100.1", 6: "2001:db8:100::1" } },
] as const;
const PINGS_A_ROUND = 8;

/** Pings between random pods and what is no pod, in either direction and family, and what explain says of them. */
async function pingsElsewhere(known: Survey, round: number) {
  const ping = fc.record({
    pod: fc.constantFrom(...PODS),
    other: fc.constantFrom(...OTHERS),
    family: fc.constantFrom(4 as const, 6 as const),
    isFromPod: fc.boolean(),
  });
  const all = fc.sample(ping, { seed: SEED + round, numRuns: PINGS_A_ROUND });
  return Promise.all(
    all.map(async ({ pod, other, family, isFromPod }) => {
      const [its, there] = [placeOf(pod.id, known), placeOf(other.names[family], known)];
      const [source, destination] = isFromPod ? [its, there] : [there, its];
      const echo = { protocol: family === 4 ? 1 : 58, icmp: { type: family === 4 ? 8 : 128, code: 0 } };
      const { verdict, because } = explain(known, { ...echo, family, source, destination });
      const explained = verdict === "allowed" ? verdict : ("denied" as const);
      const [from, to] = [source, destination].map(
        ({ addresses }) =>
          addresses.filter((address) => address.family === family).map(formatAddress)[0] ?? "none",
      );
      const words = ["-c", "1", "-W", explained === "allowed" ? "10" : "1", "-I", from ?? "", to ?? ""];
      const { code } = await lab.exec(isFromPod ? pod.id : other.at, ["ping", ...words]);
      const really = code === 0 ? ("allowed" as const) : ("denied" as const);
      return { from, to, explained, really, because };
    }),
  );
}

/** By the exit code. */
const VERDICTS: Readonly<Record<number, boolean>> = { 0: true, 3: false };

/** What explain says by its exit code, and a ping from a place, for each two ends. */
async function pinged(ends: readonly (readonly [source: string, destination: string, at: string])[]) {
  const known = survey(await read(LASTING));
  return Promise.all(
    ends.map(async ([source, destination, at]) => {
      const told = await lab.exec("fabric", ["margay", "explain", source, destination, "icmp"]);
      const explained = VERDICTS[told.code] ?? `${told.code}: ${told.stderr}`;
      const address = placeOf(destination, known).addresses.find(({ family }) => family === 4);
      const to = address ? formatAddress(address) : "none";
      const ping = await lab.exec(at, ["ping", "-c", "1", "-W", "2", to]);
      return { source, destination, explained, reached: ping.code === 0 };
    }),
  );
}

const CLOSED =
  "{ apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: { name: p, namespace: shop }, spec: { podSelector: { matchLabels: { app: b } }, ingress: [] } }";
/** What shop sends to nodes and to the outside is denied, but for one network there. */
const ADMIN = JSON.stringify({
  ...{ apiVersion: "policy.networking.k8s.io/v1alpha2", kind: "ClusterNetworkPolicy" },
  metadata: { name: "away" },
  spec: {
    ...{ tier: "Admin", priority: 1, subject: { namespaces: { matchLabels: { team: "web" } } } },
    egress: [
      { action: "Accept", to: [{ networks: ["172.20.0.2/32"] }] },
      { action: "Deny", to: [{ nodes: {} }, { networks: ["172.20.0.0/24", "198.51.100.0/24"] }] },
    ],
  },
});

test.each<
  [
    why: string,
    policy: string,
    ends: readonly [source: string, destination: string, at: string, reached: boolean][],
  ]
>([
  [
    "pods, nodes and the outside",
    CLOSED,
    [
      ["shop/a1", "ops/a2", "shop/a1", true],
      ["shop/a1", "shop/b2", "shop/a1", false],
      ["shop/a1", "n1", "shop/a1", false],
      ["shop/a1", "n2", "shop/a1", true],
      ["shop/a1", "198.51.100.1", "shop/a1", true],
      ["shop/a1", "10.244.200.1", "shop/a1", false],
      ["n2", "shop/b2", "n2", true],
      ["n1", "shop/b2", "n1", false],
      ["172.20.0.2", "shop/b2", "tor", false],
      ["172.20.0.2", "shop/a1", "tor", true],
    ],
  ],
  [
    "nodes and networks that an administrator's policy names",
    ADMIN,
    [
      ["shop/a1", "n2", "shop/a1", false],
      ["shop/a1", "198.51.100.1", "shop/a1", false],
      ["shop/a1", "172.20.0.2", "shop/a1", true],
      ["shop/a1", "ops/a2", "shop/a1", true],
      ["ops/a2", "n1", "ops/a2", true],
      ["ops/a2", "198.51.100.1", "ops/a2", true],
    ],
  ],
])("ping, by the command line and its exit code: %s", async (_why, policy, ends) => {
  await lab.apply(policy);
  expect(await pinged(ends.map(([source, destination, at]) => [source, destination, at]))).toEqual(
    ends.map(([source, destination, , reached]) => ({ source, destination, explained: reached, reached })),
  );
  await lab.delete(policy);
});

test("the rule that explain names counts the packets, on the node that decides", async () => {
  await lab.apply(
    "{ apiVersion: margay.dev/v1, kind: NetworkPolicy, metadata: { name: p, namespace: shop }, spec: { selector: app == 'b', ingress: [{ action: Deny, protocol: ICMP }] } }",
  );
  const told = await lab.exec("fabric", ["margay", "explain", "shop/a1", "shop/b2", "icmp", "-o", "json"]);
  const { decidedBy, verdict } = JSON.parse(told.stdout) as {
    verdict: string;
    decidedBy: { node: string; rule: string };
  };
  expect({ verdict, code: told.code, ...decidedBy }).toMatchObject({
    ...{ verdict: "denied", code: 3, node: "n2", rule: "np/shop/p/in/0" },
  });
  const target = placeOf("shop/b2", survey(await read(LASTING))).addresses.find(({ family }) => family === 4);
  await lab.exec("shop/a1", [
    "ping",
    "-c",
    "3",
    "-i",
    "0.2",
    "-W",
    "1",
    target ? formatAddress(target) : "none",
  ]);
  const { stdout } = await lab.exec(decidedBy.node, [
    "margay",
    "policy",
    "show",
    "shop/p",
    "--counters",
    "-o",
    "json",
  ]);
  expect((JSON.parse(stdout) as { policies: object[] }).policies).toMatchObject([
    { id: "np/shop/p", rules: [{ id: decidedBy.rule, action: "deny", packets: 3, bytes: 252 }] },
  ]);
  const scraped = await lab.get(decidedBy.node, "http://127.0.0.1:9099/metrics");
  expect(scraped.split("\n").filter((line) => line.includes(`rule="${decidedBy.rule}"`))).toEqual([
    'margay_agent_rule_packets_total{rule="np/shop/p/in/0"} 3',
    'margay_agent_rule_bytes_total{rule="np/shop/p/in/0"} 252',
  ]);
});
