import { hash } from "node:crypto";
import type { Family } from "@margay/net";

/**
 * Names of our chains (at most 28 characters) and sets (at most 31). What has no short name of its own is named by a
 * hash: names of policies are up to 317 characters, and one user may not be able to collide with another's.
 */
export const chains = {
  forward: "margay-forward",
  input: "margay-input",
  output: "margay-output",
  workloadToHost: "margay-wl-to-host",
  fromWorkload: "margay-from-wl",
  toWorkload: "margay-to-wl",
  fromCohort: "margay-from-cohort",
  toCohort: "margay-to-cohort",
  /** Where packets are checked that then go to the chain `decision`. */
  checked: (decision: string): string => decision.replace("margay-wo-", "margay-fc-"),
  begin: "margay-begin",
  allow: "margay-allow",
  pass: "margay-pass",
  prerouting: "margay-prerouting",
  rawOutput: "margay-raw-output",
  preDnat: "margay-pre-dnat",
  natOutgoing: "margay-nat-outgoing",
  dscp: "margay-dscp",
  dnsAnswers: "margay-dns-answers",
  floating: "margay-floating",
  /** Of those in a network. */
  floatingTo: (net: string): string => `margay-ft-${digest(net)}`,
  floatingFrom: (net: string): string => `margay-ff-${digest(net)}`,
  /** Chains of host endpoints: one that finds the endpoint, and one for each, by place (`HostPlace`). */
  hostRoot: (place: string): string => `margay-hep-${place}`,
  /** `*` has no suffix, which no interface can be called. iptables-restore takes no quote in the name of a chain, and counts bytes. */
  host: (place: string, interfaceName: string): string => {
    if (interfaceName === "*") return `margay-h${place}`;
    return `margay-h${place}-${/["\x80-\uffff]/.test(interfaceName) ? digest(interfaceName) : interfaceName}`;
  },
  failsafe: (direction: string): string => `margay-failsafe-${direction}`,
  /** `policy` is the id of a policy or profile. */
  ingress: (policy: string): string => `margay-in-${digest(policy)}`,
  egress: (policy: string): string => `margay-out-${digest(policy)}`,
  /** Of the chains of several policies, in order. */
  group: (direction: "ingress" | "egress", policies: readonly { readonly name: string }[]): string =>
    `margay-${direction === "ingress" ? "gi" : "go"}-${digest(policies.map(({ name }) => name).join(" "))}`,
  /** Of all that decides about some workloads' packets; `text` says what that is. */
  decision: (direction: "ingress" | "egress", text: string): string =>
    `margay-${direction === "ingress" ? "wi" : "wo"}-${digest(text)}`,
  /** Of what is asked behind all tiers. */
  rest: (direction: "ingress" | "egress", text: string): string =>
    `margay-${direction === "ingress" ? "ri" : "ro"}-${digest(text)}`,
  /** `interfaceName` is at most 15 characters. */
  from: (interfaceName: string): string => `margay-fw-${interfaceName}`,
  to: (interfaceName: string): string => `margay-tw-${interfaceName}`,
  connections: (interfaceName: string): string => `margay-cl-${interfaceName}`,
  rateFrom: (interfaceName: string): string => `margay-rf-${interfaceName}`,
  rateTo: (interfaceName: string): string => `margay-rt-${interfaceName}`,
  codePoint: (interfaceName: string): string => `margay-cp-${interfaceName}`,
  reversePath: (interfaceName: string): string => `margay-rp-${interfaceName}`,
  sources: (interfaceName: string): string => `margay-src-${interfaceName}`,
} as const;

export const sets = {
  /** A selector's or named port's set. */
  selected: (id: string, family: Family): string => `margay${family}-s-${digest(id)}`,
  /** A list of networks, named by what is in it. */
  nets: (members: Iterable<string>, family: Family): string =>
    `margay${family}-n-${digest([...members].join(" "))}`,
  /** Pools whose packets are masqueraded, all pools, all hosts. */
  masquerade: (family: Family): string => `margay${family}-masq-pools`,
  pools: (family: Family): string => `margay${family}-all-pools`,
  hosts: (family: Family): string => `margay${family}-all-hosts`,
  services: (family: Family): string => `margay${family}-services`,
  /** Whose address is whose interface's, and whose MAC's. */
  addresses: (family: Family): string => `margay${family}-pod-addresses`,
  macs: (family: Family): string => `margay${family}-pod-macs`,
} as const;

/** 64 bits in 16 characters. */
const digest = (text: string): string => hash("sha256", text, "hex").slice(0, 16);
