import { basename } from "node:path";
import { describe, expect, test } from "@jest/globals";
import { keyOf, type WorkloadEndpoint } from "@margay/api";
import { StoreError } from "@margay/datastore";
import { IpamError, type IpamFailure } from "@margay/ipam";
import { formatAddress, parseAddress } from "@margay/net";
import { NetlinkError } from "@margay/netlink";
import type { CniDeps } from "./deps.ts";
import type { Reply } from "./frame.ts";
import { cniHandler } from "./handler.ts";
import { parseCall } from "./invocation.ts";

/** A world small enough to look at: what exists is all there is to assert. */
interface World {
  /** address -> handle */
  addresses: Map<string, string>;
  /** name -> container of the endpoint */
  endpoints: Map<string, string>;
  /** host interface -> namespace of its pod end */
  links: Map<string, string>;
}

type Step = "assign" | "wire" | "endpoint" | "ready" | "release" | "unwire" | "delete endpoint";

const empty = (): World => ({ addresses: new Map(), endpoints: new Map(), links: new Map() });

/** `fails` happens at its step: "after" the step took effect, which is the worse case. */
function depsOf(
  world: World,
  fails: Partial<Record<Step, Error>> = {},
  extra: Partial<CniDeps> = {},
): CniDeps {
  const fault = (step: Step) => {
    if (fails[step]) throw fails[step];
  };
  const held = (address: string, handle: string) => ({ address: parseAddress(address), sequence: 1, handle });
  const endpoints = () =>
    [...world.endpoints].map(([name, containerID]) => {
      const metadata = { name, namespace: "shop", resourceVersion: "1" };
      return { metadata, spec: { containerID, interfaceName: HOST } } as WorkloadEndpoint; // all that ADD and DEL read
    });
  return {
    ...{
      node: "n1",
      now: () => new Date(0),
      families: () => [4, 6],
      interfacePrefix: () => "cali",
      mtu: () => 1450,
    },
    ipam: {
      async assignWith({ handle, addresses }, along) {
        const mine = [...world.addresses].find(([, owner]) => owner === handle)?.[0];
        const address = mine ?? (addresses?.length ? "10.0.0.99" : `10.0.0.${world.addresses.size + 1}`);
        along([held(address, handle)]); // refused, say: the caller writes it
        world.addresses.set(address, handle);
        fault("assign");
        return { held: [held(address, handle)], wroteAlong: false };
      },
      async release({ handle }) {
        const mine = [...world.addresses].filter(([, owner]) => owner === handle).map(([address]) => address);
        for (const address of mine) world.addresses.delete(address);
        fault("release");
        return mine.map((address) => held(address, handle));
      },
    },
    endpoints: {
      get: async (name) => endpoints().find(({ metadata }) => metadata.name === name),
      async create(resource) {
        if (world.endpoints.has(resource.metadata.name)) throw new StoreError("exists", "there is one");
        return (await this.apply(resource)).resource;
      },
      async apply(resource) {
        world.endpoints.set(resource.metadata.name, resource.spec.containerID ?? "");
        fault("endpoint");
        return { outcome: "created", resource };
      },
      async delete(name) {
        fault("delete endpoint");
        return world.endpoints.delete(name);
      },
    },
    async wire({ hostInterface, netns }) {
      world.links.set(hostInterface, netns);
      fault("wire");
    },
    async unwire(hostInterface) {
      fault("unwire");
      world.links.delete(hostInterface);
    },
    async unwireInside({ netns }) {
      for (const [name, inside] of world.links) if (inside === netns) world.links.delete(name);
    },
    async ready() {
      fault("ready");
    },
    held: () => [],
    blockOf: () => undefined,
    podCidrs: () => [],
    localEndpoints: () =>
      new Map(endpoints().map((one) => [keyOf("WorkloadEndpoint", one.metadata.name, "shop"), one] as const)),
    ownerOf: async (hostInterface) => {
      const netns = world.links.get(hostInterface);
      return netns === undefined
        ? undefined
        : { network: "net", containerId: basename(netns), ifname: "eth0" };
    },
    owned: async () => [],
    inspect: async () => [],
    missing: async () => [],
    ...extra,
  };
}

/** One call for pod shop/web; `sandbox` names both the container and its namespace. */
async function cni(
  deps: CniDeps,
  command: string,
  sandbox: string,
  env: Record<string, string> = {},
  conf: object = {},
): Promise<Reply> {
  const call = {
    env: {
      ...{
        CNI_COMMAND: command,
        CNI_CONTAINERID: sandbox,
        CNI_NETNS: `/run/netns/${sandbox}`,
        CNI_IFNAME: "eth0",
      },
      ...{ CNI_ARGS: "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web", ...env },
    },
    stdin: Buffer.from(JSON.stringify({ cniVersion: "1.1.0", name: "net", ...conf })),
  };
  return cniHandler(deps)(parseCall(call));
}

const ENDPOINT = "n1-k8s-web-eth0";
const HOST = "cali551b05c3e54"; // printf shop.web | sha1sum | cut -c1-11
const failure = async (reply: Promise<Reply>) =>
  JSON.parse((await reply).stdout) as { code: number; msg: string; details?: string };

const ipam = (failure: IpamFailure) => new IpamError(failure);

describe("ADD", () => {
  test("makes an address, an interface and an endpoint", async () => {
    const world = empty();
    const { exitCode, stdout } = await cni(depsOf(world), "ADD", "s1");
    expect([exitCode, JSON.parse(stdout).ips]).toEqual([0, [{ address: "10.0.0.1/32", interface: 1 }]]);
    expect([...world.addresses]).toEqual([["10.0.0.1", "net.s1"]]);
    expect([...world.endpoints]).toEqual([[ENDPOINT, "s1"]]);
    expect([...world.links.values()]).toEqual(["/run/netns/s1"]);
  });

  test("repeated for the same container: the same address, one of everything", async () => {
    const world = empty();
    const first = await cni(depsOf(world), "ADD", "s1");
    expect(await cni(depsOf(world), "ADD", "s1")).toEqual(first);
    expect([world.addresses.size, world.endpoints.size, world.links.size]).toEqual([1, 1, 1]);
  });

  test.each<[why: string, step: Step, error: Error, code: number, msg: string]>([
    [
      "IPAM loses every race",
      "assign",
      ipam({ code: "contention", node: "n1", attempts: 50 }),
      11,
      "ipam: gave up after 50 attempts: other nodes keep changing the same blocks; try again",
    ],
    [
      "no such pool",
      "assign",
      ipam({ code: "unknown-pool", pool: "p", node: "n1" }),
      100,
      "ipam: pool p does not exist",
    ],
    [
      "the address is another's",
      "assign",
      ipam({ code: "address-in-use", address: "10.0.0.9", by: "x", node: "n1" }),
      101,
      "ipam: address 10.0.0.9 is in use by x",
    ],
    [
      "the kernel refuses",
      "wire",
      new NetlinkError("EEXIST", "create veth cali1"),
      5,
      "create veth cali1: EEXIST",
    ],
    [
      "etcd is away",
      "endpoint",
      new StoreError("unavailable", "etcd is away"),
      11,
      "datastore: etcd is away",
    ],
    ["a fault of ours", "ready", new Error("a fault"), 999, "a fault"],
  ])(
    "%s (at %s): nothing is left, and the runtime is told what to do",
    async (_why, step, error, code, msg) => {
      const world = empty();
      const { details: _, ...told } = await failure(cni(depsOf(world, { [step]: error }), "ADD", "s1"));
      expect(told).toEqual({ cniVersion: "1.1.0", code, msg: expect.stringContaining(msg) });
      expect(world).toEqual(empty());
    },
  );

  test.each<[left: Step, error: Error, told: RegExp, addresses: number, endpoints: number, links: number]>([
    ["unwire", new NetlinkError("EPERM", "delete link"), /Left behind: delete link/, 1, 0, 1],
    [
      "delete endpoint",
      new StoreError("unavailable", "etcd is away"),
      /Left behind: .*etcd is away/,
      1,
      1,
      0,
    ],
    ["release", new StoreError("unavailable", "etcd is away"), /Left behind: .*etcd is away/, 0, 0, 0],
  ])(
    "taking back fails (at %s): that is told, and nobody gets the address of what is still there",
    async (step, error, told, ...left) => {
      const world = empty();
      const { details } = await failure(
        cni(depsOf(world, { ready: new Error("slow"), [step]: error }), "ADD", "s1"),
      );
      expect(details).toMatch(told);
      expect([world.addresses.size, world.endpoints.size, world.links.size]).toEqual(left);
    },
  );

  test("the datastore is away for taking back, too: its words are said once", async () => {
    const away = () => new StoreError("unavailable", "etcd is away");
    const deps = depsOf(empty(), {
      ready: away(),
      release: new IpamError({ code: "datastore", node: "n1", reason: "etcd is away" }, away()),
    });
    expect(await failure(cni(deps, "ADD", "s1"))).toMatchObject({
      msg: "datastore: etcd is away",
      details: "Left behind: what this call made, for the same reason; DEL removes it.",
    });
  });

  test.each<[step: Step]>([["assign"], ["wire"], ["endpoint"], ["ready"]])(
    "repeated and failing (at %s): all of the living one's stays",
    async (step) => {
      const world = empty();
      await cni(depsOf(world), "ADD", "s1");
      const before = structuredClone(world);
      const fails = { [step]: new StoreError("unavailable", "etcd is away") };
      // something of it is missing, so that it is made anew
      const { exitCode } = await cni(depsOf(world, fails, { inspect: async () => ["gone"] }), "ADD", "s1");
      expect([exitCode, world]).toEqual([1, before]);
    },
  );

  test("repeated: an interface that is whole is left alone", async () => {
    const world = empty();
    await cni(depsOf(world), "ADD", "s1");
    const wire = () => Promise.reject(new Error("made anew"));
    expect((await cni(depsOf(world, {}, { wire }), "ADD", "s1")).exitCode).toBe(0);
  });

  test("of a newer sandbox, failing before it has addresses: the older one's endpoint and interface stay", async () => {
    const world = empty();
    await cni(depsOf(world), "ADD", "old");
    const before = structuredClone(world);
    const deps = depsOf(world);
    const assignWith: CniDeps["ipam"]["assignWith"] = async (_request, along) => {
      along([{ address: parseAddress("10.0.0.7"), sequence: 1, handle: "net.new" }]); // refused, and then the pool is full
      throw ipam({ code: "pool-exhausted", pool: "p", node: "n1", claimed: 1, blocks: 1n, why: "full" });
    };
    const { exitCode } = await cni({ ...deps, ipam: { ...deps.ipam, assignWith } }, "ADD", "new");
    expect([exitCode, world]).toEqual([1, before]);
  });

  test("the pool of no family: says what to create", async () => {
    const { code, msg, details } = await failure(
      cni(depsOf(empty(), {}, { families: () => [] }), "ADD", "s1"),
    );
    expect([code, msg]).toEqual([100, "no enabled pool gives addresses to pods"]);
    expect(details).toMatch(/margay apply/);
  });

  test.each<[what: string, env: Record<string, string>, conf: object, msg: RegExp]>([
    [
      "a workload whose name is none",
      { CNI_ARGS: "", CNI_CONTAINERID: "VM" },
      {},
      /its endpoint: metadata\.name: must be a DNS subdomain/,
    ],
    [
      "a burst out of bounds",
      {},
      {
        args: {
          cni: {
            annotations: {
              "qos.projectcalico.org/ingressBandwidth": "1G",
              "qos.projectcalico.org/ingressBurst": "40G",
            },
          },
        },
      },
      /ingressBurst must be a quantity between 1k and 32Gi/,
    ],
  ])("%s: refused before anything is made", async (_what, env, conf, msg) => {
    const world = empty();
    const ipam = { assignWith: () => Promise.reject(new Error("asked")), release: async () => [] };
    const told = await failure(cni(depsOf(world, {}, { ipam }), "ADD", "s1", env, conf));
    expect(told).toMatchObject({ code: 7, msg: expect.stringMatching(msg) });
  });

  test("an agent that is not ready changes nothing", async () => {
    const world = empty();
    const deps = depsOf(world, {}, { notReady: () => "the agent has not read the datastore yet" });
    expect(await failure(cni(deps, "ADD", "s1"))).toMatchObject({
      code: 11,
      msg: "the agent has not read the datastore yet",
    });
    expect(await failure(cni(deps, "STATUS", "s1"))).toMatchObject({ code: 50 });
    expect(world).toEqual(empty());
  });
});

describe("DEL", () => {
  test("takes everything away, also when repeated", async () => {
    const world = empty();
    const deps = depsOf(world);
    await cni(deps, "ADD", "s1");
    for (let i = 0; i < 2; i++) expect(await cni(deps, "DEL", "s1")).toEqual({ exitCode: 0, stdout: "" });
    expect(world).toEqual(empty());
  });

  test.each([
    ["without a namespace", { CNI_NETNS: "" }],
    ["with a namespace that is gone", { CNI_NETNS: "/run/netns/gone" }],
  ])("%s", async (_why, env) => {
    const world = empty();
    await cni(depsOf(world), "ADD", "s1");
    expect(await cni(depsOf(world), "DEL", "s1", env)).toEqual({ exitCode: 0, stdout: "" });
    expect(world).toEqual(empty());
  });

  test("of an older sandbox: the newer one keeps endpoint and interface, the older one's address is freed", async () => {
    const world = empty();
    const deps = depsOf(world);
    await cni(deps, "ADD", "old");
    await cni(deps, "ADD", "new");
    expect(await cni(deps, "DEL", "old")).toEqual({ exitCode: 0, stdout: "" });
    expect([...world.endpoints]).toEqual([[ENDPOINT, "new"]]);
    expect([...world.links.values()]).toEqual(["/run/netns/new"]);
    expect([...world.addresses.values()]).toEqual(["net.new"]);
  });

  test("frees the address last: while anything is left, nobody else gets it", async () => {
    for (const step of ["delete endpoint", "unwire"] as const) {
      const world = empty();
      await cni(depsOf(world), "ADD", "s1");
      await cni(depsOf(world, { [step]: new StoreError("unavailable", "away") }), "DEL", "s1");
      expect(world.addresses.size).toBe(1);
      await cni(depsOf(world), "DEL", "s1"); // the runtime tries again
      expect(world.addresses.size).toBe(0);
    }
  });

  test("the store away: try again later", async () => {
    const deps = depsOf(empty(), {
      release: new IpamError({ code: "datastore", node: "n1", reason: "away" }),
    });
    expect(await failure(cni(deps, "DEL", "s1"))).toMatchObject({ code: 11 });
  });
});

test("calls about one pod never overlap; other pods do not wait", async () => {
  const log: string[] = [];
  const wire: CniDeps["wire"] = async ({ netns }) => {
    log.push(`> ${netns}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
    log.push(`< ${netns}`);
  };
  const handle = cniHandler(depsOf(empty(), {}, { wire }));
  const add = (sandbox: string, pod: string) =>
    handle(
      parseCall({
        env: {
          ...{ CNI_COMMAND: "ADD", CNI_CONTAINERID: sandbox, CNI_NETNS: sandbox, CNI_IFNAME: "eth0" },
          CNI_ARGS: `K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${pod}`,
        },
        stdin: Buffer.from('{"cniVersion":"1.1.0","name":"net"}'),
      }),
    );
  await Promise.all([add("a1", "a"), add("a2", "a"), add("b1", "b")]);
  expect(log.filter((line) => line.includes("a"))).toEqual(["> a1", "< a1", "> a2", "< a2"]);
  expect(log.indexOf("> b1")).toBeLessThan(log.indexOf("< a1"));
});

describe("the interface is made while the addresses are being written", () => {
  const address = (text: string) => ({ address: parseAddress(text), sequence: 1, handle: "h" });
  const added = (
    world: ReturnType<typeof empty>,
    { assignWith, wire }: Pick<CniDeps["ipam"], "assignWith"> & Pick<CniDeps, "wire">,
  ) => {
    const deps = depsOf(world);
    return cni({ ...deps, ipam: { ...deps.ipam, assignWith }, wire }, "ADD", "s1");
  };

  test("with those; and the endpoint is not written again when it went along", async () => {
    const world = empty();
    const log: string[] = [];
    const { stdout } = await added(world, {
      assignWith: async (_request, along) => {
        const [change] = along([address("10.0.0.7")]);
        await new Promise((resolve) => setTimeout(resolve, 20));
        log.push(`written with ${change?.type} ${change?.key}`);
        return { held: [address("10.0.0.7")], wroteAlong: true };
      },
      wire: async ({ addresses }) => {
        log.push(`wired ${addresses.map(formatAddress)}`);
      },
    });
    expect(JSON.parse(stdout).ips).toMatchObject([{ address: "10.0.0.7/32" }]);
    expect(log).toEqual([
      "wired 10.0.0.7",
      "written with create /margay/v1/workloadendpoints/shop/n1-k8s-web-eth0",
    ]);
    expect(world.endpoints.size).toBe(0);
  });

  test("and anew when they turn out to be others", async () => {
    const world = empty();
    const wired: string[] = [];
    const { stdout } = await added(world, {
      assignWith: async (_request, along) => {
        along([address("10.0.0.7")]); // lost to another node
        return { held: [address("10.0.0.8")], wroteAlong: false };
      },
      wire: async ({ addresses }) => {
        wired.push(`${addresses.map(formatAddress)}`);
      },
    });
    expect(JSON.parse(stdout).ips).toMatchObject([{ address: "10.0.0.8/32" }]);
    expect(wired).toEqual(["10.0.0.7", "10.0.0.8"]);
    expect(world.endpoints.size).toBe(1);
  });

  test("nothing is under way when a failed ADD is taken back", async () => {
    const world = empty();
    const { stdout } = await added(world, {
      assignWith: async (_request, along) => {
        along([address("10.0.0.7")]);
        throw new StoreError("unavailable", "away");
      },
      wire: async ({ hostInterface, netns }) => {
        await new Promise((resolve) => setTimeout(resolve, 20));
        world.links.set(hostInterface, netns);
      },
    });
    expect(JSON.parse(stdout)).toMatchObject({ code: 11 });
    expect(world).toEqual(empty());
  });
});

test.each([
  ["as long as the pod is there", {}, ["10.0.0.1/32"]],
  ["not once its ADD has failed", { assign: new Error("broken") }, ["10.0.0.1/32", "withdrawn"]],
])("the endpoint is expected before it is written: %s", async (_when, fails, told) => {
  const heard: unknown[] = [];
  const expectation: CniDeps["expect"] = (key, value) => {
    expect(key).toBe("/margay/v1/workloadendpoints/shop/n1-k8s-web-eth0");
    heard.push(value === undefined ? "withdrawn" : JSON.parse(value).spec.ipNetworks[0]);
  };
  await cni(depsOf(empty(), fails, { expect: expectation }), "ADD", "s1");
  expect(heard).toEqual(told);
});

test("as margay-ipam: addresses only", async () => {
  const world = empty();
  const env = { MARGAY_ARGV0: "margay-ipam" };
  const { stdout } = await cni(depsOf(world), "ADD", "s1", env);
  expect(JSON.parse(stdout)).toEqual({ cniVersion: "1.1.0", ips: [{ address: "10.0.0.1/32" }], dns: {} });
  expect([world.addresses.size, world.links.size, world.endpoints.size]).toEqual([1, 0, 0]);
  await cni(depsOf(world), "DEL", "s1", env);
  expect(world).toEqual(empty());
});
