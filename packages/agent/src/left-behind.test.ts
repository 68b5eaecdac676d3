import { describe, expect, test } from "@jest/globals";
import { type IPAMConfiguration, type IPPool, parse, type WorkloadEndpoint } from "@margay/api";
import { memoryStore, resources } from "@margay/datastore";
import { type Block, garbage, Ipam } from "@margay/ipam";
import { formatPrefix, hostPrefix } from "@margay/net";
import { goneNamespaces, leftBehind, removeLeftBehind } from "./left-behind.ts";

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

  const here = { interfaces: new Set(["lo", "calilives"]), goneNamespaces: new Set<string>() };
  const found = leftBehind(endpoints, here);
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
  const seen = (name: string) => ({ interfaces: new Set([name]), goneNamespaces: new Set<string>() });
  expect(leftBehind([endpoint], seen("calia"))).toBeUndefined();
  expect(leftBehind([endpoint], seen("lo"))).toBeUndefined();
});

describe("addresses of other plugins' pods, which have no endpoint", () => {
  const held = (handle: string, of: object) => ({ handle, sequence: 1, attributes: { node: "n1", ...of } });
  const netns = (name: string, netnsInode: string) => ({ netns: `/run/netns/${name}`, netnsInode });
  const block: Block = {
    ...{ cidr: "10.0.0.0/29", affinity: "host:n1", affinityClaimTime: "2026-11-22T11:00:00.000Z" },
    ...{ sequenceNumber: 1, unallocated: [] },
    allocations: {
      0: held("lives", netns("a", "1")),
      1: held("gone", netns("b", "2")),
      2: held("made anew", netns("c", "3")),
      3: held("of another node", { ...netns("b", "2"), node: "n2" }),
      4: held("has an endpoint", { ...netns("d", "4"), containerID: "d" }),
      5: held("never said where", {}),
    },
  };
  const endpoint = resource<WorkloadEndpoint>(
    "WorkloadEndpoint",
    { name: "n1-k8s-d-eth0", namespace: "default" },
    {
      ...{ orchestrator: "k8s", node: "n1", endpoint: "eth0", interfaceName: "calid" },
      ...{ containerID: "d", ipNetworks: ["10.0.0.4/32"] },
    },
  );

  test.each<[why: string, inodes: Record<string, string>, freed: string[]]>([
    ["those whose namespace's path names nothing, or another", { a: "1", c: "9" }, ["gone", "made anew"]],
    ["all are there", { a: "1", b: "2", c: "3", d: "4" }, []],
    ["none can be seen: the paths are not mounted here, or the node was started anew", {}, []],
  ])("%s", (_why, inodes, freed) => {
    const inodeOf = (path: string) => inodes[path.replace("/run/netns/", "")];
    const gone = goneNamespaces([block], { node: "n1", inodeOf });
    const found = leftBehind([endpoint], { interfaces: new Set(["calid"]), goneNamespaces: gone });
    expect(garbage([block], found?.evidence ?? {}).map(({ handle }) => handle)).toEqual(freed);
  });
});
