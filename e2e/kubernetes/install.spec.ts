import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { items } from "./cluster/api.ts";
import { API_HOST, API_PORT, createNamespace } from "./cluster/api-server.ts";
import { Cluster } from "./cluster/cluster.ts";
import { nodeState } from "./cluster/node-state.ts";
import type { Meta } from "./cluster/objects.ts";
import { recipes } from "./recipes.ts";

/** One cluster through its life, by Helm and kubectl alone: install, policies, upgrade, a node and a leader lost, uninstall. */
const CHART = fileURLToPath(new URL("../../charts/margay", import.meta.url));
const NAMESPACE = "margay-system";
const VALUES = {
  etcd: { mode: "external", external: { endpoints: ["http://172.20.0.1:2379"] } },
  kubernetesAPI: { host: API_HOST, port: API_PORT },
  pools: [
    { name: "default-ipv4", cidr: "10.244.0.0/16", natOutgoing: true },
    { name: "default-ipv6", cidr: "fd00:10:244::/56", natOutgoing: true },
  ],
  bgpPeers: [{ name: "tor", peerIP: "172.20.0.2", asNumber: 65000 }],
};
const NODES = ["n1", "n2", "n3"];
const release = ["margay", CHART, "-n", NAMESPACE];

let cluster: Cluster;
const before = new Map<string, Record<string, string>>();
beforeAll(async () => {
  cluster = await Cluster.start(NODES.length);
  for (const node of NODES) before.set(node, await nodeState(node));
}, 240_000);
afterAll(() => cluster?.stop(), 30_000);

const values = (more: object = {}) => JSON.stringify({ ...VALUES, ...more });
const allReady = async (): Promise<boolean> => {
  const sets = await items<{ status?: { numberReady?: number; updatedNumberScheduled?: number } }>(
    cluster.admin,
    `/apis/apps/v1/namespaces/${NAMESPACE}/daemonsets`,
  );
  return (
    sets.length > 0 &&
    sets.every(
      ({ status = {} }) =>
        status.numberReady === NODES.length && status.updatedNumberScheduled === NODES.length,
    )
  );
};
const holder = async (): Promise<string> => {
  const leases = await items<{ spec: { holderIdentity?: string } }>(
    cluster.admin,
    `/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases`,
  );
  return leases[0]?.spec.holderIdentity ?? "";
};
const describe = async (): Promise<string> =>
  `${await cluster.must("kubectl", ["get", "nodes,pods", "-A", "-o", "wide"])}${cluster.processes
    .status()
    .filter(({ name, running }) => !running || name.includes("#"))
    .map(({ name, ended }) => `${name} ${ended ?? "runs"}: ${cluster.processes.lastWords(name, 2)}`)
    .join("\n")}`;

test("helm install: daemons on every node, nodes Ready, kubectl shows pools and peers", async () => {
  await cluster.must("helm", ["install", ...release, "--create-namespace", "-f", "-"], { input: values() });
  await createNamespace(cluster.admin, NAMESPACE);
  let said = "";
  await cluster.eventually(
    () => `daemons and nodes are ready:\n${said}`,
    async () => {
      const nodes = await items<{ status?: { conditions?: { type: string; status: string }[] } }>(
        cluster.admin,
        "/api/v1/nodes",
      );
      const ready = nodes.filter(({ status }) =>
        status?.conditions?.some(({ type, status: is }) => type === "Ready" && is === "True"),
      );
      if (ready.length === NODES.length && (await allReady())) return true;
      said = await describe();
      return false;
    },
    90_000,
  );
  const shown = await cluster.must("kubectl", ["get", "ippools,bgppeers,bgpconfigurations"]);
  for (const name of ["default-ipv4", "default-ipv6", "/tor", "/default"]) expect(shown).toContain(name);
}, 240_000);

test("helm test: every node has applied what was written", async () => {
  await cluster.must("helm", ["test", "margay", "-n", NAMESPACE]);
}, 120_000);
