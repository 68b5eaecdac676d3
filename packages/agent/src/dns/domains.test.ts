import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect, test } from "@jest/globals";
import { type AnyResource, encode, keyOf, parse, parseKubernetes } from "@margay/api";
import { type MemoryStore, memoryStore } from "@margay/datastore";
import { formatAddress, parseAddress } from "@margay/net";
import { newNamespace } from "@margay/netlink";
import { unshared } from "@margay/testing";
import { startAgent } from "../start.ts";
import { clear } from "../testing/clear.ts";
import { pause, testContext } from "../testing/context.ts";
import { cniAdd } from "../testing/runtime.ts";
import { Domains } from "./domains.ts";
import type { Done, Task } from "./testing/asker.ts";
import { answer } from "./testing/wire.ts";

const RESOLVERS = { trusted: ["192.0.2.53", "fd00:2::53"], strange: ["192.0.2.54", "fd00:2::54"] };
const SERVERS = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "fd00:2::1", "fd00:2::3"];
const WWW = "www.example.com";

const sh = (command: string): string => execFileSync("sh", ["-c", command], { encoding: "utf8" });

/** A host on a cable to the node, with all the addresses. */
const far = (): void => {
  newNamespace("/run/netns/far");
  const addresses = [...Object.values(RESOLVERS).flat(), ...SERVERS];
  const add = addresses.map((ip) => (ip.includes(":") ? `${ip}/64 dev up1 nodad` : `${ip}/24 dev up1`));
  sh(`sysctl -qw net.ipv6.conf.default.accept_dad=0; ip netns exec far sysctl -qw net.ipv6.conf.default.accept_dad=0
    ip link add up0 type veth peer name up1 netns far && ip link set up0 up; ip -n far link set up1 up
    ip addr add 192.0.2.9/24 dev up0; ip addr add fd00:2::9/64 dev up0 nodad
    ${add.map((words) => `ip -n far addr add ${words}`).join("\n")}
    ip -n far route add 10.244.0.0/16 via 192.0.2.9; ip -n far -6 route add fd00:10:244::/64 via fd00:2::9`);
};

/** A program of `testing/` in a namespace, once it says that it is ready. */
async function program(namespace: string, file: string, ...words: string[]): Promise<ChildProcess> {
  const path = fileURLToPath(new URL(`testing/${file}`, import.meta.url));
  const node = [process.execPath, "--conditions=margay-source", "--no-warnings", path, ...words];
  const child = spawn("nsenter", [`--net=/run/netns/${namespace}`, ...node], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  return child;
}

/** Somebody in a pod who asks DNS, and sends. */
async function asker(pod: string) {
  const child = await program(pod, "asker.ts");
  const waiting = new Map<number, (done: Done) => void>();
  if (!child.stdout || !child.stdin) throw new Error("it has pipes");
  createInterface({ input: child.stdout }).on("line", (line) => {
    const done = JSON.parse(line) as Done;
    waiting.get(done.id)?.(done);
  });
  let id = 0;
  const carryOut = (task: Omit<Task, "id">): Promise<Done> => {
    const { promise, resolve } = Promise.withResolvers<Done>();
    waiting.set(++id, resolve);
    child.stdin?.write(`${JSON.stringify({ ...task, id })}\n`);
    return promise;
  };
  return {
    /** Whether a datagram comes there: `patienceMs` is waited for its answer. */
    reaches: async (to: string, patienceMs = 10_000) => (await carryOut({ to, patienceMs })).reached,
    /** `answered`, and then `reached` if it also reached an address with its first datagram. */
    asks: async (domain: string, server = "192.0.2.53", to?: string, patienceMs = 10_000) => {
      const done = await carryOut({ ask: { server, domain }, ...(to && { to }), patienceMs });
      return [...(done.answered ? ["answered"] : []), ...(done.reached ? ["reached"] : [])];
    },
    stop: () => child.stdin?.end(),
  };
}

const put = (store: MemoryStore, value: AnyResource) =>
  store.put(keyOf(value.kind, value.metadata.name), encode(value));

/** What all may do: ask four DNS servers, of which two are believed; and reach what an administrator's names stand for. */
const POLICY = {
  ...{ apiVersion: "policy.networking.k8s.io/v1alpha2", kind: "ClusterNetworkPolicy" },
  metadata: { name: "names" },
  spec: {
    ...{ tier: "Admin", priority: 1, subject: { namespaces: {} } },
    egress: [
      {
        action: "Accept",
        to: [
          {
            networks: Object.values(RESOLVERS)
              .flat()
              .map((ip) => `${ip}/${ip.includes(":") ? 128 : 32}`),
          },
        ],
        protocols: [{ udp: { destinationPort: { number: 53 } } }],
      },
      {
        action: "Accept",
        to: [{ domainNames: [WWW.toUpperCase(), "*.wild.example", "broken.example.com."] }],
      },
      { action: "Deny", to: [{ networks: ["0.0.0.0/0", "::/0"] }] },
    ],
  },
};

async function cluster(settings: object): Promise<MemoryStore> {
  const store = memoryStore();
  const open = [{ action: "Allow" }];
  const ours = (kind: string, name: string, spec: object) =>
    put(store, parse({ apiVersion: "margay.dev/v1", kind, metadata: { name }, spec }).resource);
  await ours("Node", "n1", { bgp: { ipv4Address: "192.0.2.9/24" } });
  await ours("IPPool", "four", { cidr: "10.244.0.0/24" });
  await ours("IPPool", "six", { cidr: "fd00:10:244::/64" });
  await ours("Profile", "kns.default", {
    ...{ ingress: open, egress: open },
    labelsToApply: { "pcns.projectcalico.org/name": "default" },
  });
  await ours("Tier", "kube-admin", { order: 1000, defaultAction: "Pass" });
  await ours("FelixConfiguration", "default", { ...settings, dnsTrustedServers: RESOLVERS.trusted });
  const converted = parseKubernetes(POLICY)?.resource;
  if (!converted) throw new Error("the policy is read");
  await put(store, converted);
  return store;
}

async function started(store: MemoryStore, runDir: string) {
  const context = testContext({ store, node: "n1", runDir });
  const agent = await startAgent(context.daemon);
  while (context.notReady().length > 0) await pause(50);
  return { ...agent, ...context };
}

const BACKENDS = [
  { nftablesMode: "Enabled" },
  { nftablesMode: "Disabled", iptablesBackend: "NFT" },
  { nftablesMode: "Disabled", iptablesBackend: "Legacy" },
];
/** For what is to be dropped. */
const SHORT_MS = 500;

unshared(import.meta.url, () => {
  test.each(BACKENDS)("pods reach what DNS says, from the first datagram on: %j", async (settings) => {
    far();
    const pods = ["one", "two"];
    for (const pod of pods) newNamespace(`/run/netns/${pod}`);
    const store = await cluster(settings);
    const runDir = mkdtempSync("/run/agent-");
    const programs = [await program("far", "far.ts", Object.values(RESOLVERS).flat().join(), SERVERS.join())];
    let agent = await started(store, runDir);
    try {
      const replies = await Promise.all(pods.map((pod) => cniAdd(runDir, pod)));
      expect(replies.map(({ exitCode }) => exitCode)).toEqual([0, 0]);
      const [one, two] = [await asker("one"), await asker("two")];
      expect(await one.reaches("192.0.2.1", SHORT_MS)).toBe(false);
      // A server that is not believed answers, and opens nothing.
      expect(await one.asks(WWW, "192.0.2.54", "192.0.2.1", SHORT_MS)).toEqual(["answered"]);
      // In either family, over either family, in any case.
      expect(await one.asks("wWw.example.com", "192.0.2.53", "192.0.2.1")).toEqual(["answered", "reached"]);
      expect(await one.asks(WWW, "fd00:2::53", "fd00:2::1")).toEqual(["answered", "reached"]);
      expect(await two.reaches("192.0.2.1")).toBe(true); // what one learnt the node knows
      expect(await one.asks("a.b.wild.example", "192.0.2.53", "192.0.2.2")).toEqual(["answered", "reached"]);
      // Names that no rule means, a wildcard's own among them, are answered all the same.
      for (const domain of ["other.example", "wild.example"])
        expect(await one.asks(domain, "192.0.2.53", "192.0.2.3", SHORT_MS)).toEqual(["answered"]);
      expect(await one.asks("broken.example.com")).toEqual(["answered"]);
      expect(
        await agent.daemon.metrics.getSingleMetricAsString("margay_agent_domain_answers_refused_total"),
      ).toMatch(/reason="short"} 1$/m);
      const seen = (await agent.get("/domains")) as { domain: string; addresses: { address: string }[] }[];
      expect(
        seen.map(({ domain, addresses }) => [domain, ...addresses.map(({ address }) => address)]),
      ).toEqual([
        ["a.b.wild.example", "192.0.2.2"],
        [WWW, "192.0.2.1", "fd00:2::1"],
      ]);
      // Nobody listens: answers pass, what is known stays, and the next agent knows it too. A killed one would leave as much: it is written before
      // the answer goes on.
      expect(readFileSync(join(runDir, "domains.jsonl"), "utf8").match(/"(192|fd00)[^"]+"/g)).toEqual([
        '"192.0.2.1"',
        '"fd00:2::1"',
        '"192.0.2.2"',
      ]);
      await agent.stop();
      expect(await two.asks("a.b.wild.example", "192.0.2.53", "192.0.2.2")).toEqual(["answered", "reached"]);
      agent = await started(store, runDir);
      expect(await two.reaches("fd00:2::1")).toBe(true);
      expect(await two.reaches("192.0.2.3", SHORT_MS)).toBe(false);
      // Without the policy nothing is heard any more.
      await store.delete(keyOf("GlobalNetworkPolicy", "kcnp.admin.names"));
      for (const end = performance.now() + 60_000; !(await two.reaches("192.0.2.3", SHORT_MS)); )
        if (performance.now() > end) throw new Error("not open within 60 s");
      expect(sh("cat /proc/net/netfilter/nfnetlink_queue")).toBe("");
      for (const each of [one, two]) each.stop();
    } finally {
      for (const child of programs) child.stdin?.end();
      await agent.stop();
      await clear("cali.*|up0");
    }
  });

  test("an address whose time is over stays while a connection goes there", async () => {
    const runDir = mkdtempSync("/run/agent-");
    const path = join(runDir, "domains.jsonl");
    writeFileSync(
      path,
      '["a.example","198.51.100.1",1]\n["a.example","198.51.100.2",1]\n["gone.example","198.51.100.1",1]\n["a.example","198.51.100.3",100000]\n["a.ex',
    );
    let now = 1;
    const told: string[] = [];
    const domains = new Domains({
      runDir,
      meant: (domain) => (domain === "a.example" ? "in full" : undefined),
      onChange: (domain, addresses) => told.push([domain, ...addresses.map(formatAddress)].join(" ")),
      ...{ settled: async () => undefined, onRefused: () => undefined, now: () => now },
      onError: (error) => {
        throw error;
      },
    });
    domains.restore();
    expect(told.splice(0)).toEqual(["a.example 198.51.100.1 198.51.100.2 198.51.100.3"]);
    sh(
      "ip addr add 198.51.100.1/32 dev lo; nft add table t; nft 'add chain t c { type filter hook output priority 0; }'",
    );
    sh("nft add rule t c ct state new accept");
    await domains.tidy(); // none is due yet
    now = 40_000;
    const server = await lasting();
    const tidied = domains.tidy();
    now = 140_000; // while connections are read one more becomes due, which is not looked for among them
    await tidied;
    expect(told.splice(0)).toEqual(["a.example 198.51.100.1 198.51.100.3"]);
    expect(readFileSync(path, "utf8")).toBe(
      '["a.example","198.51.100.1",70000]\n["a.example","198.51.100.3",100000]\n',
    );
    server();
    // What is good for longer now is written before the answer goes on, and once when it is tidied.
    sh(
      "ip link set lo up; iptables -t mangle -A POSTROUTING -p udp --dport 4242 -j NFQUEUE --queue-num 19809",
    );
    domains.listen(true);
    const record = { owner: "a.example", ttl: 300, data: parseAddress("198.51.100.3") };
    await passes(answer({ domain: "a.example", family: 4 }, [record]));
    domains.listen(false);
    expect(readFileSync(path, "utf8")).toMatch(/,70000\]\n.*,100000\]\n.*"198.51.100.3",440000\]\n$/);
    now = 60_000;
    await domains.tidy();
    expect(readFileSync(path, "utf8")).toMatch(/^.*,70000\]\n.*"198.51.100.3",440000\]\n$/);
    expect(told).toEqual([]);
  });
});

/** Sends a datagram to ourselves, and waits until it is there. */
async function passes(message: Uint8Array): Promise<void> {
  const receiver = createSocket("udp4").bind(4242, "127.0.0.1");
  await once(receiver, "listening");
  const arrival = once(receiver, "message");
  receiver.send(message, 4242, "127.0.0.1");
  await arrival;
  receiver.close();
}

/** A connection to 198.51.100.1 that lasts. @returns what ends it */
async function lasting(): Promise<() => void> {
  const server = createServer().listen(8080, "198.51.100.1");
  await once(server, "listening");
  const client = connect(8080, "198.51.100.1");
  await once(client, "connect");
  return () => {
    client.destroy();
    server.close();
  };
}
