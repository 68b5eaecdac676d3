import { expect, test } from "@jest/globals";
import type { Rule } from "@margay/api";
import { compile } from "./compile.ts";

/** The schemas refuse these; what an older version stored may hold them. */
test.each<[why: string, rule: Rule, problem: string]>([
  [
    "a service of no namespace",
    { action: "Deny", source: { services: { name: "s" } } } as Rule, // no more of it is read
    "service s needs a namespace",
  ],
  [
    "ports without a protocol",
    { action: "Deny", destination: { ports: [80] } } as Rule,
    "port 80 needs protocol TCP, UDP or SCTP",
  ],
  [
    "types of ICMP for another protocol",
    { action: "Deny", protocol: "TCP", notICMP: { type: 8 } } as Rule,
    "an ICMP match needs protocol ICMP or ICMPv6",
  ],
])(
  "a rule that cannot be said closes its policy both ways, with what is in it beside: %s",
  (_why, rule, problem) => {
    const open: Rule = { action: "Allow" } as Rule;
    const { policy } = compile({ id: "gnp/p", ingress: [open, rule], egress: [open] });
    expect(policy.problem).toBe(problem);
    for (const direction of ["ingress", "egress"] as const)
      expect(policy[direction]).toMatchObject([
        { action: "deny", source: { nets: [] }, destination: { sets: [] } },
      ]);
  },
);
