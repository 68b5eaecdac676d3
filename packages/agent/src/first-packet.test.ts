import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "@jest/globals";
import { encode, keyOf, parse } from "@margay/api";
import { type MemoryStore, memoryStore } from "@margay/datastore";
import { newNamespace } from "@margay/netlink";
import { unshared } from "@margay/testing";
import { BACKENDS } from "./rulesets/testing/backends.ts";
import { startAgent } from "./start.ts";
import { clear } from "./testing/clear.ts";
import { pause, testContext } from "./testing/context.ts";
import { cniAdd } from "./testing/runtime.ts";

const PODS = 100;
const FORBIDDEN = ["192.0.2.1", "fd00:2::1"];
const ALLOWED = ["192.0.2.2", "fd00:2::2"];

const sh = (command: string): string => execFileSync("sh", ["-c", command], { encoding: "utf8" });

/** A host on a cable to the node, with all four addresses, which counts what arrives and answers nothing. */
const far = `sysctl -qw net.ipv6.conf.default.accept_dad=0; ip netns exec far sysctl -qw net.ipv6.conf.default.accept_dad=0
  ip link add up0 type veth peer name up1 netns far && ip link set up0 up
  ip addr add 192.0.2.9/24 dev up0; ip addr add fd00:2::9/64 dev up0 nodad; ip -n far link set up1 up
  for i in 1 2; do ip -n far addr add 192.0.2.$i/24 dev up1; ip -n far addr add fd00:2::$i/64 dev up1 nodad; done
  nsenter --net=/run/netns/far nft -f - <<end
    table inet seen {
      set forbidden4 { type ipv4_addr; flags dynamic; }
      set forbidden6 { type ipv6_addr; flags dynamic; }
      set allowed4 { type ipv4_addr; flags dynamic; }
      set allowed6 { type ipv6_addr; flags dynamic; }
      chain in {
        type filter hook input priority 0;
        ip daddr ${FORBIDDEN[0]} meta l4proto udp add @forbidden4 { ip saddr } drop
        ip6 daddr ${FORBIDDEN[1]} meta l4proto udp add @forbidden6 { ip6 saddr } drop
        ip daddr ${ALLOWED[0]} meta l4proto udp add @allowed4 { ip saddr } drop
        ip6 daddr ${ALLOWED[1]} meta l4proto udp add @allowed6 { ip6 saddr } drop
      }
    }
end`;

/** How many pods' datagrams have arrived there, by set. */
function seen(): Record<string, number> {
  const { nftables } = JSON.parse(sh("nsenter --net=/run/netns/far nft -j list sets")) as {
    nftables: { set?: { name: string; elem?: unknown[] } }[];
  };
  return Object.fromEntries(
    nftables.flatMap(({ set }) => (set ? [[set.name, set.elem?.length ?? 0] as const] : [])),
  );
}

async function put(store: MemoryStore, kind: string, name: string, spec: object, labels = {}): Promise<void> {
  const { resource } = parse({ apiVersion: "margay.dev/v1", kind, metadata: { name, labels }, spec });
  await store.put(keyOf(resource.kind, name), encode(resource));
}

async function cluster(backend: object): Promise<MemoryStore> {
  const store = memoryStore();
  const open = [{ action: "Allow" }];
  await put(store, "Node", "n1", { bgp: { ipv4Address: "192.0.2.9/24" } });
  await put(store, "IPPool", "four", { cidr: "10.244.0.0/24" });
  await put(store, "IPPool", "six", { cidr: "fd00:10:244::/64" });
  await put(store, "Profile", "kns.default", { ingress: open, egress: open });
  await put(store, "FelixConfiguration", "default", backend);
  await put(store, "GlobalNetworkSet", "away", { nets: FORBIDDEN }, { role: "forbidden" });
  const destination = { selector: "role == 'forbidden'" };
  const egress = [{ action: "Deny", destination }, ...open];
  await put(store, "GlobalNetworkPolicy", "stay", { selector: "all()", types: ["Egress"], egress });
  return store;
}

/** Until `look` is true of what has arrived, at most a minute. */
async function untilSeen(look: (found: Record<string, number>) => boolean): Promise<void> {
  for (const end = performance.now() + 60_000; !look(seen()); await pause(100))
    if (performance.now() > end)
      throw new Error(`not within a minute: ${look}, but ${JSON.stringify(seen())}`);
}

/** Datagrams from all pods, from now on. */
async function dial() {
  const file = fileURLToPath(new URL("testing/dialers.ts", import.meta.url));
  const node = ["--conditions=margay-source", "--no-warnings", file, String(PODS), ...FORBIDDEN, ...ALLOWED];
  const child = spawn(process.execPath, node, { stdio: ["pipe", "pipe", "inherit"] });
  await once(child.stdout, "data");
  return async () => {
    child.stdin.end();
    await once(child, "exit");
  };
}

unshared(import.meta.url, () => {
  test.each(Object.entries(BACKENDS))(
    "%s: 100 pods started at once dial from before they have an interface: nothing comes where they may not",
    async (_name, backend) => {
      newNamespace("/run/netns/far");
      sh(far);
      const pods = Array.from({ length: PODS }, (_, i) => `pod${i}`);
      for (const pod of pods) newNamespace(`/run/netns/${pod}`);
      const store = await cluster(backend);
      const runDir = mkdtempSync("/run/agent-");
      const context = testContext({ store, node: "n1", runDir });
      const agent = await startAgent(context.daemon);
      while (context.notReady().length > 0) await pause(50);
      const hangUp = await dial();
      try {
        const replies = await Promise.all(pods.map((pod) => cniAdd(runDir, pod)));
        expect(replies.filter(({ exitCode }) => exitCode !== 0)).toEqual([]);
        await untilSeen(({ allowed4, allowed6 }) => allowed4 === PODS && allowed6 === PODS);
        expect(seen()).toEqual({ forbidden4: 0, forbidden6: 0, allowed4: PODS, allowed6: PODS });
        // It would have been seen: they dial still.
        await store.delete(keyOf("GlobalNetworkPolicy", "stay"));
        await untilSeen(({ forbidden4, forbidden6 }) => forbidden4 === PODS && forbidden6 === PODS);
      } finally {
        await hangUp();
        await agent.stop();
        await clear("cali.*|up0");
      }
    },
  );
});
