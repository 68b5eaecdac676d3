import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { decode, encode, type IPAMBlock, keyOf, parse } from "@margay/api";
import type { KubernetesObject } from "@margay/kubernetes";
import { until } from "@margay/testing";
import { type TestCluster, testCluster } from "./testing/cluster.ts";

const SERVICES = "/api/v1/services";
const BLOCK = "/margay/v1/ipamblocks/203.0.113.0-29";

let cluster: TestCluster;
beforeEach(async () => {
  cluster = await testCluster();
});
afterEach(() => cluster.close());

const leads = async () => {
  const replica = await cluster.replica("a");
  await until(() => replica.notReady().length === 0 && replica.events("leader").length > 0);
  return replica;
};
async function put(document: object): Promise<void> {
  const { resource } = parse({ apiVersion: "margay.dev/v1", ...document });
  await cluster.store.put(keyOf(resource.kind, resource.metadata.name), encode(resource));
}
const pool = (more = {}) =>
  put({
    ...{ kind: "IPPool", metadata: { name: "balancers" } },
    spec: { cidr: "203.0.113.0/28", blockSize: 29, allowedUses: ["LoadBalancer"], ...more },
  });
interface Asked {
  readonly port?: number;
  readonly annotations?: Record<string, string>;
  readonly has?: string;
}
function service(name: string, { port = 80, annotations = {}, has }: Asked = {}): void {
  const ingress = has === undefined ? [] : [{ ip: has }];
  const object: KubernetesObject = {
    metadata: { name, namespace: "shop", annotations },
    spec: { type: "LoadBalancer", clusterIPs: ["10.96.0.20"], ports: [{ port }] },
    status: { loadBalancer: { ingress } },
  };
  cluster.kubernetes.put(SERVICES, object);
}
const addressOf = (name: string): string | undefined => {
  const found = cluster.kubernetes.objects(SERVICES).find(({ metadata }) => metadata.name === name);
  const { loadBalancer } = (found?.status ?? {}) as { loadBalancer?: { ingress?: { ip: string }[] } };
  return loadBalancer?.ingress?.[0]?.ip;
};
const block = async (): Promise<IPAMBlock["spec"] | undefined> => {
  const entry = await cluster.store.get(BLOCK);
  return entry && (decode(BLOCK, entry.value) as IPAMBlock).spec;
};
/** "0 shop/web", by the block. */
const held = async (): Promise<string[]> =>
  Object.entries((await block())?.allocations ?? {}).map(
    ([ordinal, { attributes }]) => `${ordinal} ${attributes.service}`,
  );
const holds = (...expected: string[]) => until(async () => (await held()).join() === expected.join());

test("a service's address is in a block of no node, with the service as its holder, and free when it is deleted", async () => {
  await pool();
  await leads();
  service("web");
  await until(() => addressOf("web") === "203.0.113.0");
  expect(await block()).toMatchObject({
    ...{ cidr: "203.0.113.0/29", affinity: "virtual:load-balancer" },
    allocations: {
      "0": {
        handle: "load-balancer.shop.web",
        attributes: { type: "loadBalancer", service: "shop/web", timestamp: expect.any(String) },
      },
    },
  });
  cluster.kubernetes.remove(SERVICES, "shop/web");
  await holds();
  expect(await block()).toMatchObject({
    unallocated: [0],
    released: [{ ordinal: 0, reason: "service-gone", service: "shop/web" }],
  });
});

test("ground that a pool for pods has, too, with blocks of another size, gives no new block, and is given when that pool goes", async () => {
  const rival = {
    kind: "IPPool",
    metadata: { name: "pods" },
    spec: { cidr: "203.0.113.0/24", blockSize: 26 },
  };
  await put(rival);
  await pool();
  await leads();
  service("web");
  await until(() => cluster.kubernetes.objects("/api/v1/events")[0]);
  expect([await block(), addressOf("web")]).toEqual([undefined, undefined]);
  await cluster.store.delete(keyOf("IPPool", "pods"));
  await until(() => addressOf("web") === "203.0.113.0");
});

test("the block is written before the status: whoever ends in between finds the same address again", async () => {
  await pool();
  const first = await leads();
  cluster.kubernetes.fail({ on: "PATCH /api/v1/namespaces/shop/services/web/status", status: 503 });
  service("web");
  await holds("0 shop/web");
  await first.stop();
  service("older"); // comes first in every order but the blocks'
  await leads();
  await until(() => addressOf("web") && addressOf("older"));
  expect([addressOf("web"), addressOf("older")]).toEqual(["203.0.113.0", "203.0.113.1"]);
});

test("addresses that were given before there were blocks, or whose datastore is lost, stay where they are", async () => {
  service("a", { has: "203.0.113.5" });
  service("b", { has: "203.0.113.3" });
  const before = cluster.kubernetes.requests.length;
  await leads();
  await pool();
  await holds("3 shop/b", "5 shop/a");
  const written = cluster.kubernetes.requests.slice(before).filter((text) => text.includes("/services/"));
  expect(written.filter((text) => text.startsWith("PATCH"))).toEqual([]);
});

test("one asked for by name is kept in the block; one shared names everybody", async () => {
  await pool();
  await leads();
  const key = { "margay.dev/shared-ip": "dns" };
  service("udp", { port: 53, annotations: { ...key, "margay.dev/load-balancer-ips": '["203.0.113.4"]' } });
  await holds("4 shop/udp");
  service("tcp", { port: 5353, annotations: key });
  await holds("4 shop/tcp,shop/udp");
  await until(() => addressOf("tcp") === "203.0.113.4" && addressOf("udp") === "203.0.113.4");
  cluster.kubernetes.remove(SERVICES, "shop/udp");
  await holds("4 shop/tcp");
  expect(addressOf("tcp")).toBe("203.0.113.4");
});

test("nothing is freed without proof: the cache may lag, and the API server may not answer", async () => {
  await pool();
  await leads();
  service("web");
  await holds("0 shop/web");
  cluster.kubernetes.setSilent(true);
  service("late"); // nobody has heard of it
  await put({
    ...{ kind: "IPAMBlock", metadata: { name: "203.0.113.0-29" } },
    spec: {
      ...(await until(block)),
      sequenceNumber: 4e15,
      allocations: {
        "0": { handle: "load-balancer.shop.web", sequence: 1, attributes: { service: "shop/web" } },
        "2": { handle: "load-balancer.shop.late", sequence: 2, attributes: { service: "shop/late" } },
      },
    },
  });
  await sleep(300);
  expect(await held()).toEqual(["0 shop/web", "2 shop/late"]);
  const asked = () => cluster.kubernetes.requests.filter((text) => text.endsWith("metadata.name=web")).length;
  for (let i = 0; i < 3; i++) cluster.kubernetes.fail({ on: "metadata.name=web", status: 503 });
  cluster.kubernetes.setSilent(false);
  cluster.kubernetes.remove(SERVICES, "shop/web");
  await until(() => asked() === 3);
  expect(await held()).toContain("0 shop/web");
  await until(async () => !(await held()).includes("0 shop/web"));
});

test("a service that cannot be told keeps waiting only those who are to get what it has", async () => {
  const asks = (ip: string) => ({ annotations: { "margay.dev/load-balancer-ips": ip } });
  await pool();
  service("faulty", { has: "203.0.113.0" });
  await leads();
  await holds("0 shop/faulty");
  for (let tries = 0; tries < 5; tries++)
    cluster.kubernetes.fail({ on: "services/faulty/status", status: 500 });
  service("faulty", { ...asks("203.0.113.1"), has: "203.0.113.0" });
  service("next", { ...asks("203.0.113.0"), port: 81 });
  service("other", { port: 82 });
  await until(() => addressOf("other") === "203.0.113.2");
  expect([addressOf("faulty"), addressOf("next")]).toEqual(["203.0.113.0", undefined]);
  await until(() => addressOf("next") === "203.0.113.0");
  expect(addressOf("faulty")).toBe("203.0.113.1");
  await holds("0 shop/next", "1 shop/faulty", "2 shop/other");
});

test("an empty block goes with its pool", async () => {
  await pool();
  await leads();
  service("web");
  await holds("0 shop/web");
  cluster.kubernetes.remove(SERVICES, "shop/web");
  await holds();
  expect(await block()).toBeDefined();
  await cluster.store.delete("/margay/v1/ippools/balancers");
  await until(async () => (await block()) === undefined);
});
