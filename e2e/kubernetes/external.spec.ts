import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { exec, ip } from "@margay/lab";
import { API_HOST, API_PORT, createNamespace } from "./cluster/api-server.ts";
import { authority, signed } from "./cluster/certificates.ts";
import { Cluster } from "./cluster/cluster.ts";
import { commands, DESK, desk, follow } from "./cluster/guide.ts";
import { CHART, createPods, NAMESPACE, settled, upgrade } from "./cluster/release.ts";

/**
 * An etcd of the user's own, with TLS, client certificates and users, and a cluster of one node on it. What the guide says to type
 * is typed as it stands there.
 */
const URL = `https://${API_HOST}:22379`;
const PEER = `https://${API_HOST}:22380`;
const external = (more: object = {}) => ({
  etcd: {
    mode: "external",
    external: { endpoints: [URL], tlsSecret: "margay-etcd", authSecret: "margay-etcd-login", ...more },
  },
});
const VALUES = {
  ...external(),
  kubernetesAPI: { host: API_HOST, port: API_PORT },
  bgpPeers: [{ name: "tor", peerIP: "172.20.0.2", asNumber: 65000 }],
};

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start(1);
  await ip("n1", ["link add store0 type veth peer name store1", "link set store1 up"]); // to a network of its own
  await ip("n1", ["link set store0 up", "addr add 192.0.2.11/24 dev store0"]);
  desk(VALUES);
  await startEtcd();
  const typed = commands("install.md", "An etcd of yours").replaceAll("PASSWORD", "right");
  await follow(cluster, `${typed}\n${USERS}`, AS_CLIENT);
  await createNamespace(cluster.admin, NAMESPACE);
});
afterAll(() => cluster?.stop());

const kubectl = (...words: string[]) => cluster.must("kubectl", words);

async function startEtcd(): Promise<void> {
  for (const name of ["ca", "other"]) authority(DESK, name);
  const serves = `subjectAltName=IP:${API_HOST}\nextendedKeyUsage=serverAuth,clientAuth`;
  const asks = "extendedKeyUsage=clientAuth";
  signed(DESK, { name: "server", subject: "/CN=etcd", extension: serves });
  signed(DESK, { name: "tls", subject: "/CN=somebody", extension: asks });
  signed(DESK, { name: "alien", subject: "/CN=alien", extension: asks, by: "other" });
  const tls = { "cert-file": "server.crt", "key-file": "server.key", "trusted-ca-file": "ca.crt" };
  const files = Object.entries(tls).flatMap(([flag, file]) => [
    `--${flag}=${join(DESK, file)}`,
    `--peer-${flag}=${join(DESK, file)}`,
  ]);
  const command = [
    ...["etcd", "--name=own", "--data-dir=/run/etcd-own", "--logger=zap", "--client-cert-auth", ...files],
    ...[`--listen-client-urls=${URL}`, `--advertise-client-urls=${URL}`, `--listen-peer-urls=${PEER}`],
    ...[`--initial-advertise-peer-urls=${PEER}`, `--initial-cluster=own=${PEER}`],
  ];
  cluster.processes.start({ name: "etcd-own", command });
  await cluster.eventually("the user's etcd is healthy", async () => {
    const { code } = await exec(["etcdctl", "endpoint", "health"], { env: AS_CLIENT });
    return code === 0;
  });
}

const AS_CLIENT = {
  ...{ ETCDCTL_ENDPOINTS: URL, ETCDCTL_CACERT: `${DESK}/ca.crt` },
  ...{ ETCDCTL_CERT: `${DESK}/tls.crt`, ETCDCTL_KEY: `${DESK}/tls.key` },
  ...{ ETCDCTL_DIAL_TIMEOUT: "10s", ETCDCTL_COMMAND_TIMEOUT: "30s" }, // a busy machine's disk answers late
};
/** What goes wrong, and the user without whom no authentication begins. */
const USERS = `
etcdctl user add nobody:right
etcdctl user add root:root
etcdctl user grant-role root root
etcdctl auth enable
new="kubectl -n ${NAMESPACE} create secret generic"
$new another-ca --from-file=ca.crt=other.crt --from-file=tls.crt --from-file=tls.key
$new another-client --from-file=ca.crt --from-file=tls.crt=alien.crt --from-file=tls.key=alien.key
$new wrong-password --from-literal=username=margay --from-literal=password=wrong
$new without-a-role --from-literal=username=nobody --from-literal=password=right
`;
const keysOf = async (...login: string[]): Promise<string[]> => {
  const words = ["etcdctl", ...login, "get", "/margay/v1/", "--prefix", "--keys-only"];
  const { stdout } = await exec(words, { env: AS_CLIENT });
  return stdout.split("\n").filter(Boolean);
};

test("a user, a password and a client certificate: all three programs are in that etcd, and nobody is without", async () => {
  expect(await follow(cluster, commands("install.md", "3. Install"))).toContain("Phase:          Succeeded");
  const notes = await cluster.must("helm", ["get", "notes", "margay", "-n", NAMESPACE]);
  const told = notes.match(/^ {2}(?:kubectl|helm) .*$/gm) ?? [];
  expect(told.length).toBeGreaterThan(3);
  await follow(cluster, told.filter((line) => !line.includes(" logs ")).join("\n")); // logs are a real kubelet's
  await settled(cluster, 1);
  await createPods(cluster, [
    ["default/web", "n1", {}],
    ["default/client", "n1", {}],
  ]);
  await cluster.becomes(true, "default/client", "default/web");
  expect((await keysOf("--user=margay:right")).length).toBeGreaterThan(5);
  expect(await keysOf()).toEqual([]); // a certificate alone says nothing to it
  expect((await cluster.margay(["get", "nodes", "-o", "name"])).trim()).toBe(""); // the lab's own, beside it
});

test("on the one node of a cluster there is one replica: a second would wait for a port for ever", async () => {
  const shown = await kubectl("-n", NAMESPACE, "get", "deployment,pdb", "-o", "name");
  expect(shown).toBe("deployment.apps/margay-controllers\n");
  const replicas = ["get", "deployment", "margay-controllers", "-o", "jsonpath={.spec.replicas}"];
  expect(await kubectl("-n", NAMESPACE, ...replicas)).toBe("1");
});

const OWN = "172.20.0.11/24";
const STORAGE = "192.0.2.11/24";
test.each([
  ["kubernetes-internal-ip", OWN],
  ["interface=store.*", STORAGE],
  ["cidr=192.0.2.0/24", STORAGE],
  ["can-reach=192.0.2.77", STORAGE],
])("which address is the node's: %s", async (ipAutodetectionMethod, expected) => {
  await upgrade(cluster, { ...VALUES, node: { agent: { ipAutodetectionMethod } } }, 1);
  let said = "";
  await cluster.eventually(
    () => `the Node has ${expected}: ${said}`,
    async () => {
      const words = ["margay", "get", "nodes", "n1", "-o", "json"];
      said = await cluster.execIn("margay-node-n1", "agent", words);
      return (
        (JSON.parse(said) as { spec: { bgp?: { ipv4Address?: string } } }).spec.bgp?.ipv4Address === expected
      );
    },
  );
});

test("a way that finds no address is named, with what there is", async () => {
  await upgrade(cluster, { ...VALUES, node: { agent: { ipAutodetectionMethod: "interface=bond.*" } } }, 1);
  await cluster.eventually("the agent says so", () =>
    complaints("margay-node-n1", "agent").some((line) =>
      /"interface=bond\.\*" is none .*eth0 172\.20\.0\.11\/24/.test(line),
    ),
  );
});

/** What a busy machine may bring beside it. */
const SLOW = /^API server|no answer within/;
const DAEMONS = [
  ["margay-node-n1", "agent", 9099],
  ["margay-node-n1", "bgpd", 9098],
  ["margay-controllers-0", "controllers", 9097],
] as const;
/** What a container has said at level warn and above, since its start. */
function complaints(pod: string, container: string): string[] {
  const name = cluster.kubelet("n1").processOf(pod, container) ?? "";
  const lines = readFileSync(cluster.processes.status().find((one) => one.name === name)?.log ?? "", "utf8");
  return lines
    .split("\n")
    .filter((line) => /"level":"(warn|error|fatal)"/.test(line))
    .map((line) => (JSON.parse(line) as { msg: string }).msg);
}
const readiness = async (port: number): Promise<string> => {
  const { stdout } = await cluster.answer("n1", port, "readyz");
  return Object.values(JSON.parse(stdout || "{}") as Record<string, unknown>).join("\n");
};
const restarts = async (): Promise<number> => {
  const pods = (await cluster.pods()) as { status?: { containerStatuses?: { restartCount: number }[] } }[];
  return pods
    .flatMap(({ status }) => status?.containerStatuses ?? [])
    .reduce((sum, one) => sum + one.restartCount, 0);
};

describe("an etcd that does not let us in: said once with what to do, not ready, no restart, and pods go on", () => {
  test.each<[string, object, RegExp]>([
    [
      "nobody listens there",
      { endpoints: [`https://${API_HOST}:22999`] },
      /connection refused: is etcd running there, and is --etcd-endpoints right\?/,
    ],
    [
      "another password",
      { authSecret: "wrong-password" },
      /refuses user "margay": check --etcd-username and --etcd-password/,
    ],
    [
      "a user without a role",
      { authSecret: "without-a-role" },
      /"nobody" may not use .*grant a role with readwrite on the prefix/,
    ],
    ["a CA that did not sign it", { tlsSecret: "another-ca" }, /TLS fails: check --etcd-ca/],
    [
      "a certificate of another CA",
      { tlsSecret: "another-client" },
      /check --etcd-ca, --etcd-cert and --etcd-key/,
    ],
  ])("%s", async (_why, more, fix) => {
    const words = ["upgrade", "margay", CHART, "-n", NAMESPACE, "-f", "-"];
    await cluster.must("helm", words, { input: JSON.stringify({ ...VALUES, ...external(more) }) });
    for (const [pod, container, port] of DAEMONS) {
      let said = "";
      await cluster.eventually(
        () => `${container} is not ready and says why: ${said}\n${complaints(pod, container).join("\n")}`,
        async () => {
          said = await readiness(port);
          return fix.test(said) && complaints(pod, container).some((line) => fix.test(line));
        },
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 10_000)); // time to say it again, and to be restarted
    for (const [pod, container] of DAEMONS) {
      const said = complaints(pod, container);
      const told = said.filter((line) => !SLOW.test(line));
      expect(told).toEqual(told.map(() => expect.stringMatching(fix)));
      expect(told.length).toBeLessThanOrEqual(1 + said.length - told.length); // again after each time of no answer at all
    }
    expect(await restarts()).toBe(0);
    expect(await cluster.ask("default/client", "default/web")).toBe("reached");
  });

  test("what was right before is right again", async () => {
    await upgrade(cluster, VALUES, 1);
    await settled(cluster, 1);
    await createPods(cluster, [["default/after", "n1", {}]]);
    await cluster.becomes(true, "default/after", "default/web");
  });
});

test("to the next release, whose CRDs are others", async () => {
  const path = join(DESK, "charts/margay/crds/ippools.yaml");
  writeFileSync(
    path,
    readFileSync(path, "utf8").replace("A range of addresses for pods", "Addresses of the next release"),
  );
  await follow(cluster, commands("upgrade.md", "Upgrading"));
  expect(await kubectl("explain", "ippools.margay.dev")).toContain("Addresses of the next release");
});

const KINDS_OF_THE_CHART = `clusterroles,clusterrolebindings,roles,rolebindings,serviceaccounts,leases,services,\
configmaps,daemonsets,deployments,statefulsets,jobs,cronjobs,poddisruptionbudgets,pods`;
test("away with all of it", async () => {
  const typed = commands("uninstall.md", "Uninstalling").replace(
    "delete ns margay-system",
    "$& --wait=false",
  );
  await kubectl("delete", "pods", "--all", "--wait=false");
  await follow(cluster, typed.replace(/^margay .*/m, "")); // which is on a node
  expect(await kubectl("get", "crd", "-o", "name")).toBe("");
  const left = await kubectl("get", KINDS_OF_THE_CHART, "-A", "-o", "name");
  expect(left.split("\n").filter((name) => name.includes("margay"))).toEqual([]);
});
