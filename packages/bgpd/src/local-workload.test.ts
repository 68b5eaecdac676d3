/** A pod that speaks BGP with its node: BGPPeer's localWorkloadSelector. The verdict is the tables of the pod's BIRD and of another node's. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { encode, keyOf, parse, type Resource } from "@margay/api";
import { unshared } from "@margay/testing";
import { Engine } from "./engine.ts";
import { Intake } from "./intake.ts";
import { Bird, eventually, kernelRoutes, run, wire } from "./testing/bird.ts";
import { quiet } from "./testing/speakers.ts";

const calm = "connect delay time 1; connect retry time 1; error wait time 1, 1; hold time 9;";
const inPod = `
router id 10.244.1.5;
protocol device {}
protocol static s4 { ipv4; route 10.123.0.0/26 blackhole; route 10.99.0.0/16 blackhole; }
protocol static gateway4 { ipv4; route 0.0.0.0/0 via "eth0"; }
protocol static s6 { ipv6; route fd00:10:123::/64 blackhole; }
protocol bgp n1 {
  local 10.244.1.5 as 65401; neighbor 169.254.0.179 as 64512; multihop; ${calm}
  ipv4 { import all; export where proto = "s4"; };
}
protocol bgp n1_v6 {
  local fd00:10:244::5 as 65401; neighbor fd12:3456:789a::1 as 64512; multihop; ${calm}
  ipv6 { import all; export where source = RTS_STATIC; };
}
`;
const onOtherNode = `
router id 172.20.0.2;
protocol device {}
protocol bgp n1 {
  local 172.20.0.2 as 64512; neighbor 172.20.0.11 as 64512; direct; ${calm}
  ipv4 { import all; export none; };
  ipv6 { import all; export none; };
}
`;

unshared(import.meta.url, () => {
  const [pod, other] = [new Bird("pod"), new Bird("n2")];
  const intake = new Intake({ node: "n1", onCorrupt: () => {}, secret: () => undefined });
  let engine: Engine;

  const put = (kind: Resource["kind"], name: string, spec: object | undefined, more: object = {}) => {
    const metadata = { name, ...more };
    const { resource } = parse({ apiVersion: "margay.dev/v1", kind, metadata, spec: spec ?? {} });
    const key = keyOf(resource.kind as "Node", name, resource.metadata.namespace); // any kind
    intake.apply([{ key, entry: spec && { key, value: encode(resource), revision: 1n } }] as never); // as a syncer says it
    engine.apply(intake.wanted());
  };
  const endpoint = (color: string) =>
    put(
      "WorkloadEndpoint",
      "n1-k8s-router-eth0",
      {
        ...{ orchestrator: "k8s", node: "n1", pod: "router", endpoint: "eth0", interfaceName: "cali1" },
        ipNetworks: ["10.244.1.5/32", "fd00:10:244::5/128"],
      },
      { namespace: "child", labels: { color } },
    );
  const peering = {
    localWorkloadPeeringIPV4: "169.254.0.179",
    localWorkloadPeeringIPV6: "fd12:3456:789a::1",
  };
  const configure = (more: object) =>
    put("BGPConfiguration", "default", { nodeToNodeMeshEnabled: false, ...more });
  const listening = () => run("ss -Hltn sport = 179 | awk '{print $4}' | sort").trim().split("\n");
  const warned: unknown[] = [];
  const onLo = () => run("ip -o addr show dev lo").match(/(169\.254|fd12)\S+/g);
  const states = () => [...engine.speaker.peers.values()].map((p) => `${p.wanted.name} ${p.session.state}`);

  beforeAll(async () => {
    wire("n2");
    run(`set -e
      sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
      ip link set lo up
      ip netns add pod; ip link add cali1 address ee:ee:ee:ee:ee:ee type veth peer name eth0 netns pod
      ip link set cali1 up; ip addr add fe80::1/64 dev cali1 nodad; sysctl -qw net.ipv4.conf.cali1.proxy_arp=1
      ip -n pod link set lo up; ip -n pod link set eth0 up
      ip -n pod addr add 10.244.1.5/32 dev eth0; ip -n pod addr add fd00:10:244::5/128 dev eth0 nodad
      ip -n pod route add 169.254.1.1 dev eth0; ip -n pod route add default via 169.254.1.1
      ip -n pod -6 route add default via fe80::1 dev eth0
      ip route add default via 172.20.0.2 # who has one answers for the pod's gateway (proxy_arp)
      ip route add 10.244.1.5/32 dev cali1 proto 142; ip -6 route add fd00:10:244::5/128 dev cali1 proto 142`);
    engine = await Engine.open({
      log: { ...quiet, warn: ({ event }: { event?: string }) => void warned.push(event) },
      connectRetrySeconds: 0.5,
      idleHoldSeconds: 0.2,
    });
    configure({});
    put("Node", "n1", { bgp: { ipv4Address: "172.20.0.11/24", ipv6Address: "fd00:172:20::11/64" } });
    put("IPPool", "v4", { cidr: "10.244.0.0/16" });
    put("BlockAffinity", "n1-10.244.1.0-26", {
      state: "confirmed",
      node: "n1",
      type: "host",
      cidr: "10.244.1.0/26",
    });
    put("BGPFilter", "children", {
      importV4: [
        { action: "Accept", matchOperator: "In", cidr: "10.123.0.0/16" },
        { action: "Reject", matchOperator: "In", cidr: "0.0.0.0/0" },
      ],
    });
    put("BGPFilter", "tell-children", {
      exportV4: [{ action: "Accept", matchOperator: "In", cidr: "10.123.0.0/16", source: "RemotePeers" }],
      exportV6: [{ action: "Accept", matchOperator: "In", cidr: "fd00:10:123::/48", source: "RemotePeers" }],
    });
    put("BGPPeer", "n2", { peerIP: "172.20.0.2", asNumber: 64512, filters: ["tell-children"] });
    put("BGPPeer", "routers", {
      localWorkloadSelector: "color == 'red'",
      asNumber: 65401,
      filters: ["children"],
    });
    pod.start(inPod);
    other.start(onOtherNode);
  });
  afterAll(async () => {
    await engine.stop();
    for (const bird of [pod, other]) await bird.remove();
  });

  describe("local workload peers", () => {
    test("without an address to peer with: the session stays down and says so", () => {
      endpoint("red");
      expect([...engine.speaker.peers.values()].map(({ wanted }) => wanted.problem)).toEqual([
        undefined,
        "BGPConfiguration names no localWorkloadPeeringIPV4",
        "BGPConfiguration names no localWorkloadPeeringIPV6",
      ]);
    });

    const whole = [
      "169.254.0.179:179",
      "172.20.0.11:179",
      "[fd00:172:20::11]:179",
      "[fd12:3456:789a::1]:179",
    ];
    test("bindMode NodeIP, and an address that cannot be put on lo yet: listened to already, nobody is shut out", async () => {
      configure({ bindMode: "NodeIP" });
      await eventually(listening, ["172.20.0.11:179", "[fd00:172:20::11]:179"]);
      run("sysctl -qw net.ipv6.conf.lo.disable_ipv6=1");
      configure({ ...peering, bindMode: "NodeIP" });
      await eventually(listening, whole);
      run("sysctl -qw net.ipv6.conf.lo.disable_ipv6=0");
      expect(warned).not.toContain("listen-failed");
    });

    test("the pod peers with the node's address for that; what the filter lets in goes into the kernel, and the pod hears the block", async () => {
      configure(peering);
      await eventually(states, ["n2 Established", "child/router Established", "child/router Established"]);
      expect(onLo()).toEqual(["169.254.0.179/32", "fd12:3456:789a::1/128"]);
      await eventually(kernelRoutes, [
        "10.123.0.0/26 via 10.244.1.5 dev cali1 metric 1024",
        "fd00:10:123::/64 via fd00:10:244::5 dev cali1 metric 1024",
      ]);
      await eventually(() => pod.routes(), ["10.244.1.0/26 via 169.254.0.179 [64512]"]);
    });

    test("another node, over iBGP: its next hop is this node, the pod's is its own way out", async () => {
      await eventually(
        () => other.routes(),
        [
          "10.123.0.0/26 via 172.20.0.11 [65401]",
          "10.244.1.0/26 via 172.20.0.11 []",
          "fd00:10:123::/64 via fd00:172:20::11 [65401]",
        ],
      );
    });

    test("bindMode NodeIP: the pod still gets in; an address that somebody takes away is back", async () => {
      configure({ ...peering, bindMode: "NodeIP" });
      run("ip addr del 169.254.0.179/32 dev lo");
      await eventually(onLo, ["169.254.0.179/32", "fd12:3456:789a::1/128"]);
      await eventually(listening, whole);
    });

    test("a pod that is selected no more: its sessions, routes and the addresses go", async () => {
      endpoint("blue");
      await eventually(kernelRoutes, []);
      await eventually(() => [states(), onLo()], [["n2 Established"], null]);
    });
  });
});
