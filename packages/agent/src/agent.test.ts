import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "@jest/globals";
import { encode, keyOf, parse } from "@margay/api";
import { type MemoryStore, memoryStore, raiseBarrier, StoreError } from "@margay/datastore";
import { deleteNamespace, newNamespace, readSysctl } from "@margay/netlink";
import { unshared, until } from "@margay/testing";
import { startAgent } from "./start.ts";
import { clear } from "./testing/clear.ts";
import { pause, type TestContext, testContext } from "./testing/context.ts";
import { cniCall } from "./testing/runtime.ts";

const sh = (command: string): string =>
  execFileSync("sh", ["-c", command], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
const lines = (text: string): string[] =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
const ourRoutes = () =>
  lines(sh("ip route show proto 142; ip -6 route show proto 142 | sed 's/ dev lo//; s/ pref medium//'"));
const connections = (): string => sh("conntrack -L 2>/dev/null");
const rules = (): string =>
  sh("iptables-nft-save; ip6tables-nft-save")
    .replace(/^#.*\n/gm, "")
    .replace(/\[\d+:\d+\]/g, "");

type Document = {
  kind: string;
  metadata: { name: string; namespace?: string; labels?: object };
  spec: object;
};

interface Result {
  readonly ips: readonly { readonly address: string }[];
  readonly interfaces: readonly { readonly name: string }[];
}

interface Conflist {
  readonly name: string;
  readonly cniVersions: readonly string[];
  readonly plugins: readonly object[];
}

async function put(store: MemoryStore, { kind, metadata, spec }: Document): Promise<void> {
  const { resource } = parse({ apiVersion: "margay.dev/v1", kind, metadata, spec });
  await store.put(keyOf(resource.kind, metadata.name, resource.metadata.namespace), encode(resource));
}

const profile = {
  kind: "Profile",
  metadata: { name: "kns.default" },
  spec: { ingress: [{ action: "Allow" }], egress: [{ action: "Allow" }] },
};
const pool = (name: string, cidr: string, more: object = {}) => ({
  kind: "IPPool",
  metadata: { name },
  spec: { cidr, ...more },
});

async function cluster(): Promise<MemoryStore> {
  const store = memoryStore();
  await put(store, {
    kind: "Node",
    metadata: { name: "n1" },
    spec: { bgp: { ipv4Address: "172.20.0.11/24" } },
  });
  await put(store, pool("four", "10.244.0.0/24", { blockSize: 29 }));
  await put(store, pool("six", "fd00:10:244::/64"));
  await put(store, profile);
  return store;
}

unshared(import.meta.url, () => {
  const runDir = mkdtempSync("/run/agent-");
  let running: { context: TestContext; stop(): Promise<void> } | undefined;

  /** By iptables, whose chains are looked at below; which packet filter is taken otherwise is `rulesets/choose.test.ts`'s. */
  async function start(store: MemoryStore): Promise<TestContext> {
    const context = testContext({ store, node: "n1", runDir, options: { nftablesMode: "Disabled" } });
    running = { context, stop: (await startAgent(context.daemon)).stop };
    return context;
  }
  const started = async (store: MemoryStore): Promise<TestContext> => {
    const context = await start(store);
    await until(() => context.notReady().length === 0);
    return context;
  };
  async function stop(): Promise<void> {
    await running?.stop();
    running = undefined;
  }
  afterEach(async () => {
    await stop();
    await clear();
  });

  const call = (command: string, pod: string, env: Record<string, string> = {}, conf: object = {}) =>
    cniCall(runDir, command, pod, { env, conf });
  async function add(pod: string, conf: object = {}): Promise<{ address: string; host: string }> {
    newNamespace(`/run/netns/${pod}`);
    const reply = await call("ADD", pod, {}, conf);
    expect(reply).toMatchObject({ exitCode: 0 });
    return madeBy(JSON.parse(reply.stdout) as Result);
  }
  const madeBy = ({ ips, interfaces }: Result) => ({ address: ips[0]!.address, host: interfaces[0]!.name }); // an ADD that succeeded has both
  /** Resolves when the agent has seen and done all that was written. */
  const barrier = (store: MemoryStore) =>
    raiseBarrier(store, {
      ...{ id: "b1", expected: [{ node: "n1", daemon: "agent" }], timeoutMs: 60_000 },
      sleep: (ms, signal) => pause(ms, signal),
    });
  /** The interface that has rules now and had none in `before`. */
  const newest = (before: string): string | undefined =>
    [...rules().matchAll(/^-A margay-to-wl -i (cali\w+)/gm)]
      .map(([, name]) => name)
      .find((name) => !before.includes(`${name}`));
  const pings = (pod: string, address: string): boolean => {
    try {
      sh(`ip netns exec ${pod} ping -c1 -W1 -n ${address.split("/")[0]}`);
      return true;
    } catch {
      return false;
    }
  };

  test("CHECK names the setting that is gone; what is the agent's comes back by itself", async () => {
    await started(await cluster());
    newNamespace("/run/netns/a");
    const prevResult = JSON.parse((await call("ADD", "a")).stdout) as { interfaces: { name: string }[] };
    const host = prevResult.interfaces[0]!.name; // an ADD that succeeded has two
    const check = () => call("CHECK", "a", {}, { prevResult });
    expect(await check()).toEqual({ exitCode: 0, stdout: "" });
    sh(`sysctl -w net.ipv4.conf.${host}.proxy_arp=0`);
    const { details } = JSON.parse((await check()).stdout) as { details: string };
    expect(details.split("; ")).toEqual([`setting net.ipv4.conf.${host}.proxy_arp on the node: 0, not 1`]);
    await until(() => readSysctl(`net.ipv4.conf.${host}.proxy_arp`) === "1");
    expect(await check()).toEqual({ exitCode: 0, stdout: "" });
  });

  test("CHECK names the rules that are gone, each chain by its name", async () => {
    await started(await cluster());
    newNamespace("/run/netns/a");
    const prevResult = JSON.parse((await call("ADD", "a")).stdout) as object;
    sh("iptables-nft -F margay-to-wl; ip6tables-nft -D margay-from-wl 1");
    const { details } = JSON.parse((await call("CHECK", "a", {}, { prevResult })).stdout) as {
      details: string;
    };
    expect(details.split("; ")).toEqual([
      "chain filter/margay-to-wl (IPv4) on the node: gone or changed",
      "chain filter/margay-from-wl (IPv6) on the node: gone or changed",
    ]);
  });

  test("an ADD returns when the pod is routed and policed, and a DEL takes all of it away", async () => {
    const store = await cluster();
    await started(store);
    const a = await add("a");
    expect(ourRoutes()).toContain(`${a.address.replace("/32", "")} dev ${a.host} scope link`);
    expect(rules()).toContain(`-A margay-from-wl -i ${a.host}`);
    const b = await add("b");
    expect([pings("a", b.address), pings("b", a.address)]).toEqual([true, true]);
    expect(readSysctl("net.ipv4.ip_forward")).toBe("1");
    expect(readSysctl(`net.ipv4.conf.${a.host}.rp_filter`)).toBe("1");
    expect(connections()).toContain(`src=${a.address.replace("/32", " ")}`);
    expect((await call("DEL", "a")).exitCode).toBe(0);
    expect((await call("DEL", "a")).exitCode).toBe(0); // again is success
    await until(() => !connections().includes(`=${a.address.replace("/32", " ")}`));
    await until(() => !rules().includes(a.host) && !ourRoutes().some((route) => route.includes(a.host)));
    expect(ourRoutes().filter((route) => route.startsWith("blackhole"))).toEqual([
      expect.stringMatching(/^blackhole 10\.244\.0\.\d+\/29$/),
      expect.stringMatching(/^blackhole fd00:10:244:.*\/122 metric 1024$/),
    ]);
  });

  test("policy decides who gets in, and a policy that cannot be read lets nobody in", async () => {
    const store = await cluster();
    const { events } = await started(store);
    const [, b] = [await add("a"), await add("b")];
    expect(pings("a", b.address)).toBe(true);
    const denyAll = {
      kind: "NetworkPolicy",
      metadata: { name: "deny", namespace: "default" },
      spec: { selector: "all()", types: ["Ingress"] },
    };
    await put(store, denyAll);
    await until(() => !pings("a", b.address));
    await store.delete("/margay/v1/networkpolicies/default/deny");
    await until(() => pings("a", b.address));
    await store.put("/margay/v1/networkpolicies/default/broken", "{not json");
    await until(() => !pings("a", b.address));
    expect(events("corrupt-value")).toEqual([
      expect.objectContaining({ key: "/margay/v1/networkpolicies/default/broken" }),
    ]);
    await store.delete("/margay/v1/networkpolicies/default/broken");
    await until(() => pings("a", b.address));
  });

  test("a stop leaves everything in force, and a restart changes nothing", async () => {
    const store = await cluster();
    await started(store);
    const [a, b] = [await add("a"), await add("b")];
    await until(() => ourRoutes().length === 6);
    const before = { rules: rules(), routes: ourRoutes() };
    await stop();
    expect({ rules: rules(), routes: ourRoutes() }).toEqual(before);
    expect(pings("a", b.address)).toBe(true);
    const { events } = await started(store);
    expect({ rules: rules(), routes: ourRoutes() }).toEqual(before);
    const changed = events("applied").flatMap((event) =>
      (event.changed as { target: string }[]).map(({ target }) => target),
    );
    expect(changed.filter((target) => target !== "sysctls")).toEqual([]);
    expect(pings("b", a.address)).toBe(true);
  });

  test("nothing is written or removed before the datastore has been read, and foreign rules and routes never", async () => {
    const store = await cluster();
    sh(
      "iptables-nft -A INPUT -p tcp --dport 1 -j DROP; iptables-nft -N foreign; ip link add br0 type bridge; ip link set br0 up; ip addr add 172.20.0.11/24 dev br0; ip route add 10.9.0.0/24 via 172.20.0.9 proto static",
    );
    sh("iptables-nft -N margay-left-behind; ip route add blackhole 10.8.0.0/24 proto 142");
    let isAway = true;
    const away: MemoryStore = {
      ...store,
      revision: store.revision,
      list: (prefix) =>
        isAway ? Promise.reject(new StoreError("unavailable", "etcd is away")) : store.list(prefix),
    };
    const context = await start(away);
    await pause(300);
    expect(rules()).toContain("margay-left-behind");
    expect(ourRoutes()).toEqual(["blackhole 10.8.0.0/24"]);
    expect(
      context
        .notReady()
        .map(([name]) => name)
        .sort(),
    ).toEqual(["dataplane", "datastore", "node"]);
    const refused = JSON.parse((await call("ADD", "early")).stdout) as { code: number; msg: string };
    expect(refused).toMatchObject({ code: 11, msg: expect.stringContaining("not yet read the datastore") });
    isAway = false;
    await until(() => context.notReady().length === 0);
    expect(ourRoutes()).toEqual([]);
    expect(rules()).not.toContain("margay-left-behind");
    expect(rules()).toContain("-A INPUT -p tcp -m tcp --dport 1 -j DROP");
    expect(rules()).toContain(":foreign");
    expect(sh("ip route show 10.9.0.0/24")).toContain("via 172.20.0.9");
    sh("ip link del br0");
  });

  test("what somebody takes from us is back within a second", async () => {
    const store = await cluster();
    await started(store);
    const a = await add("a");
    const route = `${a.address.replace("/32", "")} dev ${a.host} scope link`;
    sh(`ip route del ${a.address}`);
    await until(() => ourRoutes().includes(route));
    sh(`ip link set ${a.host} down; ip link set ${a.host} up`); // takes the IPv4 route along, without a word
    await until(() => ourRoutes().includes(route));
    sh(
      `ip link del ${a.host}; ip link add ${a.host} type veth peer name other; ip link set ${a.host} up; ip link set other up`,
    );
    await until(() => ourRoutes().includes(route));
    await until(() => readSysctl(`net.ipv4.conf.${a.host}.proxy_arp`) === "1");
    sh("ip link del other");
  });

  test("a foreign route in a pod's place is told, by CHECK too, never replaced, and ours follows when it goes", async () => {
    const store = await cluster();
    const { events } = await started(store);
    newNamespace("/run/netns/a");
    const prevResult = JSON.parse((await call("ADD", "a")).stdout) as Result;
    const a = madeBy(prevResult);
    const check = () => call("CHECK", "a", {}, { prevResult });
    sh(`ip route del ${a.address}; ip route add ${a.address} dev ${a.host} proto static`);
    await until(() => events("route-refused").length === 1);
    expect(sh(`ip route show ${a.address}`)).toContain("proto static");
    expect(JSON.parse((await check()).stdout)).toMatchObject({
      ...{ code: 110, details: `route ${a.address} dev ${a.host} on the node: gone` },
    });
    sh(`ip route del ${a.address}`);
    await until(() => sh(`ip route show ${a.address}`).includes("proto 142"));
    expect(await check()).toEqual({ exitCode: 0, stdout: "" });
  });

  test("without its datastore the node goes on forwarding, ADD fails as retryable, and all catches up by itself", async () => {
    const store = await cluster();
    await started(store);
    const [a, b] = [await add("a"), await add("b")];
    store.failNext({ when: "before" });
    newNamespace("/run/netns/c");
    const failed = JSON.parse((await call("ADD", "c")).stdout) as { code: number; msg: string };
    expect(failed).toMatchObject({ code: 11 });
    expect(sh("ip -br link").match(/cali/g)).toHaveLength(2);
    expect((await call("STATUS", "")).exitCode).toBe(0);
    store.disconnect();
    expect([pings("a", b.address), pings("b", a.address)]).toEqual([true, true]);
    expect((await call("ADD", "c")).exitCode).toBe(0);
    expect(await barrier(store)).toEqual({ answered: [{ node: "n1", daemon: "agent" }], missing: [] });
  });

  test("STATUS while the datastore is not followed: why, and that no running pod suffers; nothing when it is again", async () => {
    const store = await cluster();
    let isAway = false;
    const watch: MemoryStore["watch"] = (...of) => {
      const watching = store.watch(...of);
      if (isAway) store.disconnect();
      return watching;
    };
    const flaky = { ...store, revision: store.revision, watch };
    await started(flaky);
    isAway = true;
    store.disconnect();
    const answer = await until(async () => (await call("STATUS", "")).stdout);
    expect(JSON.parse(answer)).toMatchObject({
      code: 50,
      msg: expect.stringMatching(/^datastore: .*disconnected/),
    });
    isAway = false;
    await until(async () => (await call("STATUS", "")).stdout === "");
  });

  test("the rules of a pod stand before its endpoint is written, its route after; refused, nothing of it stays", async () => {
    const store = await cluster();
    const before = { commit: async () => {} };
    await started({
      ...store,
      commit: async (changes) => {
        await before.commit();
        return store.commit(changes);
      },
    });
    await add("a"); // which claims the block: what follows is one commit
    const world = (): string => rules() + ourRoutes().join();
    const alone = world();
    const held = Promise.withResolvers<void>();
    before.commit = () => held.promise;
    newNamespace("/run/netns/b");
    const adding = call("ADD", "b");
    const host = await until(() => newest(alone));
    await until(() => sh("ip -br link").includes(`${host}@`));
    await pause(200); // time enough for a route, if one were to come
    expect(ourRoutes().join()).not.toContain(host);
    held.resolve();
    expect(await adding).toMatchObject({ exitCode: 0 });
    expect(ourRoutes().join()).toContain(host);

    const both = world();
    before.commit = async () => {
      await until(() => newest(both));
      throw new StoreError("unavailable", "away");
    };
    newNamespace("/run/netns/c");
    expect(JSON.parse((await call("ADD", "c")).stdout)).toMatchObject({ code: 11 });
    await until(() => world() === both);
  });

  test("a pool without room is told with its name and the node's, and leaves nothing", async () => {
    const store = memoryStore();
    await put(store, {
      kind: "Node",
      metadata: { name: "n1" },
      spec: { bgp: { ipv4Address: "172.20.0.11/24" } },
    });
    await put(store, pool("tiny", "10.244.0.0/30", { blockSize: 31 }));
    await put(store, profile);
    await started(store);
    for (const pod of ["a", "b", "c", "d"]) await add(pod);
    newNamespace("/run/netns/e");
    const { code, msg } = JSON.parse((await call("ADD", "e")).stdout) as { code: number; msg: string };
    expect({ code, msg }).toEqual({ code: 100, msg: expect.stringMatching(/pool tiny .*node n1/) });
    expect(sh("ip -br link").match(/cali/g)).toHaveLength(4);
    deleteNamespace("/run/netns/e");
  });

  test("pods follow the uplink's MTU while they run, unless their configuration says one", async () => {
    sh("ip link add up0 type veth peer name up1 && ip link set up0 up && ip addr add 172.20.0.11/24 dev up0");
    await started(await cluster());
    const a = await add("a");
    newNamespace("/run/netns/fixed");
    await call("ADD", "fixed", {}, { mtu: 1300 });
    const mtu = (of: string) => /mtu (\d+)/.exec(sh(of))?.[1];
    const inside = (pod: string) => mtu(`ip netns exec ${pod} ip link show eth0`);
    expect([mtu(`ip link show ${a.host}`), inside("a"), inside("fixed")]).toEqual(["1500", "1500", "1300"]);
    for (const now of ["1400", "1450"]) {
      sh(`ip link set up0 mtu ${now}`);
      await until(() => inside("a") === now && mtu(`ip link show ${a.host}`) === now);
      expect(inside("fixed")).toBe("1300");
    }
    await add("b");
    expect(inside("b")).toBe("1450");
    sh("ip link del up0");
  });

  test("the CNI configuration appears when pods can be served, comes back when it or a plugin is removed, and outlives a stop", async () => {
    const [cniConfDir, cniBinDir] = ["/run/net.d", "/run/cni-bin"];
    const store = memoryStore();
    const context = testContext({ store, node: "n1", runDir, options: { cniConfDir, cniBinDir } });
    running = { context, stop: (await startAgent(context.daemon)).stop };
    await until(() => context.events("node-missing").length > 0);
    await pause(1200); // as often as it looks
    expect(existsSync(cniConfDir)).toBe(false);
    await put(store, { kind: "Node", metadata: { name: "n1" }, spec: {} });
    const conflist = `${cniConfDir}/10-margay.conflist`;
    await until(() => existsSync(conflist));
    expect(readdirSync(cniBinDir)).toEqual(["margay-cni", "margay-ipam"]);
    expect(JSON.parse(readFileSync(conflist, "utf8")).plugins[0].socket).toBe(join(runDir, "cni.sock"));
    for (const path of [conflist, join(cniBinDir, "margay-ipam")]) {
      rmSync(path);
      await until(() => existsSync(path));
    }
    await put(store, pool("four", "10.244.0.0/24"));
    await until(() => context.notReady().length === 0);
    const { name, cniVersions, plugins } = JSON.parse(readFileSync(conflist, "utf8")) as Conflist;
    const listed = { ...plugins[0], name, cniVersion: cniVersions.at(-1) }; // as a runtime that knows 1.1.0 reads it
    await add("a", listed);
    expect(await call("STATUS", "", {}, listed)).toEqual({ exitCode: 0, stdout: "" });
    const ofNone = { ...listed, "cni.dev/valid-attachments": [] };
    expect(await call("GC", "", {}, ofNone)).toEqual({ exitCode: 0, stdout: "" });
    expect((await store.list("/margay/v1/workloadendpoints/")).entries).toEqual([]);
    await until(() => !sh("ip -br link").includes("cali"));
    await stop();
    expect(existsSync(conflist)).toBe(true);
  });

  test("an agent without its Node says so and is not ready", async () => {
    const store = memoryStore();
    const context = await start(store);
    const why = await until(() =>
      context.notReady().find(([name, text]) => name === "node" && text.includes("no Node n1")),
    );
    expect(why[1]).toContain("create it, or start with the right --node");
    expect(JSON.parse((await call("STATUS", "")).stdout)).toMatchObject({
      code: 50,
      msg: expect.stringContaining("no Node n1"),
    });
    await put(store, { kind: "Node", metadata: { name: "n1" }, spec: {} });
    await until(() => context.notReady().length === 0);
    const status = async () => (await call("STATUS", "")).stdout;
    const poolless = { code: 50, msg: "no enabled pool gives addresses to pods" };
    expect(JSON.parse(await status())).toMatchObject(poolless);
    for (const spec of [{ disabled: true }, { nodeSelector: "rack == 'r2'" }, { assignmentMode: "Manual" }]) {
      await put(store, pool("four", "10.244.0.0/24", spec));
      await barrier(store);
      expect(JSON.parse(await status())).toMatchObject(poolless);
    }
    await put(store, pool("four", "10.244.0.0/24"));
    await until(async () => (await status()) === "");
  });

  test("which pool a pod's address is from: an enabled one of its node's, and a Manual one if it is asked for", async () => {
    const store = memoryStore();
    const node = (labels: object) => put(store, { kind: "Node", metadata: { name: "n1", labels }, spec: {} });
    await node({ rack: "r1" });
    await put(store, pool("a-off", "10.1.0.0/24", { disabled: true })); // by their names they would be first
    await put(store, pool("b-elsewhere", "10.2.0.0/24", { nodeSelector: "rack == 'r2'" }));
    await put(store, pool("c-manual", "10.3.0.0/24", { assignmentMode: "Manual" }));
    await put(store, pool("d-open", "10.4.0.0/24"));
    await put(store, profile);
    await started(store);
    const asking = (name: string) => ({
      args: { cni: { annotations: { "cni.projectcalico.org/ipv4pools": JSON.stringify([name]) } } },
    });
    const addressOf = async (pod: string, conf = {}) => (await add(pod, conf)).address;
    expect([await addressOf("a"), await addressOf("b", asking("c-manual"))]).toEqual([
      ...[expect.stringMatching(/^10\.4\./), expect.stringMatching(/^10\.3\./)],
    ]);
    newNamespace("/run/netns/c");
    expect(JSON.parse((await call("ADD", "c", {}, asking("a-off"))).stdout)).toMatchObject({
      ...{ code: 100, msg: "ipam: pool a-off is disabled" },
    });
    await node({ rack: "r2" });
    await put(store, pool("d-open", "10.4.0.0/24", { disabled: true }));
    expect(await addressOf("d")).toMatch(/^10\.2\./);
  });

  test("rules that the kernel refuses: STATUS says why, as a thing that pods suffer from, until it takes them", async () => {
    sh("nft delete table ip filter 2>/dev/null || true");
    const other = spawn("nft", ["-i"], { stdio: ["pipe", "ignore", "ignore"] }); // a table of which it lets nobody else write
    other.stdin.write("add table ip filter { flags owner; }\n");
    await until(() => sh("nft list tables ip").includes("table ip filter"));
    const { events, notReady } = await start(await cluster());
    await until(() => events("apply-failed").length > 0);
    expect(JSON.parse((await call("STATUS", "")).stdout)).toMatchObject({
      code: 51,
      msg: expect.stringContaining("rules and routes cannot be written"),
    });
    other.stdin.end();
    await until(() => notReady().length === 0);
    expect((await call("STATUS", "")).exitCode).toBe(0);
  });

  test("a change of configuration needs no restart: the other backend, and no IPv6", async () => {
    const store = await cluster();
    const { get } = await started(store);
    const a = await add("a");
    await put(store, {
      kind: "FelixConfiguration",
      metadata: { name: "default" },
      spec: { ipv6Support: false },
    });
    await until(() =>
      ourRoutes().every((route) => route.startsWith("10.") || route.startsWith("blackhole 10.")),
    );
    await until(() => !sh("ip6tables-nft-save").includes(a.host));
    await put(store, {
      kind: "FelixConfiguration",
      metadata: { name: "default" },
      spec: { ipv6Support: false, iptablesBackend: "Legacy" },
    });
    await until(() => sh("iptables-legacy-save").includes(a.host));
    await until(() => !rules().includes("margay"));
    const state = (await get("/state")) as object;
    expect(state).toMatchObject({ endpoints: 1, closedEndpoints: 0, problems: [] });
    expect(await get("/endpoints")).toEqual([expect.objectContaining({ interface: a.host, ok: true })]);
    expect(await get("/routes")).toMatchObject({
      refused: [],
      routes: expect.arrayContaining([`${a.address} dev ${a.host}`]),
    });
  });
});
