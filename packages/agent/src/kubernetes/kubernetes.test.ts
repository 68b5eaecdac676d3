import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { parseCall } from "@margay/cni";
import { type ApiServer, apiServer, type MemoryApiServer, memoryApiServer } from "@margay/kubernetes";
import { parseAddress } from "@margay/net";
import { type Candidate, nodeAddress, parseMethod, unfound } from "./node-address.ts";
import { OwnPods } from "./pods.ts";

describe("the node's own address", () => {
  const candidate = (dev: string, text: string): Candidate => {
    const [address = "", length] = text.split("/");
    return { dev, address: parseAddress(address), length: Number(length) };
  };
  const candidates = [
    candidate("docker0", "172.17.0.1/16"),
    candidate("eth0", "10.0.0.100/32"), // keepalived's
    candidate("eth0", "10.0.0.5/24"),
    candidate("eth1", "192.168.0.5/24"),
    candidate("eth1", "fd00::5/64"),
  ];
  const internal = [parseAddress("192.168.0.5"), parseAddress("fd00::5")];

  test.each<[why: string, method: string, four: string | undefined, six: string | undefined]>([
    [
      "Kubernetes' InternalIP with the kernel's subnet",
      "kubernetes-internal-ip",
      "192.168.0.5/24",
      "fd00::5/64",
    ],
    [
      "first: neither a bridge of containers nor a lone (virtual) address",
      "first-found",
      "10.0.0.5/24",
      "fd00::5/64",
    ],
    ["interfaces in the order of the expressions", "interface=eth1,eth0", "192.168.0.5/24", "fd00::5/64"],
    ["a named interface, whatever it is", "interface=docker.*", "172.17.0.1/16", undefined],
    ["an expression is for the whole name", "interface=eth", undefined, undefined],
    ["all but some", "skip-interface=eth0", "192.168.0.5/24", "fd00::5/64"],
    ["by network", "cidr=192.168.0.0/16,fd00::/8", "192.168.0.5/24", "fd00::5/64"],
    ["where packets to somebody leave from", "can-reach=10.0.0.1", "10.0.0.5/24", undefined],
    ["not at all", "none", undefined, undefined],
  ])("%s", (_why, text, four, six) => {
    const method = parseMethod(text);
    const surroundings = { candidates, internal, towards: parseAddress("10.0.0.5") };
    expect([nodeAddress(method, 4, surroundings), nodeAddress(method, 6, surroundings)]).toEqual([four, six]);
  });

  test.each<[why: string, method: string, expected: string | undefined]>([
    [
      "one that matches nothing names what there is",
      "interface=eth",
      '"interface=eth" is none of this node\'s IPv6 addresses (eth1 fd00::5/64): without one it speaks no BGP',
    ],
    ["Kubernetes may tell one later, or has none", "kubernetes-internal-ip", undefined],
    ["nobody asked for one", "none", undefined],
  ])("no address found: %s", (_why, text, expected) => {
    expect(unfound(text, 6, candidates)).toBe(expected);
  });

  test.each(["eth0", "interface=", "cidr=ten", "can-reach"])("%s is no method", (text) => {
    expect(() => parseMethod(text)).toThrow();
  });
});

describe("what Kubernetes knows of a pod", () => {
  const PODS = "/api/v1/pods";
  let kubernetes: MemoryApiServer;
  let server: ApiServer;
  let pods: OwnPods;
  let connected: Promise<void>;

  beforeEach(async () => {
    kubernetes = await memoryApiServer();
    server = apiServer(kubernetes.access);
    kubernetes.put(PODS, pod("web", "n1"));
    kubernetes.put(PODS, pod("elsewhere", "n2"));
    connected = new Promise((resolve) => {
      pods = new OwnPods({
        ...{ server, node: "n1" },
        onStatus: ({ kind }) => kind === "connected" && resolve(),
        sleep: (ms, signal) => sleep(ms / 50, undefined, { signal }).catch(() => {}),
        namespaceAnnotations: () => ({ "cni.projectcalico.org/ipv4pools": '["red"]' }),
      });
    });
    void pods.start();
    await connected;
  });
  afterEach(async () => {
    await pods.stop();
    server.close();
    await kubernetes.close();
  });

  const pod = (name: string, nodeName: string, uid = `uid-${name}`) => ({
    metadata: {
      ...{ name, namespace: "shop", uid, labels: { app: name } },
      annotations: { "cni.projectcalico.org/ipAddrs": '["10.244.0.7"]', unrelated: "x" },
    },
    spec: {
      ...{ nodeName, serviceAccountName: "till" },
      containers: [{ ports: [{ name: "http", containerPort: 8080 }, { containerPort: 9090 }] }],
      initContainers: [
        { ports: [{ name: "once", containerPort: 1 }] }, // ends before the others start
        { restartPolicy: "Always", ports: [{ name: "proxy", containerPort: 15001 }] },
      ],
    },
  });
  const add = (name: string, uid = `uid-${name}`, args: object = {}) =>
    parseCall({
      env: {
        ...{ CNI_COMMAND: "ADD", CNI_CONTAINERID: "c1", CNI_NETNS: "/run/netns/x", CNI_IFNAME: "eth0" },
        CNI_ARGS: `K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${name};K8S_POD_UID=${uid}`,
      },
      stdin: Buffer.from(JSON.stringify({ cniVersion: "1.1.0", name: "margay", args })),
    });
  const gets = () => kubernetes.requests.filter((text) => text.startsWith("GET /api/v1/namespaces/"));

  test("from the cache, without asking: labels, account, named ports, annotations about the network", async () => {
    const { conf } = await pods.describe(add("web"));
    expect(conf.args?.cni).toEqual({
      labels: [{ key: "app", value: "web" }],
      annotations: { "cni.projectcalico.org/ipAddrs": '["10.244.0.7"]' },
      namespaceAnnotations: { "cni.projectcalico.org/ipv4pools": '["red"]' },
      serviceAccountName: "till",
      ports: [
        { name: "http", protocol: "TCP", port: 8080 },
        { name: "proxy", protocol: "TCP", port: 15001 },
      ],
    });
    expect(gets()).toEqual([]);
  });

  test("what the runtime itself said wins", async () => {
    const args = { cni: { annotations: { "cni.projectcalico.org/ipAddrs": '["10.244.0.8"]' } } };
    const { conf } = await pods.describe(add("web", "uid-web", args));
    expect(conf.args?.cni?.annotations).toEqual({ "cni.projectcalico.org/ipAddrs": '["10.244.0.8"]' });
  });

  test("a pod that is not known yet, or another of that name, is asked for", async () => {
    const late = await pods.describe(add("elsewhere"));
    expect(late.conf.args?.cni?.labels).toEqual([{ key: "app", value: "elsewhere" }]);
    kubernetes.setSilent(true);
    const { metadata, ...rest } = pod("web", "n1", "uid-other");
    kubernetes.remove(PODS, "shop/web");
    kubernetes.put(PODS, { ...rest, metadata: { ...metadata, labels: { app: "new" } } });
    const anew = await pods.describe(add("web", "uid-other"));
    expect(anew.conf.args?.cni?.labels).toEqual([{ key: "app", value: "new" }]);
    expect(gets()).toHaveLength(2);
  });

  test("a late call for a pod whose name another has now gets nothing of the other's", async () => {
    await expect(pods.describe(add("web", "uid-former"))).rejects.toMatchObject({
      ...{ code: "try-again-later", message: "pod shop/web has UID uid-web now, not uid-former" },
    });
  });

  test("a static pod is known by its manifest's hash, also with the API server away", async () => {
    const { metadata, ...rest } = pod("static", "n1");
    const annotations = { "kubernetes.io/config.mirror": "hash" };
    kubernetes.put(PODS, { ...rest, metadata: { ...metadata, annotations } });
    kubernetes.put(PODS, pod("after", "n1"));
    const isFollowed = async () => {
      const before = gets().length;
      await pods.describe(add("after"));
      return gets().length === before;
    };
    while (!(await isFollowed())) await sleep(10);
    await kubernetes.close();
    const { conf } = await pods.describe(add("static", "hash"));
    expect(conf.args?.cni?.labels).toEqual([{ key: "app", value: "static" }]);
  });

  test("with the API server away, a known pod is served and an unknown one is to come again", async () => {
    await kubernetes.close();
    expect((await pods.describe(add("web"))).conf.args?.cni?.labels).toEqual([{ key: "app", value: "web" }]);
    await expect(pods.describe(add("new"))).rejects.toMatchObject({ code: "try-again-later" });
  });

  test("a pod that Kubernetes does not have is served as it comes", async () => {
    const call = add("unheard-of");
    expect(await pods.describe(call)).toBe(call);
  });
});
