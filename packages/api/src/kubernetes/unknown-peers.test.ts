import { expect, test } from "@jest/globals";
import { closedPolicies } from "./closed.ts";

const POD = 'projectcalico.org/orchestrator == "k8s"';
const any = { namespaces: {} };
const ANY = { selector: POD, namespaceSelector: "all()" };
const stranger = { tenants: {} };
const rules = (accept: string) => ({
  subject: any,
  ingress: [
    { action: accept, from: [any, stranger] },
    { action: "Deny", from: [stranger], name: "strangers" },
    { action: accept, from: [any] },
  ],
  egress: [
    { action: accept, to: [{ networks: ["10.0.0.0/8"] }] },
    { action: "Deny", to: [stranger] },
  ],
});
const BY_RULE = {
  ingress: [
    { action: "Deny", metadata: { annotations: { name: "strangers" } } },
    { action: "Allow", source: ANY },
  ],
  egress: [{ action: "Allow", destination: { nets: ["10.0.0.0/8"] } }, { action: "Deny" }],
};

test.each<[kind: keyof typeof closedPolicies, spec: object, place: object]>([
  [
    "ClusterNetworkPolicy",
    { tier: "Admin", priority: 3, ...rules("Accept") },
    { tier: "kube-admin", order: 3 },
  ],
  ["AdminNetworkPolicy", { priority: 3, ...rules("Allow") }, { tier: "kube-admin", order: 3 }],
  ["BaselineAdminNetworkPolicy", rules("Allow"), { tier: "kube-baseline" }],
])(
  "%s: of peers that are not known a rule to accept is gone, one to deny denies all, the others stand",
  (kind, spec, place) => {
    const byRule = closedPolicies[kind].closeByRule?.({ metadata: { name: "p" }, spec });
    expect(byRule).toMatchObject({ kind: "GlobalNetworkPolicy", spec: { ...place, ...ANY, ...BY_RULE } });
  },
);

const cluster = (spec: object) =>
  closedPolicies.ClusterNetworkPolicy.closeByRule?.({
    metadata: { name: "p" },
    spec: { tier: "Admin", priority: 3, subject: any, ...spec },
  });

test("one to pass denies all: nobody knows whom it would have sent on", () => {
  expect(cluster({ ingress: [{ action: "Pass", from: [stranger] }] })).toMatchObject({
    spec: { types: ["Ingress"], ingress: [{ action: "Deny" }] },
  });
});

test.each<[why: string, spec: object]>([
  ["no peer is unknown", { ingress: [{ action: "Accept", from: [any], protocols: [{ icmp: {} }] }] }],
  ["something else is wrong too", { priority: -1, ingress: [{ action: "Deny", from: [stranger] }] }],
  [
    "another rule cannot be read",
    {
      egress: [
        { action: "Deny", to: [stranger] },
        { action: "Maybe", to: [any] },
      ],
    },
  ],
  ["its subject is not known", { subject: stranger, egress: [{ action: "Deny", to: [stranger] }] }],
])("not by rule: %s", (_why, spec) => {
  expect(cluster(spec)).toBeUndefined();
});
