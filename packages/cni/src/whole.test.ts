import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, symlinkSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import type { IPPool } from "@margay/api";
import { type MemoryStore, memoryStore, resources } from "@margay/datastore";
import { addressesOf, type Block, Ipam } from "@margay/ipam";
import { deleteNamespace, inNamespace, listLinks, Netlink, newNamespace } from "@margay/netlink";
import { cniHandler } from "./handler.ts";
import { serveCni } from "./server.ts";
import { unshared } from "./testing/unshared.ts";
import { unwirer } from "./unwirer.ts";
import { unwireInside, wire } from "./wire.ts";

const pool = (name: string, cidr: string, blockSize: number): IPPool => ({
  apiVersion: "margay.dev/v1",
  kind: "IPPool",
  metadata: { name },
  spec: {
    ...{ cidr, blockSize, ipipMode: "Never", vxlanMode: "Never", natOutgoing: false, disabled: false },
    ...{
      disableBGPExport: false,
      nodeSelector: "all()",
      allowedUses: ["Workload"],
      assignmentMode: "Automatic",
    },
  },
});
const POOLS = [pool("four", "10.244.0.0/24", 28), pool("six", "fd00:10:244::/120", 124)];
const CONFIG = {
  ...{ strictAffinity: false, autoAllocateBlocks: true, maxBlocksPerHost: 0, ipCooldownSeconds: 0 },
  kubeVirtVMAddressPersistence: "Enabled" as const,
};

interface Answer {
  code: number | null;
  stdout: string;
}

/**
 * The compiled relay, a real server, real IPAM and the real kernel; the store is in memory, so that it can
 * fail on demand.
 */
unshared(import.meta.url, () => {
  let nl: Netlink;
  let store: MemoryStore;
  let server: { close(): Promise<void> };
  const namespaces: string[] = [];

  beforeAll(() => {
    mkdirSync("/run/bin");
    const source = fileURLToPath(new URL("../relay/relay.c", import.meta.url));
    execFileSync("gcc", ["-static", "-Os", "-s", "-o", "/run/bin/margay-cni", source]);
    symlinkSync("margay-cni", "/run/bin/margay-ipam");
    nl = Netlink.open();
  });
  afterAll(() => nl.close());
  afterEach(async () => {
    await server.close();
    for (const name of namespaces.splice(0)) deleteNamespace(`/run/netns/${name}`);
  });

  async function start(): Promise<void> {
    store = memoryStore();
    const options = { store, node: "n1", now: () => new Date(), labels: () => ({}) };
    const handle = cniHandler({
      ...options,
      ipam: new Ipam({ ...options, pools: () => POOLS, config: () => CONFIG }),
      endpoints: resources(store, "WorkloadEndpoint"),
      wire: (wiring) => wire(nl, wiring),
      unwire: unwirer(nl),
      unwireInside,
      ready: async () => undefined,
      families: () => [4, 6],
      interfacePrefix: () => "cali",
      mtu: () => 1450,
    });
    server = await serveCni({ socket: "/run/margay/cni.sock", handle });
  }

  const sandbox = (name: string): string => {
    newNamespace(`/run/netns/${name}`);
    namespaces.push(name);
    return name;
  };

  function cni(command: string, name: string, { pod = name, plugin = "margay-cni" } = {}): Promise<Answer> {
    const env = {
      ...{ CNI_COMMAND: command, CNI_CONTAINERID: name, CNI_NETNS: `/run/netns/${name}`, CNI_IFNAME: "eth0" },
      CNI_ARGS: `K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${pod}`,
    };
    const child = spawn(`/run/bin/${plugin}`, [], { env });
    child.stdin.end('{"cniVersion":"1.1.0","name":"net","type":"margay-cni"}');
    let stdout = "";
    child.stdout.on("data", (chunk) => (stdout += chunk));
    return new Promise((resolve) => child.on("close", (code) => resolve({ code, stdout })));
  }

  /** Everything there is: veths of ours, addresses in use, endpoints. */
  async function world() {
    const links = (await listLinks(nl)).map(({ name }) => name).filter((name) => name.startsWith("cali"));
    const blocks = await resources(store, "IPAMBlock").list();
    const endpoints = await resources(store, "WorkloadEndpoint").list();
    return {
      links: links.length,
      addresses: blocks.flatMap(({ spec }) => addressesOf(spec as Block)).length,
      endpoints: endpoints.map(({ metadata }) => metadata.name),
    };
  }
  const NOTHING = { links: 0, addresses: 0, endpoints: [] };

  test("a pod comes and goes", async () => {
    await start();
    const { code, stdout } = await cni("ADD", sandbox("web"));
    const result = JSON.parse(stdout);
    const host = `cali${createHash("sha1").update("shop.web").digest("hex").slice(0, 11)}`;
    expect([code, result.cniVersion, result.interfaces[0].name]).toEqual([0, "1.1.0", host]);
    const inside = inNamespace("/run/netns/web", () =>
      execFileSync("ip", ["-j", "address", "show", "eth0"], { encoding: "utf8" }),
    );
    const [{ address, addr_info }] = JSON.parse(inside);
    expect(result.interfaces[1]).toEqual({
      name: "eth0",
      mac: address,
      mtu: 1450,
      sandbox: "/run/netns/web",
    });
    const held = addr_info.filter(({ scope }: { scope: string }) => scope === "global");
    expect(result.ips.map((ip: { address: string }) => ip.address)).toEqual(
      held.map(({ local, prefixlen }: { local: string; prefixlen: number }) => `${local}/${prefixlen}`),
    );
    expect(await cni("DEL", "web")).toEqual({ code: 0, stdout: "" });
    expect(await world()).toEqual(NOTHING);
  });

  test("thirty at once, added and removed", async () => {
    await start();
    const names = Array.from({ length: 30 }, (_, i) => sandbox(`p${i}`));
    const answers = await Promise.all(names.map((name) => cni("ADD", name)));
    const given = answers.flatMap(({ stdout }) => JSON.parse(stdout).ips).map(({ address }) => address);
    expect([new Set(given).size, (await world()).links]).toEqual([60, 30]);
    expect((await Promise.all(names.map((name) => cni("DEL", name)))).every(({ code }) => code === 0)).toBe(
      true,
    );
    expect(await world()).toEqual(NOTHING);
  });

  test("a newer sandbox of the same pod: the older one's DEL leaves it working", async () => {
    await start();
    await cni("ADD", sandbox("old"), { pod: "web" });
    await cni("ADD", sandbox("new"), { pod: "web" });
    expect(await cni("DEL", "old", { pod: "web" })).toEqual({ code: 0, stdout: "" });
    expect(await world()).toEqual({ links: 1, addresses: 2, endpoints: ["n1-k8s-web-eth0"] });
    expect(
      inNamespace("/run/netns/new", () =>
        execFileSync("ip", ["-o", "link", "show", "eth0"], { encoding: "utf8" }),
      ),
    ).toMatch(/state UP/);
    await cni("DEL", "new", { pod: "web" });
    expect(await world()).toEqual(NOTHING);
  });

  test.each(
    [0, 1, 2, 3, 4, 5, 6].flatMap((write) => [
      { write, when: "before" as const },
      { write, when: "after" as const },
    ]),
  )(
    "the store fails $when write $write of a first ADD: after the runtime's DEL nothing is left",
    async ({ write, when }) => {
      await start();
      store.failNext({ afterWrites: write, when });
      const { code, stdout } = await cni("ADD", sandbox("web"));
      if (code !== 0) expect(JSON.parse(stdout)).toMatchObject({ code: 11 });
      expect(await cni("DEL", "web")).toEqual({ code: 0, stdout: "" });
      expect(await world()).toEqual(NOTHING);
    },
  );

  test("a namespace that is gone: ADD says so and leaves nothing, DEL succeeds", async () => {
    await start();
    const { code, stdout } = await cni("ADD", "gone");
    expect([code, JSON.parse(stdout)]).toMatchObject([
      1,
      { code: 3, msg: "network namespace /run/netns/gone does not exist" },
    ]);
    expect(await cni("DEL", "gone")).toEqual({ code: 0, stdout: "" });
    expect(await world()).toEqual(NOTHING);
  });

  test("executed as margay-ipam", async () => {
    await start();
    const { stdout } = await cni("ADD", sandbox("other"), { plugin: "margay-ipam" });
    expect(JSON.parse(stdout).ips).toHaveLength(2);
    expect(await world()).toEqual({ links: 0, addresses: 2, endpoints: [] });
    await cni("DEL", "other", { plugin: "margay-ipam" });
    expect(await world()).toEqual(NOTHING);
  });
});
