import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { Flow, letGo } from "./testing/flow.ts";
import { eventually, TestLab } from "./testing/lab.ts";

/** Established connections and policies that come later. Pods: shop/web and shop/other on n1, shop/db on n2. */
let lab: TestLab;
beforeAll(async () => {
  lab = await TestLab.up("e2e-cut", ["--nodes", "2"]);
  await lab.must(["pod", "add", "shop/web", "--node", "n1", "--labels", "app=web"]);
  await lab.must(["pod", "add", "shop/other", "--node", "n1", "--labels", "app=other"]);
  await lab.must(["pod", "add", "shop/db", "--node", "n2", "--labels", "app=db"]);
  await lab.wait();
}, 90_000);
afterAll(() => lab?.down());

const ONLY_OTHER = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: p, namespace: shop }
spec: { podSelector: { matchLabels: { app: db } }, ingress: [{ from: [{ podSelector: { matchLabels: { app: other } } }] }] }
`;
const delay = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test("a policy cuts what it denies within a second and leaves the rest; without it new connections work again", async () => {
  const denied = await Flow.open(lab, { from: "shop/web", to: "shop/db", port: 7001 });
  const allowed = await Flow.open(lab, { from: "shop/other", to: "shop/db", port: 7002 });
  await lab.margay(["apply", "-f", "-"], ONLY_OTHER);
  await delay(1000);
  const afterASecond = { denied: denied.echoed, allowed: allowed.echoed };
  await delay(2000);
  expect(denied.echoed).toBe(afterASecond.denied);
  expect(allowed.echoed).toBeGreaterThan(afterASecond.allowed + 20);
  const { sent, echoed, longestGapMs } = await allowed.close();
  expect(echoed).toBe(sent);
  expect(longestGapMs).toBeLessThan(1000);
  expect(denied.end().echoed).toBe(afterASecond.denied);
  await lab.delete(ONLY_OTHER);
  await eventually("the way is free again", async () => (await lab.reached()).includes("shop/web>shop/db"));
}, 60_000);

test("the side that may still send does not bring it back", async () => {
  const address = (await lab.pods()).find(({ name }) => name === "db")?.addresses[0]?.split("/")[0] ?? "";
  const server = lab.spawn("shop/db", ["sh", "-c", "while echo tick; do sleep 0.05; done | nc -lN 7003"]);
  await delay(500);
  const client = lab.spawn("shop/web", ["nc", address, "7003"]);
  let heard = 0;
  client.stdout?.on("data", (bytes: Buffer) => (heard += bytes.length));
  await eventually("the server is heard", async () => heard > 0);
  await lab.margay(["apply", "-f", "-"], ONLY_OTHER);
  await delay(1000);
  const afterASecond = heard;
  await delay(3000);
  expect(heard).toBe(afterASecond);
  for (const child of [client, server]) letGo(child);
  await lab.delete(ONLY_OTHER);
}, 60_000);

const ON_NODE = JSON.stringify({
  ...{ apiVersion: "v1", kind: "List" },
  items: [
    {
      ...{ apiVersion: "margay.dev/v1", kind: "GlobalNetworkPolicy", metadata: { name: "p" } },
      spec: {
        ...{ selector: "role == 'node'", types: ["Ingress"] },
        ingress: [{ action: "Deny", protocol: "TCP", destination: { ports: [7005] } }, { action: "Allow" }],
      },
    },
    {
      ...{
        apiVersion: "margay.dev/v1",
        kind: "HostEndpoint",
        metadata: { name: "n1", labels: { role: "node" } },
      },
      spec: { node: "n1", expectedIPs: ["172.20.0.11"], profiles: ["projectcalico-default-allow"] },
    },
  ],
});

test("a policy on a host endpoint, found by its address, cuts the node's own connections and leaves the rest", async () => {
  const to = { from: "n2", to: "n1", address: "172.20.0.11" };
  const denied = await Flow.open(lab, { ...to, port: 7005 });
  const allowed = await Flow.open(lab, { ...to, port: 7006 });
  await lab.apply(ON_NODE);
  await delay(1000);
  const afterASecond = { denied: denied.echoed, allowed: allowed.echoed };
  await delay(1500);
  expect(denied.echoed).toBe(afterASecond.denied);
  expect(allowed.echoed).toBeGreaterThan(afterASecond.allowed + 20);
  const { sent, echoed } = await allowed.close();
  expect(echoed).toBe(sent);
  denied.end();
  await lab.delete(ON_NODE);
}, 60_000);

test("cutDeniedConnections: false leaves connections alone", async () => {
  const off = (value: boolean) =>
    lab.apply(
      `{ apiVersion: margay.dev/v1, kind: FelixConfiguration, metadata: { name: default }, spec: { cutDeniedConnections: ${value} } }`,
    );
  await off(false);
  const flow = await Flow.open(lab, { from: "shop/web", to: "shop/db", port: 7004 });
  await lab.apply(ONLY_OTHER);
  await delay(1000);
  const before = flow.echoed;
  await eventually("it goes on", async () => flow.echoed > before + 20);
  await off(true);
  await delay(1000);
  const after = flow.echoed;
  await delay(1000);
  expect(flow.echoed).toBe(after); // switching it on holds all connections against the policies
  flow.end();
  await lab.delete(ONLY_OTHER);
}, 60_000);
