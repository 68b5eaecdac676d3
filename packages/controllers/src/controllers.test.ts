import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import {
  type AnyResource,
  decode,
  encode,
  type IPAMBlock,
  keyOf,
  parse,
  type ServiceSpec,
} from "@margay/api";
import { StoreError } from "@margay/datastore";
import type { KubernetesObject } from "@margay/kubernetes";
import { until } from "@margay/testing";
import { type TestCluster, testCluster } from "./testing/cluster.ts";

const POLICIES = "/apis/networking.k8s.io/v1/networkpolicies";
const POOLS = "/apis/margay.dev/v1/ippools";
const PODS = "/api/v1/pods";
const NODES = "/api/v1/nodes";

let cluster: TestCluster;
beforeEach(async () => {
  cluster = await testCluster();
});
afterEach(() => cluster.close());

const named = (name: string, namespace: string | undefined, rest: object): KubernetesObject =>
  ({ metadata: { name, ...(namespace && { namespace }) }, ...rest }) as KubernetesObject;
const policy = (name: string, app: string) =>
  named(name, "shop", { spec: { podSelector: { matchLabels: { app } }, policyTypes: ["Ingress"] } });

async function read(key: string): Promise<AnyResource | undefined> {
  const entry = await cluster.store.get(key);
  return entry && decode(key, entry.value);
}
async function put(document: object): Promise<string> {
  const { resource } = parse({ apiVersion: "margay.dev/v1", ...document });
  const key = keyOf(resource.kind, resource.metadata.name, resource.metadata.namespace);
  await cluster.store.put(key, encode(resource));
  return key;
}
const leads = async (identity = "a", options = {}) => {
  const replica = await cluster.replica(identity, options);
  await until(() => replica.notReady().length === 0 && replica.events("leader").length > 0);
  return replica;
};
const keys = async (prefix: string) => (await cluster.store.list(prefix)).entries.map(({ key }) => key);

describe("objects that are each one resource", () => {
  const KEY = "/margay/v1/networkpolicies/shop/knp.default.web";

  test("what there is at the start, what changes, and what goes", async () => {
    cluster.kubernetes.put(POLICIES, policy("web", "web"));
    await leads();
    expect(await until(() => read(KEY))).toMatchObject({
      spec: { selector: 'projectcalico.org/orchestrator == "k8s" && app == "web"' },
      metadata: { annotations: { "margay.dev/made-from": "networking.k8s.io/v1 NetworkPolicy" } },
    });
    cluster.kubernetes.put(POLICIES, policy("web", "db"));
    await until(async () => JSON.stringify(await read(KEY)).includes('app == \\"db\\"'));
    cluster.kubernetes.remove(POLICIES, "shop/web");
    await until(async () => (await read(KEY)) === undefined);
  });

  test("namespaces and service accounts are profiles, slices are slices", async () => {
    await leads();
    cluster.kubernetes.put("/api/v1/namespaces", {
      metadata: {
        ...{ name: "shop", labels: { team: "red" } },
        annotations: { "cni.projectcalico.org/ipv4pools": '["red"]', other: "x" },
      },
    });
    cluster.kubernetes.put("/api/v1/serviceaccounts", {
      metadata: { name: "till", namespace: "shop", labels: { role: "money" } },
    });
    cluster.kubernetes.put("/apis/discovery.k8s.io/v1/endpointslices", {
      metadata: { name: "db-1", namespace: "shop", labels: { "kubernetes.io/service-name": "db" } },
      ...{ addressType: "IPv4", endpoints: [{ addresses: ["10.244.0.9"], nodeName: "n1" }], ports: [] },
    });
    await until(async () => (await keys("/margay/v1/endpointslices/")).length === 1);
    expect(await until(() => read("/margay/v1/profiles/kns.shop"))).toMatchObject({
      metadata: {
        annotations: {
          "cni.projectcalico.org/ipv4pools": '["red"]',
          "margay.dev/made-from": "v1 Namespace",
        },
      },
      spec: { labelsToApply: { "pcns.team": "red", "pcns.projectcalico.org/name": "shop" } },
    });
    expect(await until(() => read("/margay/v1/profiles/ksa.shop.till"))).toMatchObject({
      spec: { labelsToApply: { "pcsa.role": "money" } },
    });
  });

  test("what vanished while nobody ran goes at the next start; what others wrote stays", async () => {
    cluster.kubernetes.put(POLICIES, policy("web", "web"));
    const first = await leads();
    await until(() => read(KEY));
    await first.stop();
    cluster.kubernetes.remove(POLICIES, "shop/web");
    const byHand = await put({
      ...{ kind: "NetworkPolicy", metadata: { name: "by-hand", namespace: "shop" } },
      spec: { selector: "all()", types: ["Ingress"] },
    });
    const profile = await put({ kind: "Profile", metadata: { name: "kns.other" }, spec: {} });
    const second = await leads("b");
    await until(async () => (await read(KEY)) === undefined);
    expect(await keys("/margay/v1/networkpolicies/")).toEqual([byHand]);
    expect(await keys("/margay/v1/profiles/")).toEqual([profile]);
    expect(await second.writes()).toBe(1);
  });

  test("equal is not written: a restart, a changed status and a touched object cost nothing", async () => {
    cluster.kubernetes.put(POLICIES, policy("web", "web"));
    const first = await leads();
    await until(() => read(KEY));
    await first.stop();
    const revision = cluster.store.revision;
    const second = await leads("b");
    cluster.kubernetes.put(POLICIES, { ...policy("web", "web"), status: { seen: true } });
    cluster.kubernetes.put(POLICIES, policy("other", "other"));
    await until(() => read("/margay/v1/networkpolicies/shop/knp.default.other"));
    expect(await second.writes()).toBe(1);
    expect(cluster.store.revision).toBe(revision + 1);
  });

  test("what somebody changes or deletes in the datastore is made right at once", async () => {
    cluster.kubernetes.put(POLICIES, policy("web", "web"));
    await leads();
    const { spec } = await until(() => read(KEY));
    await cluster.store.delete(KEY);
    expect((await until(() => read(KEY))).spec).toEqual(spec);
    await cluster.store.put(KEY, "{broken");
    await until(async () => (await cluster.store.get(KEY))?.value.includes("selector"));
  });

  test("a refused compare-and-swap and a lost datastore are tried again", async () => {
    await leads();
    cluster.store.failNext({ when: "before" });
    cluster.kubernetes.put(POLICIES, policy("web", "web"));
    await until(() => read(KEY));
  });

  test("a policy that cannot be enforced as written fails closed, with an Event that says why", async () => {
    await leads();
    const faulty = {
      podSelector: {},
      ingress: [{ from: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["192.168.0.0/16"] } }] }],
    };
    cluster.kubernetes.put(POLICIES, named("web", "shop", { spec: faulty }));
    expect(await until(() => read(KEY))).toMatchObject({
      spec: { selector: 'projectcalico.org/orchestrator == "k8s"', types: ["Ingress", "Egress"] },
    });
    const event = await until(() => cluster.kubernetes.objects("/api/v1/events")[0]);
    expect(event).toMatchObject({
      ...{ type: "Warning", reason: "Refused", involvedObject: { kind: "NetworkPolicy", name: "web" } },
      message: expect.stringContaining("must be strictly within 10.0.0.0/8"),
    });
    const narrow = { ...faulty, podSelector: { matchLabels: { app: "web" } } };
    cluster.kubernetes.put(POLICIES, named("web", "shop", { spec: narrow }));
    await until(async () => JSON.stringify(await read(KEY)).includes('app == \\"web\\"'));
  });

  const CLUSTER_POLICIES = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies";
  const CLOSED = "/margay/v1/globalnetworkpolicies/kcnp.admin.guard";
  const guard = (more: object) =>
    named("guard", undefined, {
      spec: {
        ...{ tier: "Admin", priority: 7, subject: { namespaces: { matchLabels: { team: "blue" } } } },
        ingress: [{ action: "Deny", from: [{ namespaces: {} }] }],
        ...more,
      },
    });
  const byName = [{ action: "Deny", to: [{ domainNames: ["example.org"] }] }];

  test.each<[why: string, more: object, spec: object]>([
    [
      "its pods in the directions that it has rules for",
      { egress: byName, ingress: [] },
      {
        ...{ tier: "kube-admin", order: 7, types: ["Egress"], egress: [{ action: "Deny" }] },
        ...{ namespaceSelector: 'team == "blue"', selector: 'projectcalico.org/orchestrator == "k8s"' },
      },
    ],
    [
      "every pod, when its subject cannot be read",
      { subject: { moons: {} }, egress: byName },
      {
        ...{ types: ["Ingress", "Egress"], ingress: [{ action: "Deny" }], egress: [{ action: "Deny" }] },
        selector: 'projectcalico.org/orchestrator == "k8s"',
      },
    ],
    [
      "before all others, when its place cannot be read",
      { tier: "Imperial", priority: "first" },
      { tier: "kube-admin", order: 0, types: ["Ingress"], namespaceSelector: 'team == "blue"' },
    ],
  ])("a ClusterNetworkPolicy that is refused closes %s, until it is mended", async (_why, more, spec) => {
    await leads();
    cluster.kubernetes.put(CLUSTER_POLICIES, guard(more));
    const closed = await until(() => read(CLOSED));
    expect(closed).toMatchObject({ spec });
    expect("namespaceSelector" in (closed?.spec ?? {})).toBe("namespaceSelector" in spec);
    const event = await until(() => cluster.kubernetes.objects("/api/v1/events")[0]);
    expect(event).toMatchObject({
      ...{ reason: "Refused", involvedObject: { kind: "ClusterNetworkPolicy", name: "guard" } },
      message: expect.stringContaining("until it is corrected its pods are closed"),
    });
    cluster.kubernetes.put(CLUSTER_POLICIES, guard({}));
    const isMended = async () => JSON.stringify(await read(CLOSED)).includes('"source"');
    await until(isMended);
    cluster.kubernetes.put(CLUSTER_POLICIES, guard(more));
    await until(async () => !(await isMended()));
    cluster.kubernetes.remove(CLUSTER_POLICIES, "guard");
    await until(async () => (await read(CLOSED)) === undefined);
  });

  test("a ClusterNetworkPolicy with a peer of a later version closes the rule that names it, and says so", async () => {
    await leads();
    const rules = [
      { action: "Accept", from: [{ tenants: {} }] },
      { action: "Accept", from: [{ namespaces: {} }] },
    ];
    cluster.kubernetes.put(CLUSTER_POLICIES, guard({ ingress: rules }));
    const closed = await until(() => read(CLOSED));
    expect(closed).toMatchObject({ spec: { ingress: [{ action: "Allow", source: expect.anything() }] } });
    const event = await until(() => cluster.kubernetes.objects("/api/v1/events")[0]);
    expect(event).toMatchObject({
      ...{ reason: "Refused", involvedObject: { kind: "ClusterNetworkPolicy", name: "guard" } },
      message: expect.stringMatching(
        /found 0; until it is corrected a rule with such a peer accepts nothing/,
      ),
    });
  });

  test.each<[kind: string, plural: string, key: string, more: object]>([
    ["AdminNetworkPolicy", "adminnetworkpolicies", "kanp.adminnetworkpolicy.guard", { priority: 7 }],
    [
      "BaselineAdminNetworkPolicy",
      "baselineadminnetworkpolicies",
      "kbanp.baselineadminnetworkpolicy.guard",
      {},
    ],
  ])(
    "%s is followed where the cluster has the kind, and closes its pods when refused",
    async (kind, plural, name, more) => {
      const path = `/apis/policy.networking.k8s.io/v1alpha1/${plural}`;
      const key = keyOf("GlobalNetworkPolicy", name);
      const spec = { subject: { namespaces: {} }, ...more };
      await leads();
      cluster.kubernetes.put(path, named("guard", undefined, { spec: { ...spec, egress: byName } }));
      expect(await until(() => read(key))).toMatchObject({ spec: { egress: [{ action: "Deny" }] } });
      const event = await until(() => cluster.kubernetes.objects("/api/v1/events")[0]);
      expect(event).toMatchObject({ involvedObject: { kind, name: "guard" }, reason: "Refused" });
      const networks = [{ networks: ["10.0.0.0/8"] }];
      cluster.kubernetes.put(
        path,
        named("guard", undefined, { spec: { ...spec, egress: [{ action: "Allow", to: networks }] } }),
      );
      await until(async () => JSON.stringify(await read(key)).includes('"nets":["10.0.0.0/8"]'));
      cluster.kubernetes.remove(path, "guard");
      await until(async () => (await read(key)) === undefined);
    },
  );

  test("a policy with the longest name that Kubernetes has is stored under a shorter one", async () => {
    const name = "a".repeat(253);
    await leads();
    cluster.kubernetes.put(POLICIES, policy(name, "web"));
    const key = await until(async () => (await keys("/margay/v1/networkpolicies/"))[0]);
    expect(key).toMatch(/\/knp\.default\.a{225}[0-9a-f]{16}$/);
    cluster.kubernetes.remove(POLICIES, `shop/${name}`);
    await until(async () => (await keys("/margay/v1/networkpolicies/")).length === 0);
  });
});

describe("nothing is open before the policies are there", () => {
  const KEY = "/margay/v1/networkpolicies/shop/knp.default.web";
  const revisionOf = async (key: string) => (await until(() => cluster.store.get(key))).revision;

  test.each<[why: string, hinder: () => void]>([
    [
      "their list comes late",
      () => cluster.kubernetes.fail({ on: "networking.k8s.io/v1/networkpolicies", status: 503 }),
    ],
    ["the datastore does not take them at once", () => cluster.store.failNext({ when: "before" })],
  ])("no Node, no profile of a namespace: %s", async (_why, hinder) => {
    cluster.kubernetes.put("/api/v1/namespaces", { metadata: { name: "shop" } });
    cluster.kubernetes.put(NODES, { metadata: { name: "n1" } });
    cluster.kubernetes.put(POLICIES, policy("web", "web"));
    hinder();
    await cluster.replica("a");
    const written = await revisionOf(KEY);
    expect(await revisionOf("/margay/v1/profiles/kns.shop")).toBeGreaterThan(written);
    expect(await revisionOf("/margay/v1/nodes/n1")).toBeGreaterThan(written);
  });

  test("a policy that the datastore does not take is closed, and nobody waits for it", async () => {
    const own = "/apis/margay.dev/v1/networkpolicies";
    const { commit } = cluster.store;
    cluster.store.commit = async (changes) => {
      if (changes.some((change) => change.type !== "delete" && change.value.length > 2000))
        throw new StoreError("too-large", "it is larger than etcd's --max-request-bytes");
      return commit.call(cluster.store, changes);
    };
    const nets = Array.from({ length: 250 }, (_, i) => `10.0.${i}.0/24`);
    const ipBlock = { cidr: "10.0.0.0/16", except: nets };
    cluster.kubernetes.put("/api/v1/namespaces", { metadata: { name: "shop" } });
    cluster.kubernetes.put(NODES, { metadata: { name: "n1" } });
    cluster.kubernetes.put(
      POLICIES,
      named("large", "shop", { spec: { podSelector: {}, ingress: [{ from: [{ ipBlock }] }] } }),
    );
    cluster.kubernetes.put(POLICIES, policy("web", "web"));
    cluster.kubernetes.put(
      own,
      named("large", "shop", {
        spec: { selector: "app == 'db'", ingress: [{ action: "Allow", source: { nets } }] },
      }),
    );
    const replica = await cluster.replica("a");
    await revisionOf("/margay/v1/profiles/kns.shop");
    await revisionOf("/margay/v1/nodes/n1");
    const deny = { types: ["Ingress"], ingress: [{ action: "Deny" }] };
    const stored = (name: string) => read(`/margay/v1/networkpolicies/shop/${name}`);
    expect(await stored("knp.default.web")).toBeDefined();
    expect(await stored("knp.default.large")).toMatchObject({ spec: deny });
    expect(await stored("large")).toMatchObject({ spec: { ...deny, selector: "app == 'db'" } });
    expect(cluster.kubernetes.objects(own)).toMatchObject([
      {
        status: {
          conditions: [
            { status: "False", message: expect.stringMatching(/more than the datastore takes.*is closed/) },
          ],
        },
      },
    ]);
    expect(replica.events("refused").map(({ kind, name }) => `${kind} ${name}`)).toEqual(
      Array(2).fill("NetworkPolicy large"),
    );
    await until(() => replica.notReady().length === 0);
  });

  test("a kind that the cluster does not have is not waited for, and followed once it has it", async () => {
    const path = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies";
    for (let tries = 0; tries < 2; tries++) cluster.kubernetes.fail({ on: path, status: 404 });
    cluster.kubernetes.put("/api/v1/namespaces", { metadata: { name: "shop" } });
    cluster.kubernetes.put(path, named("guard", undefined, { spec: {} }));
    const replica = await leads();
    const profile = await revisionOf("/margay/v1/profiles/kns.shop");
    expect(replica.events("kind-missing")).toHaveLength(1);
    expect(await revisionOf("/margay/v1/globalnetworkpolicies/kcnp.admin.guard")).toBeGreaterThan(profile);
  });
});

describe("our own kinds", () => {
  const pool = (cidr: string, more = {}) => ({
    metadata: { name: "pods", generation: 1 },
    spec: { cidr },
    ...more,
  });
  const accepted = () => {
    const [found] = cluster.kubernetes.objects(POOLS);
    const { conditions } = (found?.status ?? {}) as { conditions?: { status: string; message: string }[] };
    return conditions?.[0];
  };

  test("are accepted in their status, once", async () => {
    await leads();
    cluster.kubernetes.put(POOLS, pool("10.244.0.0/16"));
    expect(await until(accepted)).toMatchObject({ type: "Accepted", status: "True", observedGeneration: 1 });
    expect(await read("/margay/v1/ippools/pods")).toMatchObject({ spec: { cidr: "10.244.0.0/16" } });
    await sleep(100);
    expect(cluster.kubernetes.requests.filter((text) => text.startsWith("PATCH"))).toHaveLength(1);
  });

  test("are refused with every reason, and what was in force stays", async () => {
    await leads();
    cluster.kubernetes.put(POOLS, pool("10.244.0.0/16"));
    await until(accepted);
    cluster.kubernetes.put(POOLS, pool("10.244.0.0/16", { spec: { cidr: "10.244.0.0/16", blockSize: 8 } }));
    expect(await until(() => accepted()?.status === "False" && accepted())).toMatchObject({
      reason: "Invalid",
      message: "spec.blockSize: must be 20 to 32 for IPv4, found 8",
    });
    expect(await until(() => cluster.kubernetes.objects("/api/v1/events")[0])).toMatchObject({
      ...{ type: "Warning", reason: "Refused", involvedObject: { kind: "IPPool", name: "pods" } },
      message: expect.stringContaining("spec.blockSize: must be 20 to 32"),
    });
    expect(await read("/margay/v1/ippools/pods")).toMatchObject({ spec: { blockSize: 26 } });
  });

  test("a refused policy closes what it selects where none of its name was in force, and only there", async () => {
    const path = "/apis/margay.dev/v1/networkpolicies";
    const key = "/margay/v1/networkpolicies/shop/web";
    const web = (spec: object, generation: number) => {
      const metadata = { name: "web", namespace: "shop", generation };
      cluster.kubernetes.put(path, { metadata, spec: { selector: "app == 'web'", ...spec } });
    };
    const message = () => {
      const [found] = cluster.kubernetes.objects(path);
      const { conditions } = (found?.status ?? {}) as { conditions?: { message: string }[] };
      return conditions?.[0]?.message ?? "";
    };
    const refused = { order: 5, ingress: [{ action: "Allow", http: { methods: ["GET"] } }] };
    await leads();
    web(refused, 1);
    expect(await until(() => read(key))).toMatchObject({
      spec: { selector: "app == 'web'", order: 5, types: ["Ingress"], ingress: [{ action: "Deny" }] },
    });
    await until(() => message().includes("until it is corrected what it selects is closed"));
    web({ ...refused, order: 6 }, 2);
    await until(async () => JSON.stringify(await read(key)).includes('"order":6'));
    web({ ingress: [{ action: "Allow" }] }, 3);
    await until(async () => JSON.stringify(await read(key)).includes('"Allow"'));
    web(refused, 4);
    await until(() => message().includes("http"));
    expect(message()).not.toContain("closed");
    expect(await read(key)).toMatchObject({ spec: { ingress: [{ action: "Allow" }] } });
  });

  test("a pool that overlaps another is refused, and accepted when the other is gone", async () => {
    const byHand = await put({
      kind: "IPPool",
      metadata: { name: "by-hand" },
      spec: { cidr: "10.244.8.0/24" },
    });
    await leads();
    cluster.kubernetes.put(POOLS, pool("10.244.0.0/16"));
    expect(await until(accepted)).toMatchObject({
      ...{ status: "False", reason: "Invalid" },
      message: "spec.cidr: 10.244.0.0/16 overlaps pool by-hand, which has 10.244.8.0/24",
    });
    expect(await read("/margay/v1/ippools/pods")).toBeUndefined();
    await cluster.store.delete(byHand);
    await until(() => accepted()?.status === "True");
    expect(await read("/margay/v1/ippools/pods")).toBeDefined();
  });

  test("of two pools that come at once and overlap, one is accepted", async () => {
    await leads();
    const other = { ...pool("10.244.0.0/20"), metadata: { name: "other", generation: 1 } };
    cluster.kubernetes.put(POOLS, pool("10.244.0.0/16"));
    cluster.kubernetes.put(POOLS, other);
    const all = () => cluster.kubernetes.objects(POOLS).map(({ status }) => JSON.stringify(status ?? ""));
    await until(() => all().every((text) => text.includes("Accepted")));
    expect(all().filter((text) => text.includes('"True"'))).toHaveLength(1);
    expect(await keys("/margay/v1/ippools/")).toHaveLength(1);
  });

  test("a pool whose addresses are in use gives out no more, and goes when they are free", async () => {
    await leads();
    cluster.kubernetes.put(POOLS, pool("10.244.0.0/16"));
    await until(accepted);
    const block = {
      cidr: "10.244.3.64/26",
      ...{ affinityClaimTime: "2026-01-01T00:00:00Z", sequenceNumber: 1, unallocated: [] },
      allocations: { "0": { handle: "h", sequence: 0, attributes: {} } },
    };
    const key = await put({ kind: "IPAMBlock", metadata: { name: "10.244.3.64-26" }, spec: block });
    cluster.kubernetes.remove(POOLS, "pods");
    await until(async () =>
      JSON.stringify(await read("/margay/v1/ippools/pods")).includes('"disabled":true'),
    );
    await cluster.store.delete(key);
    await until(async () => (await read("/margay/v1/ippools/pods")) === undefined);
  });
});

describe("pods", () => {
  const endpoint = (pod: string, labels: Record<string, string>) => ({
    kind: "WorkloadEndpoint",
    metadata: {
      ...{ name: `n1-k8s-${pod}-eth0`, namespace: "shop" },
      labels: { ...labels, "projectcalico.org/namespace": "shop", "projectcalico.org/orchestrator": "k8s" },
    },
    spec: {
      ...{
        orchestrator: "k8s",
        node: "n1",
        pod,
        endpoint: "eth0",
        interfaceName: "cali0",
        containerID: "c1",
      },
      ipNetworks: ["10.244.0.1/32"],
    },
  });

  test("a label reaches the endpoint, whichever of both comes first; equal ones are not written", async () => {
    cluster.kubernetes.put(PODS, { metadata: { name: "web", namespace: "shop", labels: { app: "web" } } });
    const replica = await leads();
    const key = await put(endpoint("web", {}));
    const labels = async () => (await read(key))?.metadata.labels;
    await until(async () => (await labels())?.app === "web");
    expect(await labels()).toEqual({
      ...{ app: "web", "projectcalico.org/namespace": "shop", "projectcalico.org/orchestrator": "k8s" },
    });
    cluster.kubernetes.put(PODS, { metadata: { name: "web", namespace: "shop", labels: { app: "db" } } });
    await until(async () => (await labels())?.app === "db");
    expect(await replica.writes()).toBe(2);
  });

  interface Held {
    readonly pod: string;
    /** What ADD was told, if anything. */
    readonly podUID?: string;
    /** The pod of that name, as Kubernetes has it. */
    readonly now?: object;
  }
  const gone = { pod: "gone", podUID: "old", now: { uid: "new" } };
  const hash = "d3b07384d113edec49eaa6238ad5ff00";
  const staying: readonly (Held & { why: string })[] = [
    { why: "the pod is there", pod: "here", podUID: "same", now: { uid: "same" } },
    { why: "nobody knows the UID: no proof", pod: "unknown", now: { uid: "other" } },
    {
      why: "the runtime calls a static pod by its manifest's hash, which its mirror bears as an annotation",
      ...{ pod: "static", podUID: "own" },
      now: { uid: "other", annotations: { "kubernetes.io/config.mirror": "own" } },
    },
    {
      why: "a static pod runs also where its mirror cannot be made, and only its node knows",
      ...{ pod: "unmirrored", podUID: hash },
    },
  ];
  const blockOf = (all: readonly Held[]) => ({
    kind: "IPAMBlock",
    metadata: { name: "10.244.0.0-26" },
    spec: {
      ...{ cidr: "10.244.0.0/26", affinity: "host:n1", affinityClaimTime: "2026-01-01T00:00:00Z" },
      ...{ sequenceNumber: 5, unallocated: [] },
      allocations: Object.fromEntries(
        all.map(({ pod, podUID }, ordinal) => [
          ordinal,
          {
            ...{ handle: `margay.${pod}`, sequence: 4 },
            attributes: {
              ...{ pod, namespace: "shop", node: "n1", containerID: pod },
              ...(podUID && { podUID }),
            },
          },
        ]),
      ),
    },
  });

  test("a pod that is gone, by UID and after the grace period, loses endpoint and address; no other does", async () => {
    const all = [gone, ...staying];
    const block = await put(blockOf(all));
    for (const { pod: name, now } of all)
      if (now) cluster.kubernetes.put(PODS, { metadata: { name, namespace: "shop", ...now } });
    for (const { pod } of all) {
      const { spec, ...rest } = endpoint(pod, {});
      await put({ ...rest, spec: { ...spec, containerID: pod } });
    }
    await leads("a", { leakGracePeriod: 1 });
    const spec = async () => (await until(() => read(block))).spec as IPAMBlock["spec"];
    expect(await until(async () => (await spec()).released)).toMatchObject([
      { reason: "container-gone", pod: "gone" },
    ]);
    const names = staying.map(({ pod }) => pod);
    expect(Object.values((await spec()).allocations).map(({ handle }) => handle)).toEqual(
      names.map((name) => `margay.${name}`),
    );
    expect(await keys("/margay/v1/workloadendpoints/")).toEqual(
      names.map((name) => keyOf("WorkloadEndpoint", `n1-k8s-${name}-eth0`, "shop")).sort(),
    );
  });
});

describe("nodes", () => {
  const node = (labels = {}, annotations = {}) => ({
    metadata: { name: "n1", labels, annotations },
    spec: { podCIDRs: ["10.1.0.0/24"] },
    status: {
      addresses: [
        { type: "InternalIP", address: "172.20.0.11" },
        { type: "Hostname", address: "n1" },
      ],
    },
  });
  const KEY = "/margay/v1/nodes/n1";

  test("addresses, labels, podCIDRs and AS; what the agent knows better stays", async () => {
    await leads();
    cluster.kubernetes.put(NODES, node({ rack: "r1" }, { "projectcalico.org/ASNumber": "65001" }));
    const made = await until(() => read(KEY));
    expect(made).toMatchObject({
      metadata: { labels: { rack: "r1" } },
      spec: { bgp: { asNumber: 65001, ipv4Address: "172.20.0.11/32" } },
      status: { podCIDRs: ["10.1.0.0/24"] },
    });
    await put({ ...made, spec: { ...(made.spec as object), bgp: { ipv4Address: "172.20.0.11/24" } } });
    cluster.kubernetes.put(NODES, node({ rack: "r2", "margay.dev/route-reflector": "" }));
    await until(async () => (await read(KEY))?.metadata.labels?.rack === "r2");
    expect(await read(KEY)).toMatchObject({
      spec: { bgp: { ipv4Address: "172.20.0.11/24", routeReflectorClusterID: "244.0.0.1" } },
    });
  });

  test("of a deleted node everything is freed, and its Node goes last", async () => {
    cluster.kubernetes.put(NODES, node());
    await leads();
    await until(() => read(KEY));
    await put({
      ...{ kind: "BlockAffinity", metadata: { name: "n1-10.244.0.0-26" } },
      spec: { state: "confirmed", node: "n1", cidr: "10.244.0.0/26" },
    });
    await put({
      ...{ kind: "IPAMBlock", metadata: { name: "10.244.0.0-26" } },
      spec: {
        ...{ cidr: "10.244.0.0/26", affinity: "host:n1", affinityClaimTime: "2026-01-01T00:00:00Z" },
        ...{ sequenceNumber: 5, unallocated: [] },
        allocations: {
          "0": {
            handle: "vxlan-tunnel-addr-n1",
            sequence: 3,
            attributes: { node: "n1", type: "vxlanTunnelAddress" },
          },
          "1": {
            handle: "margay.c1",
            sequence: 4,
            attributes: { node: "n1", pod: "web", containerID: "c1" },
          },
        },
      },
    });
    const foreign = await put({ kind: "Node", metadata: { name: "router" }, spec: {} });
    cluster.kubernetes.remove(NODES, "n1");
    await until(async () => (await keys("/margay/v1/nodes/")).join() === foreign);
    expect(await keys("/margay/v1/ipamblocks/")).toEqual([]);
    expect(await keys("/margay/v1/blockaffinities/")).toEqual([]);
  });

  const web = {
    ...{ kind: "WorkloadEndpoint", metadata: { name: "n1-k8s-web-eth0", namespace: "shop" } },
    spec: {
      ...{ orchestrator: "k8s", node: "n1", pod: "web", endpoint: "eth0", containerID: "c1" },
      ...{ interfaceName: "cali0", ipNetworks: ["10.244.0.1/32"] },
    },
  };
  const lookedAt = (times: number) =>
    until(() => cluster.kubernetes.requests.filter((text) => text === `GET ${NODES}/n1`).length >= times);

  test("a deleted node keeps everything while pods are bound to it: its kubelet may register it again", async () => {
    cluster.kubernetes.put(NODES, node());
    cluster.kubernetes.put(PODS, named("web", "shop", { spec: { nodeName: "n1" } }));
    const endpoint = await put(web);
    await leads();
    await until(() => read(KEY));
    cluster.kubernetes.remove(NODES, "n1");
    await lookedAt(2);
    expect(await read(endpoint)).toBeDefined();
    expect(await read(KEY)).toBeDefined();
    const whole = () =>
      cluster.kubernetes.requests.filter((text) => /nodeName=n1/.test(text) && !/Version=0/.test(text));
    expect(whole()).toEqual([]); // its cache says so already
    cluster.kubernetes.remove(PODS, "shop/web");
    await until(async () => (await read(KEY)) === undefined);
    expect(whole()).toHaveLength(1);
    expect(await read(endpoint)).toBeUndefined();
  });

  test.each<[its: string, change: (key: string) => Promise<unknown>, stays: boolean]>([
    ["its blocks, though an endpoint is gone", async () => {}, false],
    [
      "an endpoint, too, that it has made anew",
      async (key) => cluster.store.put(key, `${(await cluster.store.get(key))?.value} `),
      true,
    ],
  ])("a node that is back while it is being deleted keeps %s", async (_its, change, stays) => {
    cluster.kubernetes.put(NODES, node());
    await leads();
    await until(() => read(KEY));
    const affinity = await put({
      ...{ kind: "BlockAffinity", metadata: { name: "n1-10.244.0.0-26" } },
      spec: { state: "confirmed", node: "n1", cidr: "10.244.0.0/26" },
    });
    const former = await put(web);
    const { commit } = cluster.store;
    cluster.store.commit = async (changes) => {
      cluster.store.commit = commit;
      await change(former);
      cluster.kubernetes.setSilent(true); // the cache lags
      cluster.kubernetes.put(NODES, node());
      return commit.call(cluster.store, changes);
    };
    cluster.kubernetes.remove(NODES, "n1");
    await lookedAt(2);
    await sleep(100);
    expect((await read(former)) !== undefined).toBe(stays);
    expect(await read(affinity)).toBeDefined();
    expect(await read(KEY)).toBeDefined();
  });
});

describe("replicas", () => {
  test("only the leader writes; who is stopped hands over, and the other has warm caches", async () => {
    const first = await leads("a");
    const second = await cluster.replica("b");
    await until(() => second.notReady().length === 0);
    cluster.kubernetes.put(POLICIES, policy("web", "web"));
    await until(() => read("/margay/v1/networkpolicies/shop/knp.default.web"));
    expect([await first.writes(), await second.writes()]).toEqual([1, 0]);
    await first.stop();
    cluster.kubernetes.put(POLICIES, policy("web", "db"));
    await until(() => second.events("leader").length > 0);
    await until(async () => (await second.writes()) === 1);
  });

  test("a datastore that is away shows in readiness, and what changed meanwhile is written when it is back", async () => {
    const replica = await leads();
    const { list, watch } = cluster.store;
    const away = () => {
      throw new StoreError("unavailable", "etcd does not answer at 127.0.0.1:2379: is it running?");
    };
    Object.assign(cluster.store, { list: async () => away(), watch: away });
    cluster.store.disconnect();
    expect(await until(() => replica.notReady().join() || undefined)).toMatch(
      /^(memory store: disconnected on demand|etcd does not answer at 127.0.0.1:2379: is it running\?)$/,
    );
    cluster.kubernetes.put(POLICIES, policy("web", "web"));
    Object.assign(cluster.store, { list, watch });
    await until(() => read("/margay/v1/networkpolicies/shop/knp.default.web"));
    await until(() => replica.notReady().length === 0);
    expect(replica.events("datastore-lost")).toHaveLength(1);
    expect(replica.events("policy-not-copied")).toEqual([]);
    expect(replica.events("connected")).toHaveLength(1);
  });

  test("an API server that is away shows in readiness, once in the log, and nothing is removed meanwhile", async () => {
    cluster.kubernetes.put(POLICIES, policy("web", "web"));
    const replica = await leads();
    const key = "/margay/v1/networkpolicies/shop/knp.default.web";
    await until(() => read(key));
    const failing = setInterval(() => cluster.kubernetes.fail({ on: "networkpolicies", status: 503 }), 20);
    cluster.kubernetes.cut();
    await until(() => replica.notReady()[0]?.includes("networkpolicies")).finally(() =>
      clearInterval(failing),
    );
    expect(await read(key)).toBeDefined();
    expect(replica.events("kubernetes-lost")).toHaveLength(1);
  });
});

test("who starts while neither answers waits, says so in one line each with what to do, and goes on when they do", async () => {
  const { list, watch } = cluster.store;
  const away = () => {
    throw new StoreError("unavailable", "etcd does not answer at 127.0.0.1:2379: is it running?");
  };
  Object.assign(cluster.store, { list: async () => away(), watch: away });
  const replica = await cluster.replica("a", {}, { ...cluster.kubernetes.access, url: "http://127.0.0.1:1" });
  await until(
    () => replica.events("kubernetes-lost").length === 1 && replica.events("datastore-lost").length === 1,
  );
  await sleep(2500); // some more tries of each
  expect(replica.texts("warn")).toEqual([
    expect.stringContaining("etcd does not answer at 127.0.0.1:2379"),
    expect.stringMatching(/^API server http:\/\/127.0.0.1:1: .*ECONNREFUSED.*--kubeconfig/),
  ]);
  expect(replica.notReady().join()).toContain("API server http://127.0.0.1:1");
  Object.assign(cluster.store, { list, watch });
  await until(() => !replica.notReady().join().includes("etcd"));
});

test("a pool waits for the pools that the datastore has, without a word of its own", async () => {
  const { list, watch } = cluster.store;
  const away = () => {
    throw new StoreError("unavailable", "etcd does not answer at 127.0.0.1:2379: is it running?");
  };
  Object.assign(cluster.store, { list: async () => away(), watch: away });
  const pool = { metadata: { name: "first" }, spec: { cidr: "10.244.0.0/16" } };
  cluster.kubernetes.put("/apis/margay.dev/v1/ippools", pool);
  const replica = await cluster.replica("a");
  await until(() => replica.events("leader").length > 0 && replica.events("datastore-lost").length > 0);
  await sleep(1500); // some more tries
  expect(replica.texts("warn")).toEqual([expect.stringContaining("etcd does not answer at 127.0.0.1:2379")]);
  Object.assign(cluster.store, { list, watch });
  await until(() => read("/margay/v1/ippools/first"));
});

describe("services", () => {
  const SERVICES = "/api/v1/services";
  const SLICES = "/apis/discovery.k8s.io/v1/endpointslices";
  const web = (spec: object) =>
    named("web", "shop", { spec: { clusterIPs: ["10.96.0.20"], ports: [{ port: 80 }], ...spec } });
  const slice = (conditions: object): KubernetesObject => ({
    metadata: { name: "web-1", namespace: "shop", labels: { "kubernetes.io/service-name": "web" } },
    ...{ addressType: "IPv4", ports: [] },
    endpoints: [{ addresses: ["10.244.0.9"], nodeName: "n1", conditions }],
  });
  const stored = async () => (await read("/margay/v1/services/shop/web"))?.spec as ServiceSpec | undefined;

  test("its addresses, its policy, and whether anybody is ready; a headless one is none", async () => {
    await leads();
    cluster.kubernetes.put(SERVICES, web({ externalTrafficPolicy: "Local", externalIPs: ["192.0.2.9"] }));
    cluster.kubernetes.put(SERVICES, named("headless", "shop", { spec: { clusterIPs: ["None"] } }));
    expect(await until(stored)).toEqual({
      ...{ clusterIPs: ["10.96.0.20"], externalIPs: ["192.0.2.9"], loadBalancerIPs: [] },
      ...{ externalTrafficPolicy: "Local", ready: false },
      ports: [{ port: 80, protocol: "TCP" }],
    });
    cluster.kubernetes.put(SLICES, slice({ ready: true }));
    await until(async () => (await stored())?.ready);
    cluster.kubernetes.put(SLICES, slice({ ready: false }));
    await until(async () => (await stored())?.ready === false);
    cluster.kubernetes.put(SLICES, slice({})); // says nothing: ready
    await until(async () => (await stored())?.ready);
    cluster.kubernetes.put(SLICES, slice({ ready: true, serving: true, terminating: true }));
    await until(async () => (await stored())?.ready === false); // while it still answers
    expect(await read("/margay/v1/endpointslices/shop/web-1")).toMatchObject({
      spec: { endpoints: [{ nodeName: "n1", ready: false }] },
    });
    cluster.kubernetes.remove(SERVICES, "shop/web");
    await until(async () => (await stored()) === undefined);
    expect(await keys("/margay/v1/services/")).toEqual([]);
  });

  test("a load balancer gets an address from a pool for that use, in its status and in the datastore", async () => {
    await leads();
    cluster.kubernetes.put(SERVICES, web({ type: "LoadBalancer" }));
    await sleep(100);
    expect(cluster.kubernetes.requests.filter((text) => text.startsWith("PATCH"))).toEqual([]);
    const spec = { cidr: "203.0.113.0/30", blockSize: 32, allowedUses: ["LoadBalancer"] };
    await put({ kind: "IPPool", metadata: { name: "balancers" }, spec });
    await until(async () => JSON.stringify(await stored()).includes("203.0.113.0"));
    expect(cluster.kubernetes.objects(SERVICES)[0]?.status).toEqual({
      loadBalancer: { ingress: [{ ip: "203.0.113.0", ipMode: "VIP" }] },
    });
  });
});
