/** bgpd as a whole on a store in memory, with a BIRD that plays node n2 of the mesh. */
import { mkdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { encode, keyOf, parse, type Resource } from "@margay/api";
import type { ControlHandler, DaemonContext } from "@margay/daemon";
import { barrierKey, memoryStore, raiseBarrier } from "@margay/datastore";
import { scratch, unshared } from "@margay/testing";
import { Registry } from "prom-client";
import { startBgpd } from "./start.ts";
import { Bird, eventually, kernelRoutes, run, wire } from "./testing/bird.ts";

const birdConf = (routes: string) => `
router id 172.20.0.2;
protocol device {}
protocol static s4 { ipv4; ${routes} }
protocol bgp n1 {
  local 172.20.0.2 as 64512;
  neighbor 172.20.0.11 as 64512;
  direct; hold time 9; connect delay time 1; connect retry time 1; error wait time 1, 2; graceful restart on;
  ipv4 { import all; export all; next hop self; };
  ipv6 { import all; export all; };
}
`;

unshared(import.meta.url, () => {
  const bird = new Bird("n2");
  const store = memoryStore();
  const handlers = new Map<string, ControlHandler>();
  const metrics = new Registry();
  const conditions = new Map<string, boolean>();
  const remarks = new Map<string, () => string | undefined>();
  const secretsDir = scratch(tmpdir(), "secrets");
  let running: { stop(): Promise<void> };

  const entry = (kind: Resource["kind"], name: string, spec: object, namespace?: string) => {
    const metadata = { name, ...(namespace ? { namespace } : {}) };
    const { resource } = parse({ apiVersion: "margay.dev/v1", kind, metadata, spec });
    return { key: keyOf(resource.kind as "Node", name, namespace), value: encode(resource) }; // any kind
  };
  const put = async (...[kind, name, spec, namespace]: Parameters<typeof entry>) => {
    const { key, value } = entry(kind, name, spec, namespace);
    await store.put(key, value);
  };
  const affinity = (node: string, cidr: string) =>
    put("BlockAffinity", `${node}-${cidr.replace("/", "-")}`, {
      state: "confirmed",
      node,
      type: "host",
      cidr,
    });
  const ask = (path: string, query: Record<string, string> = {}) => handlers.get(path)?.(query);
  const sleep = (ms: number, signal: AbortSignal) =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      signal.addEventListener("abort", () => resolve(clearTimeout(timer)));
    });
  const barrier = (id: string, timeoutMs = 300) =>
    raiseBarrier(store, { id, expected: [{ node: "n1", daemon: "bgpd" }], timeoutMs, sleep });

  const start = () => {
    const log = { info: () => {}, warn: () => {}, error: () => {}, debug: () => {} };
    const context = {
      ...{ store, node: "n1", metrics, log },
      health: {
        ready: (name: string, ready: boolean) => conditions.set(name, ready),
        live: () => {},
        remark: (name: string, ask: () => string | undefined) => remarks.set(name, ask),
      },
      control: {
        get: (path: string, handler: ControlHandler) => handlers.set(path, handler),
        post: (path: string, handler: ControlHandler) => handlers.set(`POST ${path}`, handler),
      },
    } as unknown as DaemonContext; // the parts that bgpd uses
    return startBgpd(context, { secretsDir });
  };

  beforeAll(async () => {
    wire("n2");
    await put("Node", "n1", { bgp: { ipv4Address: "172.20.0.11/24", ipv6Address: "fd00:172:20::11/64" } });
    await put("Node", "n2", { bgp: { ipv4Address: "172.20.0.2/24" } });
    await put("IPPool", "default-ipv4", { cidr: "10.244.0.0/16" });
    await affinity("n1", "10.244.1.0/26");
    await affinity("n2", "10.244.2.0/26");
    running = await start();
  });
  afterAll(async () => {
    await running.stop();
    await bird.remove();
    rmSync(secretsDir, { recursive: true });
  });

  describe("bgpd", () => {
    test("says what is missing as long as the other node is away", async () => {
      await eventually(
        () => conditions,
        new Map([
          ["datastore", true],
          ["resources", true],
          ["kernel", true],
        ]),
      );
      await eventually(
        async () => (await barrier("b1")).missing,
        [
          {
            node: "n1",
            daemon: "bgpd",
            why: "session to 172.20.0.2 (n2) is Active: connection refused; 10.244.2.0/26 of n2 not learned: session to 172.20.0.2 (n2) is Active: connection refused",
          },
        ],
      );
    });

    test("learns the other node's block, announces its own, and answers the barrier", async () => {
      bird.start(birdConf("route 10.244.2.0/26 blackhole; route 192.0.2.0/24 blackhole;"));
      await eventually(() => ask("/pending"), { pending: undefined });
      expect(bird.routes()).toEqual(["10.244.1.0/26 via 172.20.0.11 []"]);
      expect(kernelRoutes()).toEqual([
        "10.244.2.0/26 via 172.20.0.2 dev eth0 metric 1024",
        "192.0.2.0/24 via 172.20.0.2 dev eth0 metric 1024",
      ]);
      expect(await barrier("b2", 20_000)).toEqual({
        answered: [{ node: "n1", daemon: "bgpd" }],
        missing: [],
      });
    });

    test("a peer that comes in one batch with a barrier is waited for", async () => {
      const peer = entry("BGPPeer", "new", { peerIP: "172.20.0.77", asNumber: 64513 });
      await store.commit([
        { type: "create", ...peer },
        { type: "create", key: barrierKey("b3"), value: JSON.stringify({ timeoutMs: 5000 }) },
      ]);
      const answer = async () => (await store.get(`${barrierKey("b3")}/n1/bgpd`))?.value ?? "none";
      await eventually(async () => (await answer()) === "none", false, 1);
      expect(await answer()).toMatch(/session to 172.20.0.77 \(new\) is/);
      await store.delete(barrierKey("b3"));
      await store.delete(peer.key);
      await eventually(() => ask("/pending"), { pending: undefined });
    });

    test("what cannot be taken up is said, by barrier and readiness, until it can", async () => {
      mkdirSync(join(secretsDir, "bgp", "key"), { recursive: true }); // a file that cannot be read
      const password = { secretKeyRef: { name: "bgp", key: "key" } };
      const peer = entry("BGPPeer", "secret", { peerIP: "172.20.0.78", asNumber: 64513, password });
      await store.put(peer.key, peer.value);
      await eventually(async () => (await barrier("b4")).missing[0]?.why, expect.stringMatching(/EISDIR/));
      expect(conditions.get("resources")).toBe(false);
      await store.delete(peer.key);
      await eventually(() => conditions.get("resources"), true);
      await eventually(() => ask("/pending"), { pending: undefined });
    });

    test("a borrowed address is announced, and withdrawn with its pod", async () => {
      const spec = {
        orchestrator: "cni",
        node: "n1",
        endpoint: "eth0",
        ipNetworks: ["10.244.2.9/32"],
        interfaceName: "cali1",
      };
      await put("WorkloadEndpoint", "w", spec, "default");
      await eventually(
        () => bird.routes(),
        ["10.244.1.0/26 via 172.20.0.11 []", "10.244.2.9/32 via 172.20.0.11 []"],
      );
      await store.delete(keyOf("WorkloadEndpoint", "w", "default"));
      await eventually(() => bird.routes(), ["10.244.1.0/26 via 172.20.0.11 []"]);
    });

    test("a service's range, and its own address while an endpoint here is ready; neither in the kernel", async () => {
      const [block, range, own] = ["10.244.1.0/26", "203.0.113.0/24", "203.0.113.9/32"].map(
        (prefix) => `${prefix} via 172.20.0.11 []`,
      );
      const inKernel = kernelRoutes();
      await put("BGPConfiguration", "default", { serviceLoadBalancerIPs: [{ cidr: "203.0.113.0/24" }] });
      const service = { loadBalancerIPs: ["203.0.113.9"], externalTrafficPolicy: "Local" };
      await put("Service", "web", service, "shop");
      const endpoint = (ready: boolean) => ({ addresses: ["10.244.1.5"], nodeName: "n1", ready });
      await put("EndpointSlice", "web-1", { service: "web", endpoints: [endpoint(true)] }, "shop");
      await eventually(() => bird.routes(), [block, range, own]);
      expect(kernelRoutes()).toEqual(inKernel);
      await put("EndpointSlice", "web-1", { service: "web", endpoints: [endpoint(false)] }, "shop"); // terminating, say
      await eventually(() => bird.routes(), [block, range]);
      await store.delete(keyOf("BGPConfiguration", "default"));
      await eventually(() => bird.routes(), [block]);
    });

    test("ranges of services of each kind, with communities; addresses alone without aggregation; nothing from an excluded node", async () => {
      const from = (...prefixes: string[]) =>
        ["10.244.1.0/26", ...prefixes].map((prefix) => `${prefix} via 172.20.0.11 []`).sort();
      const [cluster, external, balancer] = ["10.96.0.0/16", "198.51.100.0/24", "203.0.113.0/24"] as const;
      const ranges = {
        ...{ serviceClusterIPs: [{ cidr: cluster }], serviceExternalIPs: [{ cidr: external }] },
        serviceLoadBalancerIPs: [{ cidr: balancer }],
        prefixAdvertisements: [{ cidr: balancer, communities: ["65001:7"] }],
      };
      const communities = (prefix: string) =>
        /BGP\.community: (.*)/.exec(bird.control(`show route ${prefix} all`))?.[1];
      const node = (labels: object) => {
        const bgp = { ipv4Address: "172.20.0.11/24", ipv6Address: "fd00:172:20::11/64" };
        const document = { apiVersion: "margay.dev/v1", kind: "Node", metadata: { name: "n1", labels } };
        return store.put(keyOf("Node", "n1"), encode(parse({ ...document, spec: { bgp } }).resource));
      };
      const service = (ready: boolean) =>
        put("Service", "api", { loadBalancerIPs: ["203.0.113.8"], ready }, "shop");
      await service(true);
      await put("BGPConfiguration", "default", ranges);
      await eventually(() => bird.routes(), from(cluster, external, balancer));
      expect([cluster, balancer].map(communities)).toEqual([undefined, "(65001,7)"]);

      await put("BGPConfiguration", "default", { ...ranges, serviceLoadBalancerAggregation: "Disabled" });
      await eventually(() => bird.routes(), from(cluster, external, "203.0.113.8/32"));
      expect(communities("203.0.113.8/32")).toBe("(65001,7)");
      await service(false);
      await eventually(() => bird.routes(), from(cluster, external));

      await node({ "node.kubernetes.io/exclude-from-external-load-balancers": "" });
      await eventually(() => bird.routes(), from());
      await node({});
      await eventually(() => bird.routes(), from(cluster, external));
      await store.delete(keyOf("BGPConfiguration", "default"));
      await eventually(() => bird.routes(), from());
    });

    test("disableBGPExport takes the blocks back; kernel routes stay", async () => {
      await put("IPPool", "default-ipv4", { cidr: "10.244.0.0/16", disableBGPExport: true });
      await eventually(() => bird.routes(), []);
      expect(kernelRoutes()).toHaveLength(2);
      await put("IPPool", "default-ipv4", { cidr: "10.244.0.0/16" });
      await eventually(() => bird.routes(), ["10.244.1.0/26 via 172.20.0.11 []"]);
    });

    test("shows its peers and every path", async () => {
      expect(ask("/peers")).toEqual([
        expect.objectContaining({
          ...{ name: "n2", address: "172.20.0.2", as: 64512, type: "mesh", state: "Established" },
          ...{ received: 2, accepted: 2, best: 2, sent: 1, lastError: undefined },
          timers: { holdTimeSeconds: 9, keepaliveSeconds: 3, connectRetrySeconds: 5 },
        }),
      ]);
      expect(await ask("/routes", { prefix: "10.244.2.0/26" })).toEqual([
        expect.objectContaining({
          prefix: "10.244.2.0/26",
          from: "n2",
          nextHop: "172.20.0.2",
          asPath: "",
          best: true,
          kernel: "installed",
        }),
      ]);
      const shown = await metrics.metrics();
      for (const line of [
        /^margay_bgp_peer_state\{peer="172.20.0.2",name="n2"\} 5$/m,
        /^margay_bgp_peer_prefixes_sent\{peer="172.20.0.2",name="n2"\} 1$/m,
        /^# TYPE margay_bgp_peer_flaps_total counter\nmargay_bgp_peer_flaps_total\{peer="172.20.0.2",name="n2"\} 0$/m,
        /^margay_bgp_peer_last_error_connection_timestamp_seconds\{peer="172.20.0.2",name="n2",error="[^"]+"\} 1\d{9}/m,
      ])
        expect(shown).toMatch(line);
    });

    test("another listen port and back, without a restart", async () => {
      const listeners = () =>
        run("ss -Hltn")
          .match(/:(\d+)\s/g)
          ?.map((t) => t.trim())
          .filter((t) => t !== ":*");
      await put("BGPConfiguration", "default", { listenPort: 1790 });
      await eventually(() => new Set(listeners()), new Set([":1790"]));
      await put("BGPConfiguration", "default", {});
      await eventually(() => new Set(listeners()), new Set([":179"]));
      await eventually(() => ask("/pending"), { pending: undefined });
    });

    test("the mesh is switched off: the session ends, its routes go", async () => {
      await put("BGPConfiguration", "default", { nodeToNodeMeshEnabled: false });
      await eventually(kernelRoutes, []);
      await eventually(() => bird.routes(), []);
      expect(ask("/peers")).toEqual([]);
    });
  });
});
