import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { Flow } from "./testing/flow.ts";
import { eventually, TestLab } from "./testing/lab.ts";

/** shop/a on n1 may reach shop/b on n2; shop/c on n1 may not. */
let lab: TestLab;
const ALLOWED = ["shop/a>shop/b", "shop/a>shop/c", "shop/b>shop/a", "shop/b>shop/c", "shop/c>shop/a"];

beforeAll(async () => {
  lab = await TestLab.up("faults", ["--nodes", "2"]);
  for (const [name, node] of [
    ["a", "n1"],
    ["b", "n2"],
    ["c", "n1"],
  ])
    await lab.must(["pod", "add", `shop/${name}`, "--node", `${node}`, "-l", `app=${name}`]);
  await lab.apply(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: b, namespace: shop }
spec: { podSelector: { matchLabels: { app: b } }, ingress: [{ from: [{ podSelector: { matchLabels: { app: a } } }] }] }
`);
}, 90_000);
afterAll(() => lab?.down());

const reached = async () => (await lab.reached()).sort();

test.each(["agent", "bgpd"])(
  "%s of both nodes killed with -9 and started again: an established flow goes on, what is refused stays refused",
  async (daemon) => {
    expect(await reached()).toEqual(ALLOWED);
    const before = await lab.pods();
    const flow = await Flow.open(lab, { from: "shop/a", to: "shop/b", port: 9000 });
    for (const node of ["n1", "n2"]) await lab.must(["kill", `${node}/${daemon}`]);
    expect(await reached()).toEqual(ALLOWED); // the kernel goes on without it
    for (const node of ["n1", "n2"]) await lab.must(["start", `${node}/${daemon}`]);
    for (let round = 0; round < 2; round++) expect(await reached()).toEqual(ALLOWED); // while it starts and takes over
    await lab.wait();
    expect(await reached()).toEqual(ALLOWED);
    const { sent, echoed, longestGapMs } = await flow.close();
    expect(echoed).toBe(sent);
    expect(longestGapMs).toBeLessThan(1000);
    expect(await lab.pods()).toEqual(before);
  },
  60_000,
);

test("etcd away: forwarding goes on, ADD fails with a code to try again, everything catches up by itself", async () => {
  await lab.must(["kill", "etcd"]);
  expect(await reached()).toEqual(ALLOWED);
  const refused = await lab.run(["pod", "add", "shop/late", "--node", "n1"]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/CNI error 11|unavailable/);
  await lab.must(["start", "etcd"]);
  await eventually(
    "a pod can be made",
    async () => (await lab.run(["pod", "add", "shop/late", "--node", "n1"])).code === 0,
  );
  await lab.wait();
  expect(await lab.reached()).toContain("shop/a>shop/late");
  await lab.must(["pod", "rm", "shop/late"]);
  expect(await reached()).toEqual(ALLOWED);
}, 90_000);

const RESTART_TIMES = `apiVersion: margay.dev/v1
kind: BGPConfiguration
metadata: { name: default }
spec: { asNumber: 64512, nodeToNodeMeshEnabled: true, nodeMeshMaxRestartTime: 2s }
---
apiVersion: margay.dev/v1
kind: BGPPeer
metadata: { name: tor }
spec: { peerIP: 172.20.0.2, asNumber: 65000, maxRestartTime: 2s }
`;

test("a speaker that does not come back within the restart time loses its routes; they return with it", async () => {
  await lab.apply(RESTART_TIMES); // taken over without a restart; the usual 120 s are long for a test
  await eventually(
    "all sessions are up again",
    async () => !/Active|Connect|Open|Idle/.test(await peers("n1")),
  );
  const own = /(10\.244\.\d+\.\d+\/26) via 172\.20\.0\.11/.exec(await torRoutes())?.[0] ?? "none";
  expect(own).not.toBe("none");
  await lab.must(["kill", "n1/bgpd", "--signal", "SIGTERM"]);
  await eventually("the ToR has no route to n1's block", async () => !(await torRoutes()).includes(own));
  await lab.must(["start", "n1/bgpd"]);
  await eventually("the route is back", async () => (await torRoutes()).includes(own));
}, 60_000);

const torRoutes = async () => (await lab.exec("tor", ["ip", "route"])).stdout;
const peers = async (node: string) => (await lab.exec(node, ["margay", "bgp", "peers"])).stdout;
