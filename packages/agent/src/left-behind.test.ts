import { expect, test } from "@jest/globals";
import { type IPAMConfiguration, type IPPool, parse, type WorkloadEndpoint } from "@margay/api";
import { memoryStore, resources } from "@margay/datastore";
import { Ipam } from "@margay/ipam";
import { formatPrefix, hostPrefix } from "@margay/net";
import { leftBehind, removeLeftBehind } from "./left-behind.ts";

const resource = <R>(kind: string, metadata: object, spec: object): R =>
  parse({ apiVersion: "margay.dev/v1", kind, metadata, spec }).resource as R; // of the kind asked for

test("a pod whose interface vanished while the agent was away: endpoint and addresses go, the others' stay", async () => {
  const store = memoryStore();
  const pools = [
    resource<IPPool>("IPPool", { name: "four" }, { cidr: "10.0.0.0/26" }),
    resource<IPPool>("IPPool", { name: "six" }, { cidr: "fd00::/122" }),
  ];
  const config = resource<IPAMConfiguration>("IPAMConfiguration", { name: "default" }, {}).spec;
  const ipam = new Ipam({
    ...{ store, node: "n1", now: () => new Date(), labels: () => ({}) },
    ...{ pools: () => pools, config: () => config },
  });
  const attach = async (name: string) => {
    const attributes = { node: "n1", containerID: name };
    const held = await ipam.assign({ handle: `k8s.${name}`, families: [4, 6], attributes });
    const ipNetworks = held.map(({ address }) => formatPrefix(hostPrefix(address)));
    const spec = { orchestrator: "k8s", node: "n1", endpoint: "eth0", pod: name, containerID: name };
    const metadata = { name: `n1-k8s-${name}-eth0`, namespace: "default" };
    const wanted = { ...spec, ipNetworks, interfaceName: `cali${name}` };
    return resources(store, "WorkloadEndpoint").create(
      resource<WorkloadEndpoint>("WorkloadEndpoint", metadata, wanted),
    );
  };
  const endpoints = [await attach("lives"), await attach("gone")];
  await ipam.assign({
    handle: "bridge.other",
    families: [4],
    attributes: { node: "n1", containerID: "other" },
  });

  const found = leftBehind(endpoints, new Set(["lo", "calilives"]));
  await removeLeftBehind({ store, ipam }, found!); // one is gone
  expect((await resources(store, "WorkloadEndpoint").list()).map(({ spec }) => spec.pod)).toEqual(["lives"]);
  const handles = (await resources(store, "IPAMBlock").list()).flatMap(({ spec }) =>
    Object.values(spec.allocations).map(({ handle }) => handle),
  );
  expect(handles.toSorted()).toEqual(["bridge.other", "k8s.lives", "k8s.lives"]);
});

test("nothing is concluded when all interfaces are there, or none", () => {
  const endpoint = resource<WorkloadEndpoint>(
    "WorkloadEndpoint",
    { name: "n1-k8s-a-eth0", namespace: "default" },
    { orchestrator: "k8s", node: "n1", endpoint: "eth0", interfaceName: "calia" },
  );
  expect(leftBehind([endpoint], new Set(["calia"]))).toBeUndefined();
  expect(leftBehind([endpoint], new Set(["lo"]))).toBeUndefined();
});
