import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { parseAllDocuments } from "yaml";
import { createNamespace } from "./cluster/api-server.ts";
import { Cluster } from "./cluster/cluster.ts";
import { CHART, NAMESPACE } from "./cluster/release.ts";
// @ts-expect-error plain JavaScript: it runs before anything is built
import { toolsFolder } from "./tools.mjs";

const HELM = join(toolsFolder(), "helm");
const EXTERNAL = {
  etcd: { mode: "external", external: { endpoints: ["https://10.0.0.5:2379"], tlsSecret: "etcd" } },
};
const HOST_LOCAL = { ...EXTERNAL, node: { agent: { ipam: { type: "host-local", subnet: "usePodCidr" } } } };
const bundled = (more: object = {}) => ({ etcd: { bundled: { clusterIPs: ["10.96.0.51"], ...more } } });

interface Rendered {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec?: unknown;
}

function helm(words: readonly string[], values: object) {
  const env = {
    ...process.env,
    HELM_CACHE_HOME: "/run/helm",
    HELM_CONFIG_HOME: "/run/helm",
    HELM_DATA_HOME: "/run/helm",
  };
  const all = [...words, "--kube-version", "1.34", "-f", "-"];
  return spawnSync(HELM, all, { input: JSON.stringify(values), encoding: "utf8", env });
}

/** Of the same values once. */
const rendered = new Map<object, Rendered[]>();
function render(values: object): Rendered[] {
  const former = rendered.get(values);
  if (former) return former;
  const { status, stdout, stderr } = helm(["template", "margay", CHART, "-n", "margay-system"], values);
  if (status !== 0) throw new Error(stderr);
  const all = parseAllDocuments(stdout)
    .map((document) => document.toJS() as Rendered)
    .filter(Boolean);
  rendered.set(values, all);
  return all;
}
const found = (all: readonly Rendered[], kind: string, name: string): string =>
  JSON.stringify(all.find((one) => one.kind === kind && one.metadata.name === name) ?? "none");

test("helm lint finds nothing", () => {
  expect(helm(["lint", CHART, "--strict"], EXTERNAL).stdout).toContain("0 chart(s) failed");
});

/** Values, where they show, and what must be there. */
const rows: readonly (readonly [string, object, string, string])[] = [
  ["nothing but an external etcd", EXTERNAL, "DaemonSet/margay-node", '"https://10.0.0.5:2379"'],
  ["a bundled etcd of one", bundled(), "StatefulSet/margay-etcd", '"replicas":1'],
  [
    "of three",
    bundled({ clusterIPs: ["10.96.0.51", "10.96.0.52", "10.96.0.53"] }),
    "StatefulSet/margay-etcd",
    "margay-etcd-2=https://margay-etcd-2.margay.internal:12380",
  ],
  ["over IPv6", bundled({ clusterIPs: ["fd00::51"] }), "DaemonSet/margay-node", "https://[fd00::51]:12379"],
  [
    "on a node's disk",
    bundled({ nodeName: "n1", storage: { type: "hostPath" } }),
    "StatefulSet/margay-etcd",
    '"/var/lib/margay-etcd"',
  ],
  [
    "of a storage class",
    bundled({ storage: { storageClassName: "fast", size: "8Gi" } }),
    "StatefulSet/margay-etcd",
    '"storageClassName":"fast"',
  ],
  [
    "with other ports",
    bundled({ clientPort: 4379, peerPort: 4380 }),
    "StatefulSet/margay-etcd",
    "https://0.0.0.0:4380",
  ],
  [
    "with a quota",
    bundled({ quotaBytes: 4294967296 }),
    "StatefulSet/margay-etcd",
    "--quota-backend-bytes=4294967296",
  ],
  [
    "with snapshots",
    bundled({ snapshots: { schedule: "0 * * * *", keep: 3 } }),
    "CronJob/margay-etcd-snapshots-0",
    '"schedule":"0 * * * *"',
  ],
  [
    "that begins with a snapshot",
    bundled({ restoreFrom: "by-hand-0.db" }),
    "StatefulSet/margay-etcd",
    "/snapshots/by-hand-0.db",
  ],
  [
    "whose jobs spare it",
    bundled({ restoreFrom: "by-hand-0.db" }),
    "CronJob/margay-etcd-snapshots-0",
    '"12","by-hand-0.db"]',
  ],
  [
    "of every member on its own node",
    bundled({ clusterIPs: ["10.96.0.51", "10.96.0.52", "10.96.0.53"] }),
    "CronJob/margay-etcd-snapshots-2",
    '"statefulset.kubernetes.io/pod-name":"margay-etcd-2"',
  ],
  [
    "with a member that begins anew",
    bundled({ initialClusterState: "existing" }),
    "StatefulSet/margay-etcd",
    "--initial-cluster-state=existing",
  ],
  ["without", bundled({ snapshots: { enabled: false } }), "CronJob/margay-etcd-snapshots-0", "none"],
  [
    "etcd with a password",
    { etcd: { mode: "external", external: { endpoints: ["http://a:2379"], authSecret: "login" } } },
    "DaemonSet/margay-node",
    '"MARGAY_ETCD_PASSWORD"',
  ],
  [
    "a CA without client certificates",
    {
      etcd: {
        mode: "external",
        external: { endpoints: ["https://a:2379"], tlsSecret: "ca", clientCertificate: false },
      },
    },
    "Deployment/margay-controllers",
    '"MARGAY_ETCD_CA"',
  ],
  [
    "a registry and a digest",
    { ...EXTERNAL, image: { repository: "reg/margay", digest: `sha256:${"0".repeat(64)}` } },
    "DaemonSet/margay-node",
    `reg/margay@sha256:${"0".repeat(64)}`,
  ],
  ["a tag", { ...EXTERNAL, image: { tag: "1.2.3" } }, "Deployment/margay-controllers", "margay:1.2.3"],
  [
    "pull secrets",
    { ...EXTERNAL, imagePullSecrets: [{ name: "regcred" }] },
    "DaemonSet/margay-node",
    '"regcred"',
  ],
  [
    "pools",
    { ...EXTERNAL, pools: [{ name: "p", cidr: "10.9.0.0/16", blockSize: 27, vxlanMode: "CrossSubnet" }] },
    "IPPool/p",
    '"blockSize":27',
  ],
  ["no pool", { ...EXTERNAL, pools: [] }, "IPPool/default-ipv4", "none"],
  [
    "an AS and a port",
    { ...EXTERNAL, bgpConfiguration: { asNumber: 65001, listenPort: 1179 } },
    "BGPConfiguration/default",
    '"listenPort":1179',
  ],
  [
    "a peer",
    { ...EXTERNAL, bgpPeers: [{ name: "tor", peerIP: "10.0.0.1", asNumber: 65000 }] },
    "BGPPeer/tor",
    '"peerIP":"10.0.0.1"',
  ],
  [
    "a peer's password",
    {
      ...EXTERNAL,
      bgpPeers: [
        {
          name: "tor",
          peerIP: "10.0.0.1",
          asNumber: 65000,
          password: { secretKeyRef: { name: "s.1", key: "k" } },
        },
      ],
    },
    "DaemonSet/margay-node",
    '"/etc/margay/secrets/s.1"',
  ],
  [
    "a filter",
    {
      ...EXTERNAL,
      bgpFilters: [{ name: "f", exportV4: [{ action: "Reject", cidr: "10.0.0.0/8", matchOperator: "In" }] }],
    },
    "BGPFilter/f",
    '"Reject"',
  ],
  [
    "reflectors",
    { ...EXTERNAL, bgpConfiguration: { nodeToNodeMeshEnabled: false }, reflectors: { enabled: true } },
    "BGPPeer/route-reflectors",
    "has(margay.dev/route-reflector)",
  ],
  [
    "that pods reach their own node",
    EXTERNAL,
    "FelixConfiguration/default",
    '"spec":{"defaultEndpointToHostAction":"Accept"}',
  ],
  [
    "a backend and an MTU",
    { ...EXTERNAL, felixConfiguration: { iptablesBackend: "NFT", vxlanMTU: 1400 } },
    "FelixConfiguration/default",
    '"vxlanMTU":1400',
  ],
  [
    "nodes by label",
    { ...EXTERNAL, node: { nodeSelector: { network: "margay" }, maxUnavailable: "10%" } },
    "DaemonSet/margay-node",
    '"network":"margay"',
  ],
  ...[
    '"priorityClassName":"system-node-critical"',
    '"tolerations":[{"operator":"Exists"}]',
    '"capabilities":{"drop":["ALL"],"add":["NET_ADMIN","NET_BIND_SERVICE"]}',
    '"readOnlyRootFilesystem":true',
  ].map((shown): (typeof rows)[number] => [
    "on every node, before others, and with few rights",
    EXTERNAL,
    "DaemonSet/margay-node",
    shown,
  ]),
  [
    "a privileged agent",
    { ...EXTERNAL, node: { privileged: true } },
    "DaemonSet/margay-node",
    '"privileged":true',
  ],
  [
    "other directories",
    { ...EXTERNAL, node: { cniBinDir: "/var/lib/cni", netnsDir: "/run/netns" } },
    "DaemonSet/margay-node",
    '"path":"/var/lib/cni"',
  ],
  [
    "addresses of nodes by range",
    { ...EXTERNAL, node: { agent: { ipAutodetectionMethod: "cidr=10.0.0.0/8" } } },
    "DaemonSet/margay-node",
    "--ip-autodetection-method=cidr=10.0.0.0/8",
  ],
  ...[
    '--cni-ipam={\\"subnet\\":\\"usePodCidr\\",\\"type\\":\\"host-local\\"}',
    '{"name":"CNI_PATH","value":"/host/cni/bin"}',
    '{"name":"cni-data","mountPath":"/var/lib/cni"}',
    '{"name":"cni-data","hostPath":{"path":"/var/lib/cni","type":"DirectoryOrCreate"}}',
  ].map((shown): (typeof rows)[number] => [
    "addresses from host-local",
    HOST_LOCAL,
    "DaemonSet/margay-node",
    shown,
  ]),
  [
    "no BGP",
    { ...EXTERNAL, node: { bgpd: { enabled: false } } },
    "DaemonSet/margay-node",
    "--log-level=info",
  ],
  [
    "another API server",
    { ...EXTERNAL, kubernetesAPI: { host: "10.0.0.9" } },
    "Deployment/margay-controllers",
    '"10.0.0.9"',
  ],
  [
    "more replicas",
    { ...EXTERNAL, controllers: { replicas: 3, leakGracePeriodSeconds: 60 } },
    "Deployment/margay-controllers",
    "--leak-grace-period=60",
  ],
  [
    "one replica has no disruption budget",
    { ...EXTERNAL, controllers: { replicas: 1 } },
    "PodDisruptionBudget/margay-controllers",
    "none",
  ],
  [
    "a PodMonitor, and metrics for it",
    { ...EXTERNAL, metrics: { podMonitor: { enabled: true, interval: "10s" } } },
    "PodMonitor/margay-node",
    '"interval":"10s"',
  ],
  [
    "a dashboard",
    { ...EXTERNAL, metrics: { dashboard: { enabled: true } } },
    "ConfigMap/margay-dashboard",
    "margay_agent_endpoints",
  ],
  ["no cleanup", { ...EXTERNAL, cleanup: { enabled: false } }, "DaemonSet/margay-cleanup", "none"],
];
test.each(rows)("%s", (_why, values, where, expected) => {
  const [kind = "", name = ""] = where.split("/");
  expect(found(render(values), kind, name)).toContain(expected);
});

test("no container is privileged unless values say so, and more than thirty sets of values were rendered", () => {
  const sets = new Map(rows.map(([, values]) => [JSON.stringify(values), values]));
  expect(sets.size).toBeGreaterThan(30);
  const asked = [...sets.values()].filter((values) =>
    JSON.stringify(render(values)).includes('"privileged":true'),
  );
  expect(asked).toEqual([{ ...EXTERNAL, node: { privileged: true } }]);
});

describe("an API server", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start(1);
    await createNamespace(cluster.admin, NAMESPACE);
    await cluster.must("kubectl", ["apply", "--server-side", "-f", join(CHART, "crds")]); // as docs/guide/install.md
  });
  afterAll(() => cluster?.stop());
  const dryRun = ["--dry-run=server", "-f", "-"];

  test("takes every object that any of these values makes, without an unknown field", async () => {
    const sets = rows
      .map(([, values]) => values)
      .filter((values) => !JSON.stringify(values).includes("fd00"));
    const objects = sets.flatMap(render).filter(({ kind }) => kind !== "PodMonitor"); // the Prometheus operator's
    const items = [...new Map(objects.map((one) => [JSON.stringify(one), one])).values()];
    expect(items.length).toBeGreaterThan(80);
    const strict = ["--server-side", "--force-conflicts", "--validate=strict", ...dryRun];
    const input = JSON.stringify({ apiVersion: "v1", kind: "List", items });
    await cluster.must("kubectl", ["-n", NAMESPACE, "apply", ...strict], { input });
  });

  test("helm install may be tried without one change, once the kinds are there", async () => {
    const words = ["install", "margay", CHART, "-n", NAMESPACE, ...dryRun];
    const shown = await cluster.must("helm", words, { input: JSON.stringify(EXTERNAL) });
    expect(shown).toContain("rollout status daemonset/margay-node");
    expect(await cluster.must("kubectl", ["-n", NAMESPACE, "get", "daemonsets", "-o", "name"])).toBe("");
  });
});

describe("refused, in words", () => {
  test.each<[string, object, RegExp]>([
    ["no etcd", {}, /clusterIPs: give 1 or 3/],
    ["two members", bundled({ clusterIPs: ["10.96.0.1", "10.96.0.2"] }), /clusterIPs: give 1 or 3/],
    [
      "external without endpoints",
      { etcd: { mode: "external" } },
      /etcd.external.endpoints: name at least one/,
    ],
    [
      "an endpoint without a port",
      { etcd: { mode: "external", external: { endpoints: ["https://a"] } } },
      /does not match pattern/,
    ],
    [
      "a hostPath that could come up empty elsewhere",
      bundled({ storage: { type: "hostPath" } }),
      /etcd.bundled.nodeName/,
    ],
    ["a misspelt value", { ...EXTERNAL, contollers: {} }, /contollers/],
    [
      "a misspelt field of a pool",
      { ...EXTERNAL, pools: [{ name: "p", cidr: "10.0.0.0/8", natOutgoin: true }] },
      /natOutgoin/,
    ],
    ["a pool without a range", { ...EXTERNAL, pools: [{ name: "p" }] }, /cidr/],
    ["a choice that is none", { ...EXTERNAL, node: { agent: { logLevel: "loud" } } }, /logLevel/],
    [
      "a way to find addresses that is none",
      { ...EXTERNAL, node: { agent: { ipAutodetectionMethod: "guess" } } },
      /ipAutodetectionMethod/,
    ],
    ["a port beyond ports", { ...EXTERNAL, node: { agent: { healthPort: 70000 } } }, /healthPort/],
    [
      "one port for two",
      { ...EXTERNAL, node: { agent: { healthPort: 9098 } } },
      /9098: .* a port of its own/,
    ],
    ...["clientPort", "healthPort"].map((name): [string, object, RegExp] => [
      `etcd's port of metrics is also ${name}`,
      name === "clientPort"
        ? bundled({ clientPort: 12381 })
        : { ...bundled(), controllers: { healthPort: 12381 } },
      /12381: .* a port of its own/,
    ]),
    ["no port behind the members' for metrics", bundled({ peerPort: 65535 }), /peerPort/],
    ...[0, true, 1.5, "250%"].map((maxUnavailable): [string, object, RegExp] => [
      `${maxUnavailable} nodes at a time`,
      { ...EXTERNAL, node: { maxUnavailable } },
      /maxUnavailable/,
    ]),
    ["a label that is no text", { ...EXTERNAL, node: { nodeSelector: { gpu: true } } }, /nodeSelector\/gpu/],
    ["the root as a directory of ours", { ...EXTERNAL, node: { runDir: "/" } }, /runDir/],
    ["an address in brackets", { ...EXTERNAL, kubernetesAPI: { host: "[fd00::1]" } }, /kubernetesAPI\/host/],
    [
      "two pools of one name",
      {
        ...EXTERNAL,
        pools: [
          { name: "p", cidr: "10.1.0.0/16" },
          { name: "p", cidr: "10.2.0.0/16" },
        ],
      },
      /pools: two of them have the same name/,
    ],
    [
      "endpoints of both kinds",
      { etcd: { mode: "external", external: { endpoints: ["http://a:2379", "https://b:2379"] } } },
      /all http or all https/,
    ],
    [
      "reflectors beside the mesh",
      { ...EXTERNAL, reflectors: { enabled: true } },
      /nodeToNodeMeshEnabled=false/,
    ],
  ])("%s", (_why, values, expected) => {
    const { status, stderr } = helm(["template", "margay", CHART], values);
    expect(status).not.toBe(0);
    expect(stderr).toMatch(expected);
  });
});

/** Values under which every other one has an effect. */
const bases: readonly object[] = [
  {
    ...EXTERNAL,
    kubernetesAPI: { host: "10.0.0.9" },
    metrics: { podMonitor: { enabled: true }, dashboard: { enabled: true } },
  },
  { ...EXTERNAL, bgpConfiguration: { nodeToNodeMeshEnabled: false }, reflectors: { enabled: true } },
  bundled(),
  bundled({ nodeName: "n1", storage: { type: "hostPath" } }),
];
/** What a value is changed to, where its schema does not tell. */
const changes: Readonly<Record<string, unknown>> = {
  ...{ pools: [], imagePullSecrets: [{ name: "regcred" }], bgpConfiguration: { asNumber: 65001 } },
  bgpPeers: [{ name: "tor", peerIP: "10.0.0.1", asNumber: 65000 }],
  bgpFilters: [{ name: "f", exportV4: [{ action: "Reject" }] }],
  felixConfiguration: { vxlanMTU: 1400 },
  "etcd.external.endpoints": ["https://10.0.0.6:2379"],
  "etcd.bundled.clusterIPs": ["10.96.0.61"],
  "node.bgpd.secrets": ["changed"],
  "node.maxUnavailable": 2,
};

/** What is rendered, without what is new each time; or what the chart's own checks say. */
const shown = (values: object): string => {
  const { status, stdout, stderr } = helm(["template", "margay", CHART, "-n", "margay-system"], values);
  if (/at \(margay\/templates\/checks.yaml/.test(stderr)) return stderr;
  if (status !== 0) throw new Error(stderr);
  return stdout.replace(/^.*(tls\.crt|tls\.key|ca\.crt|margay.dev\/certificate): .*$/gm, "");
};

test("every value has an effect: what is rendered has it, or changes with it", () => {
  const all = leaves(JSON.parse(readFileSync(join(CHART, "values.schema.json"), "utf8")) as Schema);
  const marks = all.map(([path, value], i) => (changes[path.join(".")] ? undefined : mark(value, i)));
  const texts = bases.map((base) => {
    const values = structuredClone(base);
    for (const [i, [path]] of all.entries())
      if (marks[i] !== undefined && at(base, path) === undefined) set(values, path, marks[i]);
    return shown(values);
  });
  const isShown = (i: number) => texts.some((text) => text.includes(markText(marks[i])));
  const rest = all.filter((_, i) => marks[i] === undefined || !isShown(i));
  const before = new Map<object, string>();
  const unused = rest.filter(([path, value]) => {
    const base = bases[path[1] === "bundled" ? 2 : 0] ?? {};
    if (!before.has(base)) before.set(base, shown(base));
    const values = structuredClone(base);
    set(
      values,
      path,
      changes[path.join(".")] ?? other({ ...value, default: at(base, path) ?? value.default }),
    );
    return shown(values) === before.get(base);
  });
  // in certificates, which are new each time
  expect(unused.map(([path]) => path.join("."))).toEqual(["etcd.bundled.certificateDays"]);
});

const FOLDER = "^/[^/]";
/** Text or number that is nowhere else, if the schema takes one. */
function mark(
  { type, enum: choices, maximum = 0, minimum = 0, pattern = FOLDER }: Schema,
  i: number,
): unknown {
  if (type === "object") return { [`changed-${i}-`]: "yes" };
  if (type === "integer" && minimum < 20_000 && maximum > 30_000) return 20_000 + i;
  return type === "string" && !choices && pattern === FOLDER ? `/changed-${i}-` : undefined;
}
const markText = (value: unknown): string =>
  typeof value === "object" && value !== null ? (Object.keys(value)[0] ?? "") : String(value);

function other({ type, default: was, enum: choices, minimum = 0, pattern = "" }: Schema): unknown {
  if (choices) return choices.find((choice) => choice !== was);
  if (type === "boolean") return !was;
  if (type === "integer") return was === minimum ? minimum + 1 : Number(was) - 1;
  if (type === "array") return [{ name: "changed", key: "changed" }];
  if (pattern.includes("first-found")) return "first-found";
  return pattern.includes("sha256") ? `sha256:${"1".repeat(64)}` : "changed";
}

const at = (values: object, [name = "", ...rest]: readonly string[]): unknown => {
  const found = (values as Record<string, object>)[name];
  return rest.length === 0 || found === undefined ? found : at(found, rest);
};
function set(values: object, [name = "", ...rest]: readonly string[], value: unknown): void {
  const target = values as Record<string, object>;
  if (rest.length === 0) target[name] = value as object;
  else {
    target[name] ??= {};
    set(target[name], rest, value);
  }
}

interface Schema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly pattern?: string;
}
/** Values with their names; what a resource's spec holds is handed on whole. */
function leaves({ properties = {} }: Schema, at: readonly string[] = []): (readonly [string[], Schema])[] {
  return Object.entries(properties)
    .filter(([name]) => name !== "global")
    .flatMap(([name, value]) => {
      const path = [...at, name];
      return value.properties && value.default === undefined ? leaves(value, path) : [[path, value] as const];
    });
}
