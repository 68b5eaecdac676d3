import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { Flow, letGo } from "./testing/flow.ts";
import { eventually, TestLab } from "./testing/lab.ts";
import { now, unstarvedMs } from "./testing/unstarved.ts";

/** Established connections and policies that come later. Pods: shop/web, shop/other and shop/near on n1, shop/db on n2. */
let lab: TestLab;
beforeAll(async () => {
  lab = await TestLab.up("e2e-cut", ["--nodes", "2"]);
  await lab.must(["pod", "add", "shop/web", "--node", "n1", "--labels", "app=web"]);
  await lab.must(["pod", "add", "shop/other", "--node", "n1", "--labels", "app=other"]);
  await lab.must(["pod", "add", "shop/near", "--node", "n1", "--labels", "app=near"]);
  await lab.must(["pod", "add", "shop/db", "--node", "n2", "--labels", "app=db"]);
  await lab.wait();
});
afterAll(() => lab?.down());

const ONLY_OTHER = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: p, namespace: shop }
spec: { podSelector: { matchLabels: { app: db } }, ingress: [{ from: [{ podSelector: { matchLabels: { app: other } } }] }] }
`;
/** Until `denied` carries no line while `allowed` carries 150, those of three seconds. */
async function expectCut(denied: Flow, allowed: Flow): Promise<void> {
  const lines = async (count: number) => {
    const [before, until] = [denied.echoed, allowed.echoed + count];
    await eventually("the other goes on", async () => allowed.echoed >= until);
    return denied.echoed - before;
  };
  await eventually("it is cut", async () => (await lines(150)) === 0);
}

const delay = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test("a policy cuts what it denies within a second and leaves the rest; without it new connections work again", async () => {
  const denied = await Flow.open(lab, { from: "shop/web", to: "shop/db", port: 7001 });
  const allowed = await Flow.open(lab, { from: "shop/other", to: "shop/db", port: 7002 });
  await lab.margay(["apply", "-f", "-"], ONLY_OTHER);
  const begun = now();
  await expectCut(denied, allowed);
  expect(unstarvedMs(begun, denied.heard)).toBeLessThan(1000);
  const last = denied.echoed;
  const { sent, echoed, longestGapMs } = await allowed.close();
  expect(echoed).toBe(sent);
  expect(longestGapMs).toBeLessThan(1000);
  expect(denied.end().echoed).toBe(last);
  await lab.delete(ONLY_OTHER);
  await eventually("the way is free again", async () => (await lab.reached()).includes("shop/web>shop/db"));
});

test("the side that may still send does not bring it back", async () => {
  const address = (await lab.pods()).find(({ name }) => name === "db")?.addresses[0]?.split("/")[0] ?? "";
  const server = lab.spawn("shop/db", ["sh", "-c", "while echo tick; do sleep 0.05; done | nc -lN 7003"]);
  const listening = async () => (await lab.exec("shop/db", ["ss", "-Hltn", "sport = :7003"])).stdout !== "";
  await eventually("the server listens", listening);
  const client = lab.spawn("shop/web", ["nc", address, "7003"]);
  let heard = 0;
  client.stdout?.on("data", (bytes: Buffer) => (heard += bytes.length));
  await eventually("the server is heard", async () => heard > 0);
  await lab.margay(["apply", "-f", "-"], ONLY_OTHER);
  await eventually("it has been silent for three seconds", async () => {
    const before = heard;
    await delay(3000);
    return heard === before;
  });
  for (const child of [client, server]) letGo(child);
  await lab.delete(ONLY_OTHER);
});

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
  await expectCut(denied, allowed);
  const { sent, echoed } = await allowed.close();
  expect(echoed).toBe(sent);
  denied.end();
  await lab.delete(ON_NODE);
});

test("cutDeniedConnections: false leaves connections alone", async () => {
  const off = (value: boolean) =>
    lab.apply(
      `{ apiVersion: margay.dev/v1, kind: FelixConfiguration, metadata: { name: default }, spec: { cutDeniedConnections: ${value} } }`,
    );
  await off(false);
  const flow = await Flow.open(lab, { from: "shop/web", to: "shop/db", port: 7004 });
  const allowed = await Flow.open(lab, { from: "shop/other", to: "shop/db", port: 7007 });
  await lab.apply(ONLY_OTHER);
  await delay(1000);
  const before = flow.echoed;
  await eventually("it goes on", async () => flow.echoed > before + 20);
  await off(true);
  await expectCut(flow, allowed); // switching it on holds all connections against the policies
  for (const one of [flow, allowed]) one.end();
  await lab.delete(ONLY_OTHER);
});

const [DENIED, ALLOWED] = [7100, 7101];
const SCRIPT = fileURLToPath(new URL("testing/many-flows.ts", import.meta.url));
const manyFlows = (place: string, role: string, addresses: readonly string[] = []) =>
  lab.spawn(place, [process.execPath, "--no-warnings", SCRIPT, role, `${DENIED},${ALLOWED}`, ...addresses]);

const TO_BOTH = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: p, namespace: shop }
spec:
  podSelector: { matchExpressions: [{ key: app, operator: In, values: [db, near] }] }
  ingress: [{ ports: [{ protocol: TCP, port: ${ALLOWED} }, { protocol: UDP, port: ${ALLOWED} }] }]
`;
const FORWARDED = `apiVersion: margay.dev/v1
kind: GlobalNetworkPolicy
metadata: { name: p }
spec: { selector: "role == 'node'", applyOnForward: true, types: [Ingress], ingress: [{ action: Deny, protocol: TCP, destination: { ports: [${DENIED}] } }, { action: Deny, protocol: UDP, destination: { ports: [${DENIED}] } }, { action: Allow }] }
---
apiVersion: margay.dev/v1
kind: HostEndpoint
metadata: { name: n2, labels: { role: node } }
spec: { node: n2, interfaceName: HOST_INTERFACE, profiles: [projectcalico-default-allow] }
`;

interface Cut {
  readonly cut: readonly string[];
  readonly kept: readonly string[];
}

/** What keeps on being answered once the policy has come, and what does not: "<pod> v<family> <protocol> <port>". Until both are as expected. */
async function expectCutBy(policy: string, expected: Cut): Promise<void> {
  const names = new Map(
    (await lab.pods()).flatMap(({ name, addresses }) =>
      addresses.map((cidr) => [cidr.split("/")[0] ?? "", `${name} ${cidr.includes(":") ? "v6" : "v4"}`]),
    ),
  );
  const to = [...names].filter(([, name]) => /^(db|near) /.test(name)).map(([address]) => address);
  const children: ChildProcess[] = ["shop/near", "shop/db"].map((pod) => manyFlows(pod, "answer"));
  await eventually("they answer", async () =>
    (await Promise.all(["shop/near", "shop/db"].map((pod) => lab.exec(pod, ["ss", "-Hltn"])))).every(
      ({ stdout }) => stdout.includes(`:${ALLOWED}`),
    ),
  );
  const asker = manyFlows("shop/web", "ask", to);
  children.push(asker);
  if (!asker.stdout) throw new Error("the asker has no pipe");
  const lines = createInterface(asker.stdout)[Symbol.asyncIterator]();
  const counts = async () => {
    asker.stdin?.write("\n");
    return JSON.parse((await lines.next()).value ?? "{}") as Record<string, number>;
  };
  await eventually("all are answered", async () => Object.keys(await counts()).length === 4 * to.length);
  await lab.margay(["apply", "-f", "-"], policy);
  const said = (keys: readonly string[]) =>
    keys.map((key) => key.replace(/^\S+/, (address) => names.get(address) ?? address)).sort();
  const seen = async (): Promise<Cut> => {
    const before = await counts();
    await delay(1500);
    const after = await counts();
    const isAnswered = (key: string) => (after[key] ?? 0) > (before[key] ?? 0);
    const keys = Object.keys(before);
    return { kept: said(keys.filter(isAnswered)), cut: said(keys.filter((key) => !isAnswered(key))) };
  };
  let found = await seen();
  for (let tries = 0; tries < 20 && JSON.stringify(found.cut) !== JSON.stringify(expected.cut); tries++)
    found = await seen();
  for (const child of children) letGo(child);
  await lab.delete(policy);
  expect(found).toEqual(expected);
}

const flows = (pods: readonly string[], port: number) =>
  pods.flatMap((pod) =>
    ["v4", "v6"].flatMap((family) =>
      ["tcp", "udp"].map((protocol) => `${pod} ${family} ${protocol} ${port}`),
    ),
  );

test.each(["Disabled", "Enabled"])(
  "nftablesMode %s: both families and protocols, on one node and across nodes, by a pod's policy and by one on what a node forwards",
  async (mode) => {
    await lab.apply(
      `{ apiVersion: margay.dev/v1, kind: FelixConfiguration, metadata: { name: default }, spec: { nftablesMode: ${mode} } }`,
    );
    await expectCutBy(TO_BOTH, {
      cut: flows(["db", "near"], DENIED),
      kept: flows(["db", "near"], ALLOWED),
    });
    for (const interfaceName of ["eth0", '"*"'])
      await expectCutBy(FORWARDED.replace("HOST_INTERFACE", interfaceName), {
        cut: flows(["db"], DENIED),
        kept: [...flows(["db"], ALLOWED), ...flows(["near"], DENIED), ...flows(["near"], ALLOWED)].sort(),
      });
  },
);
