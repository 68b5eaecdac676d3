import { execFileSync } from "node:child_process";
import { afterAll, afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { type AnyResource, keyOf, parse } from "@margay/api";
import { Calc } from "@margay/calc";
import { connectionsOf, Netlink } from "@margay/netlink";
import { unshared, until } from "@margay/testing";
import { Cutter } from "./cutter.ts";

const CUT = 0x40000;
const POD = "10.0.0.9";
const resource = (kind: string, metadata: object, spec: object): AnyResource =>
  parse({ apiVersion: "margay.dev/v1", kind, metadata, spec }).resource;
const allow = [{ action: "Allow" }];
const web = [
  resource("Profile", { name: "kns.a" }, { ingress: allow, egress: allow }),
  resource(
    "WorkloadEndpoint",
    { name: "web", namespace: "a", labels: { app: "web" } },
    {
      ...{ orchestrator: "k8s", node: "n1", pod: "web", endpoint: "eth0", interfaceName: "caliweb" },
      ...{ ipNetworks: [`${POD}/32`], profiles: ["kns.a"] },
    },
  ),
];
const hep = resource(
  "HostEndpoint",
  { name: "h", labels: { role: "n" } },
  { node: "n1", interfaceName: "eth0" },
);
const forwarded = (action: "Allow" | "Deny", preDNAT = false) =>
  resource(
    "GlobalNetworkPolicy",
    { name: "p" },
    { selector: "role == 'n'", types: ["Ingress"], applyOnForward: true, preDNAT, ingress: [{ action }] },
  );
const allowsWeb = (...ports: readonly number[]) =>
  resource(
    "NetworkPolicy",
    { name: "w", namespace: "a" },
    { selector: "app == 'web'", ingress: [{ action: "Allow", protocol: "TCP", destination: { ports } }] },
  );

const key = ({ kind, metadata }: AnyResource) => keyOf(kind, metadata.name, metadata.namespace);

/** States of one node that follow one another: only what differs is told. */
function node() {
  const calc = new Calc("n1");
  let there = new Map<string, AnyResource>();
  return (...resources: readonly AnyResource[]) => {
    const wanted = new Map([...web, ...resources].map((value) => [key(value), value]));
    const changed = [...there.keys(), ...wanted.keys()].filter((one) => there.get(one) !== wanted.get(one));
    calc.apply(changed.map((one) => ({ key: one, value: wanted.get(one) })));
    there = wanted;
    return calc.state();
  };
}

const insert = (from: string, port: number, mark = 0) =>
  execFileSync(
    "conntrack",
    [
      ...["-I", "-p", "tcp", "-s", from, "-d", POD, "--sport", "999", "--dport", String(port)],
      ...["--state", "ESTABLISHED", "-t", "60", "-m", String(mark)],
    ],
    { stdio: "pipe" },
  );
const marks = async () =>
  Object.fromEntries((await connectionsOf("all")).map((c) => [c.original.destinationPort, c.mark]));
async function expectMarks(wanted: Readonly<Record<number, number>>): Promise<void> {
  await until(async () => JSON.stringify(await marks()) === JSON.stringify(wanted)).catch(() => {});
  expect(await marks()).toEqual(wanted);
}

unshared(import.meta.url, () => {
  const netlink = Netlink.open();
  const raise = (error: unknown) => {
    throw error;
  };
  let cutter: Cutter;
  beforeEach(() => {
    cutter = new Cutter({ netlink, onCut: () => undefined, onError: raise });
  });
  afterEach(async () => {
    await cutter.stop();
    execFileSync("conntrack", ["-F"], { stdio: "pipe" });
  });
  afterAll(() => netlink.close());

  test.each<[why: string, denied: readonly AnyResource[], allowed: readonly AnyResource[]]>([
    ["its policy is another", [hep, forwarded("Deny")], [hep, forwarded("Allow")]],
    ["its host endpoint is gone", [hep, forwarded("Deny")], []],
    ["its policy is asked before NAT", [hep, forwarded("Deny", true)], [hep, forwarded("Allow", true)]],
  ])(
    "a pod's connection that a host endpoint cut is free, and cut again: %s",
    async (_why, denied, allowed) => {
      const state = node();
      insert("192.0.2.1", 81);
      cutter.enforced(state(...denied));
      await expectMarks({ 81: CUT });
      cutter.enforced(state(...allowed));
      await expectMarks({});
      insert("192.0.2.1", 81);
      cutter.enforced(state(...denied));
      await expectMarks({ 81: CUT });
    },
  );

  test("a pod's policy is another: only of what was cut the kernel is asked for the way", async () => {
    const state = node();
    const requests = jest.spyOn(netlink.requests, "transact");
    const asked = () => requests.mock.calls.map(([some]) => some.map((one) => one.words()));
    insert("192.0.2.1", 82, CUT);
    insert("192.0.2.2", 81);
    const through = [hep, forwarded("Allow")];
    cutter.enforced(state(...through, allowsWeb(81)));
    await until(() => asked().length > 0);
    cutter.enforced(state(...through, allowsWeb(80)));
    await expectMarks({ 81: CUT, 82: CUT });
    const [all, ofCut] = asked();
    expect(all).toHaveLength(3);
    expect(ofCut).toEqual(["192.0.2.1", POD].map((to) => `ask for the way to ${to}`));
  });
});
