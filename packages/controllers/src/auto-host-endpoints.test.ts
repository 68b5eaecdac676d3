import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { decode, encode, keyOf, parse } from "@margay/api";
import { until } from "@margay/testing";
import { type TestCluster, testCluster } from "./testing/cluster.ts";

const KEY = "/margay/v1/hostendpoints/n1-auto-hep";
const ON = { autoHostEndpoints: true };

let cluster: TestCluster;
beforeEach(async () => {
  cluster = await testCluster();
});
afterEach(() => cluster.close());

async function put(kind: string, metadata: object, spec: object): Promise<void> {
  const { resource } = parse({ apiVersion: "margay.dev/v1", kind, metadata, spec });
  await cluster.store.put(keyOf(resource.kind, resource.metadata.name), encode(resource));
}
const node = (labels: object, more: object = {}) =>
  put(
    "Node",
    { name: "n1", labels },
    { bgp: { ipv4Address: "172.20.0.11/24", ipv6Address: "2001:db8::b/64" }, ...more },
  );
async function read() {
  const entry = await cluster.store.get(KEY);
  return entry && decode(KEY, entry.value);
}
const labelOf = async (name: string) => (await read())?.metadata.labels?.[name];

test("each Node gets one, with its labels and addresses, and everything allowed that no policy decides", async () => {
  await node({ rack: "r1" }, { ipv4VXLANTunnelAddr: "10.244.1.0" });
  await cluster.replica("a", ON);
  expect(await until(read)).toMatchObject({
    kind: "HostEndpoint",
    metadata: { labels: { rack: "r1", "projectcalico.org/created-by": "calico-kube-controllers" } },
    spec: {
      ...{ node: "n1", interfaceName: "*", profiles: ["projectcalico-default-allow"] },
      expectedIPs: ["10.244.1.0", "172.20.0.11", "2001:db8::b"],
    },
  });
  await node({ rack: "r2" });
  await until(async () => (await labelOf("rack")) === "r2");
  await cluster.store.delete(KEY);
  await until(read); // somebody's mistake is mended
  await cluster.store.delete(keyOf("Node", "n1"));
  await until(async () => (await read()) === undefined);
});

test("somebody's own endpoint of that name stays as it is", async () => {
  await put("HostEndpoint", { name: "n1-auto-hep" }, { node: "n1", interfaceName: "eth0" });
  await node({});
  await put("Node", { name: "n2" }, { bgp: { ipv4Address: "172.20.0.12/24" } });
  await cluster.replica("a", ON);
  await until(() => cluster.store.get(keyOf("HostEndpoint", "n2-auto-hep")));
  expect(await read()).toMatchObject({ spec: { interfaceName: "eth0", profiles: [] } });
});

test("switched off, its own are removed, and nobody else's", async () => {
  await node({});
  const first = await cluster.replica("a", ON);
  await until(read);
  await first.stop();
  await put("HostEndpoint", { name: "n2-auto-hep" }, { node: "n2", interfaceName: "eth0" });
  await cluster.replica("a");
  await until(async () => (await read()) === undefined);
  expect(await cluster.store.get(keyOf("HostEndpoint", "n2-auto-hep"))).toBeDefined();
});
