import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { memoryStore } from "@margay/datastore";
import { memoryApiServer } from "@margay/kubernetes";
import pc from "picocolors";
import { documentsIn, importCalico } from "./import.ts";
import { convertCalico } from "./import-calico.ts";
import { liveObjects } from "./import-live.ts";

const v3 = (kind: string, name: string, spec: object, metadata: object = {}) => ({
  ...{ apiVersion: "projectcalico.org/v3", kind, metadata: { name, ...metadata }, spec },
});
const judge = (document: object) => {
  const { report, resources } = convertCalico([{ origin: "calico.yaml:1", document }]);
  return { ...report[0], spec: resources[0]?.resource.spec, metadata: resources[0]?.resource.metadata };
};

test.each<[why: string, document: object, expected: object]>([
  [
    "what is the same is taken as it is",
    v3("BGPPeer", "tor", { peerIP: "192.0.2.1", asNumber: 65000 }),
    { what: "BGPPeer/tor", outcome: "imported", notes: [], spec: { peerIP: "192.0.2.1", asNumber: 65000 } },
  ],
  [
    "IP-in-IP becomes VXLAN, and the report says so",
    v3("IPPool", "pods", { cidr: "192.168.0.0/16", ipipMode: "CrossSubnet", natOutgoing: true }),
    {
      ...{ outcome: "imported", spec: { vxlanMode: "CrossSubnet", ipipMode: "Never" } },
      notes: ["ipipMode CrossSubnet: there is no IP-in-IP; VXLAN with the same mode in its place"],
    },
  ],
  [
    "a field without equivalent is named",
    v3("FelixConfiguration", "default", { bpfEnabled: true, goGCThreshold: 40 }),
    {
      ...{ outcome: "imported" },
      notes: expect.arrayContaining([
        "bpfEnabled: there is no eBPF dataplane; nftables or iptables enforce",
        "spec.goGCThreshold has no equivalent: it has no effect",
      ]),
    },
  ],
  [
    "Calico's CRDs keep the true labels in an annotation, and call a kind otherwise",
    {
      ...{
        apiVersion: "crd.projectcalico.org/v1",
        kind: "GlobalNetworkSet",
        spec: { nets: ["192.0.2.0/24"] },
      },
      metadata: {
        name: "bad",
        annotations: { "projectcalico.org/metadata": '{"labels":{"role":"bad"},"uid":"x"}' },
      },
    },
    { outcome: "imported", metadata: { name: "bad", labels: { role: "bad" } } },
  ],
  [
    "the kind that CRDs call otherwise",
    { apiVersion: "crd.projectcalico.org/v1", kind: "IPAMConfig", metadata: { name: "default" }, spec: {} },
    { what: "IPAMConfiguration/default", outcome: "imported" },
  ],
  [
    "a limit of blocks beside borrowing, as Calico's own example has it: here it needs strictAffinity, and is left out",
    v3("IPAMConfiguration", "default", { strictAffinity: false, maxBlocksPerHost: 4 }),
    {
      ...{ outcome: "imported", spec: { strictAffinity: false, maxBlocksPerHost: 0 } },
      notes: ["maxBlocksPerHost 4: no limit here, where nodes may borrow (strictAffinity false)"],
    },
  ],
  [
    "a field that has no equivalent is named and left out: kubectl apply would refuse the object for it",
    v3("FelixConfiguration", "default", { reportingInterval: "0s" }),
    {
      ...{ outcome: "imported", spec: expect.not.objectContaining({ reportingInterval: "0s" }) },
      notes: ["spec.reportingInterval has no equivalent: it has no effect"],
    },
  ],
  [
    "what other objects give rise to is left to the controllers",
    v3("NetworkPolicy", "knp.default.web", { selector: "all()" }, { namespace: "shop" }),
    { outcome: "skipped", notes: ["the controllers make it of Kubernetes' NetworkPolicy"] },
  ],
  [
    "a kind without place says where it went",
    v3("KubeControllersConfiguration", "default", {}),
    { outcome: "skipped", notes: ["these are flags of `margay controllers`"] },
  ],
  [
    "what the controllers were configured with is told by the flags that say it here",
    v3("KubeControllersConfiguration", "default", {
      controllers: {
        node: { leakGracePeriod: "20m", hostEndpoint: { autoCreate: "Enabled", templates: [{}] } },
        loadBalancer: { assignIPs: "RequestedServicesOnly" },
      },
    }),
    {
      outcome: "skipped",
      notes: [
        "these are flags of `margay controllers`",
        "leakGracePeriod 20m: --leak-grace-period, in seconds",
        "hostEndpoint.autoCreate Enabled: --auto-host-endpoints",
        "hostEndpoint.templates: no equivalent; write HostEndpoints",
        "loadBalancer.assignIPs RequestedServicesOnly: assignmentMode Manual of the pool",
      ],
    },
  ],
  [
    "a pool's fields of Calico's first API: without natOutgoing its pods would not reach the outside",
    v3("IPPool", "old", {
      ...{ cidr: "10.1.0.0/16", "nat-outgoing": true },
      ipip: { enabled: true, mode: "cross-subnet" },
    }),
    {
      ...{ outcome: "imported", spec: { natOutgoing: true, ipipMode: "Never", vxlanMode: "CrossSubnet" } },
      notes: ["ipipMode CrossSubnet: there is no IP-in-IP; VXLAN with the same mode in its place"],
    },
  ],
  [
    "what is not Calico's is not touched",
    { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "x" } },
    { outcome: "skipped", notes: ["v1 is not Calico's"] },
  ],
  [
    "what cannot be is refused with every reason",
    v3("IPPool", "pods", { cidr: "192.168.0.1/16", blockSize: 8 }),
    { outcome: "refused", notes: expect.arrayContaining([expect.stringContaining("spec.cidr")]) },
  ],
])("%s", (_why, document, expected) => expect(judge(document)).toMatchObject(expected));

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "import-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function terminal() {
  const [printed, warned]: [string[], string[]] = [[], []];
  return {
    ...{ printed, warned },
    print: (text: string) => void printed.push(text),
    warn: (text: string) => void warned.push(text),
    colours: pc.createColors(false),
  };
}

const FILE = `apiVersion: v1
kind: List
items:
  - apiVersion: projectcalico.org/v3
    kind: IPPool
    metadata: { name: pods, creationTimestamp: null }
    spec: { cidr: 192.168.0.0/16, ipipMode: Always }
---
apiVersion: projectcalico.org/v3
kind: ClusterInformation
metadata: { name: default }
spec: {}
`;

test("a file: reported, and applied unless only asked about; yaml can be applied by anybody", async () => {
  const path = join(folder, "calico.yaml");
  writeFileSync(path, FILE);
  const store = memoryStore();
  const run = async (request: Partial<Parameters<typeof importCalico>[1]>) => {
    const shown = terminal();
    await importCalico(
      documentsIn([path]),
      { output: "table", dryRun: false, ...request },
      { terminal: shown, withStore: (act) => act(store) },
    );
    return shown;
  };
  const dry = await run({ dryRun: true });
  expect(dry.warned.join()).toContain("1 imported, 1 skipped, 0 refused");
  expect(await store.get("/margay/v1/ippools/pods")).toBeUndefined();
  const { printed } = await run({ output: "yaml" });
  expect(printed.join()).toContain("vxlanMode: Always");
  expect(JSON.parse((await run({ output: "json" })).printed.join())).toMatchObject({
    report: [
      { what: "IPPool/pods", outcome: "imported" },
      { what: "ClusterInformation/default", outcome: "skipped" },
    ],
    resources: [{ kind: "IPPool", spec: { vxlanMode: "Always" } }],
  });
  expect(await store.get("/margay/v1/ippools/pods")).toBeUndefined();
  await run({});
  expect((await store.get("/margay/v1/ippools/pods"))?.value).toContain('"vxlanMode":"Always"');
});

test("one object that cannot be taken, and nothing is written", async () => {
  const store = memoryStore();
  const found = [
    { origin: "a", document: v3("Tier", "t", { order: 1 }) },
    { origin: "b", document: v3("BGPPeer", "x", { peerIP: "nonsense" }) },
  ];
  const importing = importCalico(
    found,
    { output: "table", dryRun: false },
    { terminal: terminal(), withStore: (act) => act(store) },
  );
  await expect(importing).rejects.toMatchObject({ code: "invalid" });
  expect((await store.list("/")).entries).toEqual([]);
});

test.each<[api: string, group: string, misses: number]>([
  ["its API server", "projectcalico.org/v3", 0],
  ["its CRDs, where that is not installed", "crd.projectcalico.org/v1", 1],
])("a running cluster, by %s: everything is reported", async (_api, apiVersion, misses) => {
  const kubernetes = await memoryApiServer();
  try {
    const put = (plural: string, object: ReturnType<typeof v3>) =>
      kubernetes.put(`/apis/${apiVersion}/${plural}`, { ...object, apiVersion });
    for (let i = 0; i < misses; i++) kubernetes.fail({ on: "/apis/projectcalico.org/v3", status: 404 });
    put("ippools", v3("IPPool", "pods", { cidr: "192.168.0.0/16", ipipMode: "Always" }));
    put("felixconfigurations", v3("FelixConfiguration", "default", { bpfEnabled: true }));
    put("bgppeers", v3("BGPPeer", "lost", { peerIP: "10.0.0.1" }));
    put("kubecontrollersconfigurations", v3("KubeControllersConfiguration", "default", {}));
    put("qospolicies", v3("QoSPolicy", "voice", { selector: "app == 'voice'" }));
    const kubeconfig = join(folder, "kubeconfig");
    writeFileSync(
      kubeconfig,
      JSON.stringify({
        "current-context": "c",
        contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
        clusters: [{ name: "c", cluster: { server: kubernetes.access.url } }],
        users: [{ name: "u", user: { token: "t" } }],
      }),
    );
    const { report } = convertCalico(await liveObjects(kubeconfig));
    expect(report).toEqual([
      {
        ...{ what: "IPPool/pods", outcome: "imported" },
        notes: ["ipipMode Always: there is no IP-in-IP; VXLAN with the same mode in its place"],
      },
      { what: "BGPPeer/lost", outcome: "refused", notes: ["spec.asNumber: is required with peerIP"] },
      {
        ...{ what: "FelixConfiguration/default", outcome: "imported" },
        notes: [
          "bpfEnabled: there is no eBPF dataplane; nftables or iptables enforce",
          "spec.bpfEnabled has no equivalent: it has no effect",
        ],
      },
      {
        ...{ what: "KubeControllersConfiguration/default", outcome: "skipped" },
        notes: ["these are flags of `margay controllers`"],
      },
      { what: "QoSPolicy/voice", outcome: "skipped", notes: ["Margay has no QoSPolicy"] },
    ]);
  } finally {
    await kubernetes.close();
  }
});
