import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { Flow } from "./testing/flow.ts";
import { eventually, TestLab } from "./testing/lab.ts";

/** Real nodes on nftables. shop/a on n1 may reach shop/b on n2; shop/c on n1 may not. */
let lab: TestLab;
const ALLOWED = ["shop/a>shop/b", "shop/a>shop/c", "shop/b>shop/a", "shop/b>shop/c", "shop/c>shop/a"];
const mode = (nftablesMode: string) => `apiVersion: margay.dev/v1
kind: FelixConfiguration
metadata: { name: default }
spec: { nftablesMode: ${nftablesMode} }
`;
const ONLY_A = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: b, namespace: shop }
spec: { podSelector: { matchLabels: { app: b } }, ingress: [{ from: [{ podSelector: { matchLabels: { app: a } } }] }] }
`;

beforeAll(async () => {
  lab = await TestLab.up("nftables", ["--nodes", "2"]);
  await lab.apply(mode("Enabled"));
  for (const [name, node] of [
    ["a", "n1"],
    ["b", "n2"],
    ["c", "n1"],
  ])
    await lab.must(["pod", "add", `shop/${name}`, "--node", `${node}`, "-l", `app=${name}`]);
  await lab.apply(ONLY_A);
});
afterAll(() => lab?.down());

const reached = async () => (await lab.reached()).sort();
const shown = async (node: string, command: string) =>
  (await lab.exec(node, ["sh", "-c", `PATH=$PATH:/usr/sbin:/sbin; ${command}`])).stdout;

test("pods are policed by nftables, and iptables holds nothing of ours", async () => {
  expect(await reached()).toEqual(ALLOWED);
  for (const node of ["n1", "n2"]) {
    expect(await shown(node, "nft list tables")).toContain("table ip6 margay");
    expect(await shown(node, "iptables-nft-save; ip6tables-nft-save; ipset list -n")).not.toContain("margay");
  }
});

test("masquerading still lets pods out, and only with the host's address", async () => {
  expect(await shown("n1", "nft list chain ip margay nat-nat-outgoing")).toContain("masquerade");
  const { code } = await lab.exec("shop/a", ["ping", "-c1", "-W2", "172.20.0.1"]);
  expect(code).toBe(0);
});

test("rules that somebody flushes are back", async () => {
  await shown("n2", "nft flush ruleset");
  const isBack = async () => (await shown("n2", "nft list tables")).includes("table ip margay");
  await eventually("the tables are back", isBack);
  expect(await reached()).toEqual(ALLOWED);
});

test("a live move to iptables and back: an established flow goes on, what is refused stays refused", async () => {
  const flow = await Flow.open(lab, { from: "shop/a", to: "shop/b", port: 9000 });
  for (const to of ["Disabled", "Enabled"]) {
    await lab.apply(mode(to));
    expect(await reached()).toEqual(ALLOWED);
    expect((await shown("n1", "iptables-nft-save")).includes("margay")).toBe(to === "Disabled");
    expect((await shown("n1", "nft list tables")).includes("table ip margay")).toBe(to === "Enabled");
  }
  const { sent, echoed, longestGapMs } = await flow.close();
  expect(echoed).toBe(sent);
  expect(longestGapMs).toBeLessThan(1000);
});

test("an agent killed while it enforced by nftables, started for iptables, leaves no rule of the former", async () => {
  await lab.must(["kill", "n1/agent"]);
  await lab.margay(["apply", "-f", "-"], mode("Disabled"));
  expect(await reached()).toEqual(ALLOWED); // the kernel goes on without it
  await lab.must(["start", "n1/agent"]);
  await lab.wait();
  expect(await shown("n1", "nft list tables")).not.toContain("table ip margay");
  expect(await reached()).toEqual(ALLOWED);
  await lab.apply(mode("Enabled"));
});

test("chosen by the host: nftables, until others refuse by iptables; then iptables, and no connection is lost", async () => {
  await lab.apply(mode("Auto"));
  expect(await reached()).toEqual(ALLOWED);
  expect(await shown("n1", "iptables-nft-save")).not.toContain("margay");
  const flow = await Flow.open(lab, { from: "shop/a", to: "shop/b", port: 9001 });
  await shown(
    "n1",
    "iptables-nft -N DOCKER-USER; iptables-nft -A FORWARD -j DOCKER-USER; iptables-nft -P FORWARD DROP",
  );
  const isGone = async () => !(await shown("n1", "nft list tables")).includes("table ip margay");
  await eventually("the rules of n1 are iptables'", isGone);
  expect(await reached()).toEqual(ALLOWED);
  expect(await shown("n2", "iptables-nft-save")).not.toContain("margay");
  const { sent, echoed, longestGapMs } = await flow.close();
  expect(echoed).toBe(sent);
  expect(longestGapMs).toBeLessThan(3000); // policy DROP holds until the move, a second at most, and TCP sends again
  await shown(
    "n1",
    "iptables-nft -P FORWARD ACCEPT; iptables-nft -D FORWARD -j DOCKER-USER; iptables-nft -X DOCKER-USER",
  );
  await lab.apply(mode("Enabled"));
});
