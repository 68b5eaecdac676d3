import { expect, test } from "@jest/globals";
import { encode, type Kind, keyOf, parse } from "@margay/api";
import type { SyncUpdate } from "@margay/datastore";
import fc from "fast-check";
import { Intake } from "./intake.ts";
import { originated } from "./originate.ts";

/** What the datastore says of one resource; without a spec that it is gone. */
function update(kind: Kind, name: string, spec: object | undefined, more: object = {}): SyncUpdate {
  const metadata = { name, ...(kind === "WorkloadEndpoint" && { namespace: "default" }) };
  const document = { apiVersion: "margay.dev/v1", kind, metadata, spec: spec ?? {}, ...more };
  const key = keyOf(kind, name, kind === "WorkloadEndpoint" ? "default" : undefined);
  if (spec === undefined) return { key, entry: undefined } as SyncUpdate;
  return { key, entry: { key, value: encode(parse(document).resource), revision: 1 } } as SyncUpdate;
}

const affinity = (cidr: string, state: string | undefined) =>
  update(
    "BlockAffinity",
    `n1-${cidr.replace("/", "-")}`,
    state === undefined ? state : { state, node: "n1", type: "host", cidr },
  );
const pod = (name: string, ip: string | undefined, more: object = {}) =>
  update(
    "WorkloadEndpoint",
    name,
    ip === undefined
      ? ip
      : {
          ...{
            orchestrator: "k8s",
            node: "n1",
            endpoint: "eth0",
            interfaceName: "cali1",
            ipNetworks: ip.split(" "),
          },
          ...more,
        },
  );
const pool = (disableBGPExport: boolean) => update("IPPool", "p", { cidr: "10.0.0.0/8", disableBGPExport });
const self = (podCIDRs: readonly string[]) =>
  update("Node", "n1", { bgp: { ipv4Address: "172.20.0.11/24" } }, { status: { podCIDRs } });
const localPeers = (isOn: boolean) =>
  update("BGPPeer", "pods", isOn ? { localWorkloadSelector: "all()", asNumber: 65401 } : undefined);

const floats = update("FelixConfiguration", "default", { floatingIPs: "Enabled" });

const intakeOf = (updates: readonly SyncUpdate[]) => {
  const intake = new Intake({ node: "n1", onCorrupt: () => {}, secret: () => undefined });
  intake.apply(updates);
  return intake;
};

/** All that the engine is told, as text. */
function told(intake: Intake): string {
  const { origins, peers } = intake.wanted();
  const numbers = (_: string, value: unknown) => (typeof value === "bigint" ? `${value}` : value);
  return JSON.stringify([[...originated(origins).keys()].sort(), [...peers]], numbers);
}

test("a pod in a block that is announced concerns nobody, one that borrowed its address everybody", () => {
  const intake = intakeOf([pool(false), self([]), affinity("10.0.0.0/26", "confirmed")]);
  intake.wanted();
  expect(intake.apply([pod("a", "10.0.0.1/32")])).toBe(false);
  expect(intake.apply([pod("b", "10.0.0.65/32")])).toBe(true);
  expect(intake.apply([pod("b", undefined)])).toBe(true);
  expect(intake.apply([pod("a", undefined)])).toBe(false);
});

test("a pod in a block that is being claimed is not announced by itself: the block is, in a moment", () => {
  const intake = intakeOf([
    pool(false),
    self([]),
    affinity("10.0.0.0/26", "pending"),
    pod("a", "10.0.0.1/32"),
  ]);
  expect([...originated(intake.wanted().origins).keys()]).toEqual([]);
  intake.apply([affinity("10.0.0.0/26", "confirmed")]);
  expect([...originated(intake.wanted().origins).keys()]).toEqual(["10.0.0.0/26"]);
});

test("the last pod in a range of Kubernetes takes that range along", () => {
  const intake = intakeOf([pool(false), self(["10.9.0.0/24"]), pod("a", "10.9.0.1/32")]);
  expect(told(intake)).toContain("10.9.0.0/24");
  expect(intake.apply([pod("a", undefined)])).toBe(true);
  expect(told(intake)).not.toContain("10.9.0.0/24");
});

test("whatever is said to concern nobody changes nothing that the engine is told", () => {
  const ip = fc.constantFrom(
    "10.0.0.1/32",
    "10.0.0.65/32",
    "10.9.0.1/32",
    "10.0.0.2/32 10.0.0.66/32",
    undefined,
  );
  const floating = { ipNATs: [{ internalIP: "10.0.0.1", externalIP: "10.0.9.9" }] };
  const step = fc.oneof(
    fc.tuple(fc.constantFrom("a", "b"), ip).map(([name, one]) => pod(name, one)),
    fc.constant(pod("a", "10.0.0.1/32", floating)),
    fc.constantFrom("confirmed", "pending", undefined).map((state) => affinity("10.0.0.0/26", state)),
    fc.boolean().map(pool),
    fc.constantFrom([], ["10.9.0.0/24"]).map(self),
    fc.boolean().map(localPeers),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 14 }), (steps) => {
      const start = [pool(false), self(["10.9.0.0/24"]), affinity("10.0.0.0/26", "confirmed"), floats];
      const intake = intakeOf(start);
      let before = told(intake);
      for (const [i, one] of steps.entries()) {
        const concerns = intake.apply([one]);
        const now = told(intakeOf([...start, ...steps.slice(0, i + 1)]));
        if (!concerns) expect(now).toBe(before);
        if (concerns) expect(told(intake)).toBe(now);
        before = now;
      }
    }),
    { numRuns: 200 },
  );
});
