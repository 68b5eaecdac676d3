import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { eventually, TestLab } from "./testing/lab.ts";

/** What only a whole cluster shows of CNI: real etcd, agents that stop, policy on what was attached by hand. */
let lab: TestLab;
beforeAll(async () => {
  lab = await TestLab.up("e2e-cni", ["--nodes", "2"]);
  await lab.must(["pod", "add", "shop/a", "--node", "n2", "-l", "app=a"]);
}, 90_000);
afterAll(() => lab?.down());

/** A command on n1, in its words when it fails. */
async function onNode(...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await lab.exec("n1", words);
  if (code !== 0) throw new Error(`${words.join(" ")}: exit ${code}\n${stdout}${stderr}`);
  return stdout;
}
const veths = async () =>
  (await onNode("ip", "-br", "link")).split("\n").filter((line) => line.startsWith("cali"));
const inUse = async (): Promise<string> =>
  (await lab.margay(["ipam", "show", "--blocks"])).replace(/^.*n2.*$/gm, "").replace(/\s+/g, " ");

test("a pod ends while the agent is down: at once for the runtime, wholly when the agent is back", async () => {
  await lab.must(["pod", "add", "shop/first", "--node", "n1"]);
  const held = await inUse();
  await lab.must(["pod", "rm", "shop/first"]);
  await eventually("the first one's address is free", async () => (await inUse()) !== held); // a DEL may be done after its answer
  const before = await inUse();
  await lab.must(["pod", "add", "shop/gone", "--node", "n1"]);
  expect(await inUse()).not.toBe(before);
  await lab.must(["kill", "n1/agent"]);
  await lab.must(["pod", "rm", "shop/gone"]);
  await lab.must(["start", "n1/agent"]);
  await eventually(
    "its endpoint is gone",
    async () => !(await lab.margay(["get", "wep", "-A"])).includes("gone"),
  );
  await eventually("its address is free", async () => (await inUse()) === before);
  expect(await veths()).toEqual([]);
}, 60_000);

test("a bare namespace attached by hand: an address, routes from other nodes, and policy by its labels", async () => {
  await onNode("ip", "netns", "add", "vm");
  const attach = ["margay", "attach", "vm", "--name", "vm", "-n", "shop", "-l", "app=vm"];
  const [four = ""] = (await onNode(...attach)).split("\n");
  expect(four).toMatch(/^10\.244\./);
  expect((await onNode(...attach)).split("\n")[0]).toBe(four);
  const reached = async () => (await lab.exec("shop/a", ["ping", "-c", "1", "-W", "1", four])).code === 0;
  await eventually("another node's pod reaches it", reached);
  // Kubernetes' own policies select Kubernetes' pods only.
  await lab.apply(`apiVersion: margay.dev/v1
kind: NetworkPolicy
metadata: { name: vm, namespace: shop }
spec: { selector: app == "vm", types: [Ingress] }
`);
  await lab.wait();
  expect(await reached()).toBe(false);
  await onNode("margay", "detach", "--name", "vm", "-n", "shop");
  await eventually("its interface is gone", async () => (await veths()).length === 0);
  await onNode("ip", "netns", "delete", "vm");
}, 60_000);
