import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { encode, keyOf, parse } from "@margay/api";
import { etcdStore, type Store, StoreError } from "@margay/datastore";
import { newNamespace } from "@margay/netlink";
import { unshared, until } from "@margay/testing";
import { startAgent } from "./start.ts";
import { testContext } from "./testing/context.ts";
import { cniCall } from "./testing/runtime.ts";

const sh = (command: string): string =>
  execFileSync("sh", ["-c", command], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });

const decodeBlock = (value: string) =>
  (JSON.parse(value) as { spec: { allocations: Record<string, { handle: string }> } }).spec;

/** Fails one coming write of a store: before it is done, or once it is. */
function failing(store: Store) {
  let left = -1;
  let when: "before" | "after" = "before";
  const write = async <T>(act: () => Promise<T>): Promise<T> => {
    const isDue = left-- === 0;
    if (isDue && when === "before") throw new StoreError("unavailable", "injected");
    const done = await act();
    if (isDue) throw new StoreError("unavailable", "injected");
    return done;
  };
  const failingStore: Store = {
    ...store,
    create: (...of) => write(() => store.create(...of)),
    update: (...of) => write(() => store.update(...of)),
    put: (...of) => write(() => store.put(...of)),
    delete: (...of) => write(() => store.delete(...of)),
    commit: (...of) => write(() => store.commit(...of)),
  };
  return {
    store: failingStore,
    fail(afterWrites: number, at: "before" | "after"): void {
      [left, when] = [afterWrites, at];
    },
    /** Whether it is still to fail. */
    get isDue(): boolean {
      return left >= 0;
    },
  };
}

/** The whole of an ADD with a real agent, kernel and etcd: whatever of it fails, nothing is left. */
unshared(import.meta.url, () => {
  const runDir = mkdtempSync("/run/agent-");
  let etcd: ChildProcess;
  let store: Store;
  let faults: ReturnType<typeof failing>;
  let agent: { stop(): Promise<void> };
  const put = async (kind: string, name: string, spec: object): Promise<void> => {
    const { resource } = parse({ apiVersion: "margay.dev/v1", kind, metadata: { name }, spec });
    await store.put(keyOf(resource.kind, name), encode(resource));
  };

  beforeAll(async () => {
    const words = ["--data-dir", "/run/etcd", "--unsafe-no-fsync", "--log-level", "error"];
    etcd = spawn("setpriv", ["--pdeathsig", "KILL", "--", "etcd", ...words], { stdio: "ignore" }); // its ports are the namespace's
    store = etcdStore({ endpoints: ["http://127.0.0.1:2379"] });
    await until(() => store.list("/").catch(() => false));
    const open = [{ action: "Allow" }];
    await put("Node", "n1", {});
    await put("IPPool", "four", { cidr: "10.244.0.0/24" });
    await put("IPPool", "six", { cidr: "fd00:10:244::/64" });
    await put("Profile", "kns.default", { ingress: open, egress: open });
    faults = failing(store);
    const context = testContext({ store: faults.store, node: "n1", runDir });
    agent = await startAgent(context.daemon);
    await until(() => context.notReady().length === 0);
  });
  afterAll(async () => {
    await agent?.stop();
    await store?.close();
    etcd?.kill();
  });

  let pods = 0;
  /** A namespace for a pod. */
  function sandbox(): string {
    const pod = `p${pods++}`;
    newNamespace(`/run/netns/${pod}`);
    return pod;
  }
  async function cni(command: string, pod: string, annotations: object = {}) {
    const conf = { args: { cni: { annotations } } };
    const { exitCode, stdout } = await cniCall(runDir, command, pod, { conf });
    return {
      exitCode,
      told: stdout === "" ? {} : (JSON.parse(stdout) as { code?: number; msg?: string; details?: string }),
    };
  }

  /** What there is of pods: rules, routes but those of whole blocks, interfaces, endpoints, addresses in use. */
  async function world(): Promise<string> {
    const endpoints = await store.list("/margay/v1/workloadendpoints/");
    const blocks = await store.list("/margay/v1/ipamblocks/");
    const held = blocks.entries.flatMap(({ value }) => Object.values(decodeBlock(value).allocations));
    const rules = sh("for t in nft legacy; do iptables-$t-save; ip6tables-$t-save; done; ipset save").replace(
      /^#.*\n|\[\d+:\d+\]/gm,
      "",
    );
    const routes = sh("ip route show proto 142; ip -6 route show proto 142").replace(/^blackhole .*\n/gm, "");
    const links = sh("ip -br link | grep -v '^lo ' || true");
    const handles = held.map(({ handle }) => handle);
    return [rules, routes, links, ...endpoints.entries.map(({ key }) => key), ...handles].join("\n");
  }
  /** Resolves when nothing is there but what was before. */
  const restored = async (before: string): Promise<void> => {
    await until(async () => (await world()) === before).catch(async () => expect(await world()).toBe(before));
  };

  /** Pools of their own, so that each ADD claims a block: its IPv4 address is from there. */
  let fresh = 0;
  async function newPool(): Promise<object> {
    const name = `fresh${fresh}`;
    await put("IPPool", name, {
      cidr: `10.${100 + fresh++}.0.0/28`,
      blockSize: 28,
      assignmentMode: "Manual",
    });
    return { "cni.projectcalico.org/ipv4pools": JSON.stringify([name]) };
  }
  const asked = { "own blocks": async () => ({}), "a new block": newPool };

  test.each([
    ["own blocks", "before", 1], // addresses of both families, and the endpoint, in one
    ["own blocks", "after", 1],
    ["a new block", "before", 2], // all of that with the claim; that is confirmed meanwhile
    ["a new block", "after", 2],
  ] as const)("addresses of %s: each write to etcd fails %s it is done (%i)", async (block, when, writes) => {
    const empty = await world();
    const first = sandbox();
    expect(await cni("ADD", first)).toMatchObject({ exitCode: 0 }); // which has the blocks
    const before = await world();
    for (let at = 0; at <= writes; at++) {
      const [pod, annotations] = [sandbox(), await asked[block]()];
      faults.fail(at, when);
      const { exitCode, told } = await cni("ADD", pod, annotations);
      expect([at, exitCode, faults.isDue]).toEqual([at, at < writes ? 1 : 0, at >= writes]);
      faults.fail(-1, when);
      if (exitCode === 0) await cni("DEL", pod);
      else expect(told).toMatchObject({ code: 11, msg: expect.stringContaining("injected") });
      expect(told.details ?? "").not.toContain("Left behind");
      await restored(before);
      expect(sh(`ip -n ${pod} -br link | grep -v ^lo || true`)).toBe("");
    }
    await cni("DEL", first);
    await restored(empty);
  });

  test.each<[what: string, sabotage: string]>([
    ["the veth: its name is a bridge's", "ip link add eth0 type bridge"],
    ["the default route: there is one", "ip link set lo up; ip route add default dev lo"],
  ])("the kernel refuses %s", async (_what, sabotage) => {
    const before = await world();
    const pod = sandbox();
    sh(`nsenter --net=/run/netns/${pod} sh -c '${sabotage}'`);
    expect((await cni("ADD", pod)).told).toMatchObject({ code: 5 });
    await restored(before);
  });

  test("rules are not written: told when that was waited for in vain", async () => {
    await put("FelixConfiguration", "default", { iptablesBackend: "Legacy" });
    await until(() => sh("iptables-legacy-save").includes("margay-forward"));
    await until(() => !sh("iptables-nft-save; ip6tables-nft-save").includes("margay"));
    const before = await world();
    const lock = spawn("flock", ["/run/xtables.lock", "sleep", "60"], { detached: true }); // another program at work
    await until(() => sh("flock -n /run/xtables.lock true || echo locked") !== "");
    const { told } = await cni("ADD", sandbox());
    expect(told).toMatchObject({ code: 11, msg: expect.stringMatching(/is not in force/) });
    process.kill(-(lock.pid ?? 0));
    await restored(before);
  });
});
