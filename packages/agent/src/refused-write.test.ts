import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { afterEach, expect, test } from "@jest/globals";
import { encode, keyOf, parse } from "@margay/api";
import { type MemoryStore, memoryStore } from "@margay/datastore";
import { unshared, until } from "@margay/testing";
import { Agent } from "./agent.ts";
import { testContext } from "./testing/context.ts";

const sh = (command: string): string =>
  execFileSync("sh", ["-c", command], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });

const KEY = keyOf("WorkloadEndpoint", "n1-k8s-web-eth0", "shop");
const value = (address: string): string => {
  const ways = { node: "n1", orchestrator: "k8s", pod: "web", endpoint: "eth0", interfaceName: "cali1" };
  const { resource } = parse({
    ...{ apiVersion: "margay.dev/v1", kind: "WorkloadEndpoint" },
    metadata: { name: "n1-k8s-web-eth0", namespace: "shop" },
    spec: { ...ways, profiles: ["kns.shop"], ipNetworks: [address] },
  });
  return encode(resource);
};

async function cluster(): Promise<MemoryStore> {
  const store = memoryStore();
  const specs = {
    Node: ["n1", {}],
    Profile: ["kns.shop", { ingress: [{ action: "Allow" }], egress: [{ action: "Allow" }] }],
    FelixConfiguration: ["default", { iptablesBackend: "Legacy" }], // whose lock a test can hold
  } as const;
  for (const [kind, [name, spec]] of Object.entries(specs)) {
    const { resource } = parse({ apiVersion: "margay.dev/v1", kind, metadata: { name }, spec });
    await store.put(keyOf(resource.kind, name), encode(resource));
  }
  return store;
}

/** What is written to the datastore for a new pod does not stand there in the end, and a pass has it in its state already. */
unshared(import.meta.url, () => {
  let agent: Agent;
  let store: MemoryStore;
  const children: ChildProcess[] = [];

  /** Started in a process group of its own. */
  const start = (...[command = "", ...words]: readonly string[]): ChildProcess => {
    const child = spawn(command, words, { detached: true, stdio: ["ignore", "pipe", "inherit"] });
    children.push(child);
    return child;
  };
  const end = async (child: ChildProcess): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, "exit");
    process.kill(-(child.pid ?? 0));
    await exit;
  };
  afterEach(async () => {
    await Promise.all(children.splice(0).map(end));
    await agent.stop();
    sh("ip link del cali1; ip route flush proto 142");
  });

  /** What the kernel tells of routes from now on; resolved: it is listened to. */
  async function listen(): Promise<{ all(): Promise<string> }> {
    let heard = "";
    start("ip", "-o", "monitor", "route").stdout?.on("data", (text) => {
      heard += String(text);
    });
    const mark = (address: string) => () => {
      sh(`ip route replace ${address} dev lo && ip route del ${address} dev lo`);
      return heard.includes(address);
    };
    await until(mark("192.0.2.1"));
    return {
      async all() {
        await until(mark("192.0.2.2"));
        return heard;
      },
    };
  }

  /** The routes that are made when `change` is heard in a pass that waits to write the rules of 10.0.0.1. */
  async function routesMade(change: () => Promise<unknown>): Promise<string[]> {
    store = await cluster();
    const context = testContext({ store, node: "n1", runDir: mkdtempSync("/run/agent-") });
    agent = new Agent(context.daemon);
    void agent.start();
    await until(() => context.notReady().length === 0);
    sh(
      "ip link set lo up; ip link add cali1 type veth peer name other && ip link set other up && ip link set cali1 up",
    );
    const told = await listen();
    const lock = start("flock", "/run/xtables.lock", "sleep", "60");
    await until(() => sh("flock -n /run/xtables.lock true || echo locked") !== "");
    agent.expect(KEY, value("10.0.0.1/32"));
    await until(() => agent.dataplane.runningFor() > 100); // nothing but the lock takes it so long
    await change();
    await end(lock);
    await until(async () => (await agent.dataplane.pending()) === undefined);
    return (await told.all()).split("\n").flatMap((line) => /^10\S* dev \S*/.exec(line)?.[0] ?? []);
  }

  test("it is refused: it never has a route", async () => {
    expect(await routesMade(async () => agent.expect(KEY, undefined))).toEqual([]);
  });

  test("somebody else's stands: only that has routes", async () => {
    const made = await routesMade(() => store.put(KEY, value("10.0.0.2/32")));
    expect(made).toEqual(["10.0.0.2 dev cali1"]);
  });

  test("it is written with other addresses than at first: only those have routes", async () => {
    const made = await routesMade(async () => {
      agent.expect(KEY, value("10.0.0.2/32"));
      await store.put(KEY, value("10.0.0.2/32"));
    });
    expect(made).toEqual(["10.0.0.2 dev cali1"]);
  });
});
