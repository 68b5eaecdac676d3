import { hash } from "node:crypto";

/**
 * Parts of a packet that a set or a map may be asked for. `protocol` is the transport protocol's number, `iifgroup` the group that
 * `ip link set ... group` gave the interface; `ether saddr` is found in no frame without MACs.
 */
export type Field =
  | ("saddr" | "daddr" | "protocol" | "sport" | "dport")
  | ("iifname" | "oifname" | "iifgroup" | "oifgroup")
  | "ether saddr";

export type CtState = "invalid" | "new" | "established" | "related" | "untracked";

/** What a packet must be. All of a rule's matches have to hold; `not` turns one round. */
export type Match = { readonly not?: boolean } /** A `*` at the end stands for any rest. */ & (
  | { readonly match: "iifname" | "oifname"; readonly name: string }
  /** The group of the interface, as `ip link` shows it. */
  | { readonly match: "iifgroup" | "oifgroup"; readonly number: number }
  /** An address or a network, as text. */
  | { readonly match: "saddr" | "daddr"; readonly net: string }
  | { readonly match: "protocol"; readonly number: number }
  | { readonly match: "sport" | "dport"; readonly first: number; readonly last: number }
  /** ICMP or ICMPv6; the rule must match the protocol too. */
  | { readonly match: "icmp"; readonly type: number; readonly code?: number | undefined }
  /** The fields together are a member of a set of this table. */
  | { readonly match: "set"; readonly fields: readonly Field[]; readonly set: string }
  | { readonly match: "ct state"; readonly states: readonly CtState[] }
  /** The packet goes with the connection's first one, or against it; and the port that this was sent to, before NAT. */
  | { readonly match: "ct direction"; readonly direction: "original" | "reply" }
  | { readonly match: "ct original dport"; readonly port: number }
  | { readonly match: "mark" | "ct mark"; readonly value: number; readonly mask: number }
  /** Never holds, and so is never refused, where frames have no MAC; lower case with colons. */
  | { readonly match: "ether saddr"; readonly mac: string }
  /** The way back to the source leads out of the interface that the packet came in by (RFC 3704 §2.2); loose: there is one (§2.4). */
  | { readonly match: "reverse path"; readonly loose?: boolean }
  /** What kind of address the routing table says it is. */
  | { readonly match: "saddr type" | "daddr type"; readonly type: "local" | "unicast" | "broadcast" }
  /** At most so many packets; `burst` of them at once. */
  | {
      readonly match: "limit";
      readonly rate: number;
      readonly per: "second" | "minute" | "hour" | "day";
      readonly burst: number;
    }
  /** This packet's connection makes more than so many that came by this rule; the rule keeps count. */
  | { readonly match: "ct count over"; readonly count: number }
);

/** Source or destination ports; one value when `first` is `last`. */
export interface Ports {
  readonly first: number;
  readonly last: number;
}

/** What is done with the packet. All but the last kind end the chain, or continue elsewhere. */
export type Action =
  | { readonly do: "accept" | "drop" | "return" | "reject" | "reject tcp" }
  | { readonly do: "jump" | "goto"; readonly chain: string }
  /** The map says where to go; without an entry the next rule is asked. */
  | { readonly do: "vmap"; readonly fields: readonly Field[]; readonly map: string }
  | { readonly do: "masquerade"; readonly ports?: Ports | undefined; readonly random?: boolean }
  | {
      readonly do: "snat" | "dnat";
      readonly address: string;
      readonly ports?: Ports | undefined;
      readonly random?: boolean;
    }
  /** mark := (mark and not mask) xor value; of the packet, or of its connection. */
  | { readonly do: "set mark" | "set ct mark"; readonly value: number; readonly mask: number }
  /** Differentiated services code point, 0 to 63 (RFC 2474). */
  | { readonly do: "set dscp"; readonly value: number }
  /** Syslog level 0 to 7. */
  | { readonly do: "log"; readonly prefix: string; readonly level: number }
  | { readonly do: "notrack" }
  /** To the process that listens to the queue, which decides; without one it is accepted in this hook. */
  | { readonly do: "queue"; readonly number: number };

export interface Rule {
  readonly match: readonly Match[];
  /** None: the rule only counts. */
  readonly action?: Action | undefined;
  /** Stable id, kept in the rule's comment; rules that have one count packets and bytes. */
  readonly id?: string | undefined;
}

/** The kernel's 256 bytes of user data hold type, length, `margay:`, 14, a space, this and a NUL. */
const ID_LENGTH = 231;

/** What tells one rule from another: in its comment, since the kernel's expressions are not read back. */
export function ruleHash(rule: Rule): string {
  const known = hashes.get(rule);
  if (known) return known;
  const made = digest(JSON.stringify([rule.match, rule.action, rule.id])).slice(0, 14);
  hashes.set(rule, made);
  return made;
}

const hashes = new WeakMap<Rule, string>();

/** The id as a comment can hold it: printable ASCII, the end of a too long one replaced by its hash: as in iptables. */
export function commentId(id: string): string {
  const clean = id.replace(/[^ -~]/g, "_");
  return clean.length <= ID_LENGTH ? clean : `${clean.slice(0, ID_LENGTH - 17)}~${digest(id).slice(0, 16)}`;
}

const digest = (text: string): string => hash("sha256", text, "base64url");
