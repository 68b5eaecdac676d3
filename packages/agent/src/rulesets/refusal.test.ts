import { expect, test } from "@jest/globals";
import { IptablesError } from "@margay/iptables";
import { NetlinkError } from "@margay/netlink";
import { type Refusal, refusalOf } from "./refusal.ts";

const RULE = "add rule fq8_RrR0ZkmJsD np/x/p/in/0 to chain filter-in-p (IPv4)";
const RULE_IN_P: Refusal = { kind: "rule", family: 4, chain: "filter-in-p", rule: "fq8_RrR0ZkmJsD" };
const said = (code: "rejected" | "exhausted", text?: string) =>
  new IptablesError(code, { tool: "iptables-restore", reason: "", ...(text !== undefined && { text }) });
const LINE = "-A margay-in-p -j LOG";
const INSERTED = '-I margay-to-wl 3 -m comment --comment "margay:fq8_RrR0ZkmJsDkh a" -o cali1 -j DROP';

test.each<[why: string, error: Error, refusal: Refusal | undefined]>([
  ["the rule is wrong", new NetlinkError("EINVAL", RULE), RULE_IN_P],
  ["an old kernel has no such expression", new NetlinkError("EOPNOTSUPP", RULE), RULE_IN_P],
  ["its module is not there", new NetlinkError("ENOENT", RULE), RULE_IN_P],
  ["no memory: any rule would have met it", new NetlinkError("ENOMEM", RULE), undefined],
  ["no room in the socket", new NetlinkError("ENOBUFS", RULE), undefined],
  ["a signal came", new NetlinkError("EINTR", RULE), undefined],
  ["no rule at all", new NetlinkError("EINVAL", "add chain filter-in-p (IPv4)"), undefined],
  ["iptables refused a line", said("rejected", LINE), { kind: "line", chain: "margay-in-p", text: LINE }],
  [
    "iptables refused a line that was to stand between others",
    said("rejected", INSERTED),
    { kind: "line", chain: "margay-to-wl", text: INSERTED },
  ],
  ["iptables had no memory", said("exhausted", LINE), undefined],
  ["iptables named no line", said("rejected"), undefined],
  [
    "ipset refused a member",
    said("rejected", "add margay4-s-1 0.0.0.0,tcp:1"),
    { kind: "member", set: "margay4-s-1", member: "0.0.0.0,tcp:1" },
  ],
  [
    "ipset refused a set",
    said("rejected", "create margay4-s-1 hash:net family inet maxelem 0"),
    { kind: "member", set: "margay4-s-1", member: undefined },
  ],
])("what was refused: %s", (_why, error, refusal) => {
  expect(refusalOf(error)).toEqual(refusal);
});
