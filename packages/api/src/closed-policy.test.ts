import { expect, test } from "@jest/globals";
import { closedPolicy } from "./closed-policy.ts";

const deny = [{ action: "Deny" }];
const http = { action: "Allow", http: { methods: ["GET"] } };

test.each<[why: string, kind: string, spec: unknown, closed: object]>([
  [
    "what can be read of it stays, and only its rules are closed",
    "NetworkPolicy",
    { tier: "security", order: 7, selector: "app == 'a'", types: ["Ingress"], ingress: [http] },
    { tier: "security", order: 7, selector: "app == 'a'", types: ["Ingress"], ingress: deny },
  ],
  [
    "directions by its rules",
    "GlobalNetworkPolicy",
    { selector: "a == 'b'", egress: [{ action: "Maybe" }], serviceAccountSelector: "all()" },
    { selector: "a == 'b'", serviceAccountSelector: "all()", types: ["Egress"], egress: deny },
  ],
  [
    "a selector that cannot be read is everybody, an order that cannot is the first",
    "NetworkPolicy",
    { selector: "app ==", order: "first", types: ["Sideways"] },
    { selector: "all()", order: -1e9, types: ["Ingress", "Egress"], ingress: deny, egress: deny },
  ],
  [
    "what contradicts itself about forwarding is closed there, too",
    "GlobalNetworkPolicy",
    { selector: "a == 'b'", doNotTrack: true, preDNAT: true, applyOnForward: true },
    { selector: "a == 'b'", applyOnForward: true, doNotTrack: false, types: ["Ingress", "Egress"] },
  ],
  [
    "what decides before connection tracking closes there",
    "GlobalNetworkPolicy",
    { selector: "a == 'b'", doNotTrack: true, applyOnForward: true, ingress: [http] },
    { doNotTrack: true, applyOnForward: true, types: ["Ingress"], ingress: deny },
  ],
  [
    "no spec that can be read at all",
    "GlobalNetworkPolicy",
    "all",
    { types: ["Ingress", "Egress"], egress: deny },
  ],
])("%s", (_why, kind, spec, closed) => {
  const namespace = kind === "NetworkPolicy" ? { namespace: "shop" } : {};
  expect(closedPolicy(kind, { metadata: { name: "p", ...namespace }, spec })).toMatchObject({
    ...{ kind, metadata: { name: "p", ...namespace } },
    spec: closed,
  });
});

test.each([
  ["a kind that is not enforced", "StagedNetworkPolicy", "p"],
  ["a name that cannot be kept", "NetworkPolicy", "a.b.c"],
])("nothing stands for %s", (_why, kind, name) => {
  expect(closedPolicy(kind, { metadata: { name }, spec: {} })).toBeUndefined();
});
