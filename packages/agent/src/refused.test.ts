import { expect, test } from "@jest/globals";
import { IptablesError } from "@margay/iptables";
import { NetlinkError } from "@margay/netlink";
import { refusedChain } from "./refused.ts";

const RULE = "add rule np/x/p/in/0 to chain filter-in-p (IPv4)";
const said = (code: "rejected" | "exhausted") =>
  new IptablesError(code, { tool: "iptables-restore", reason: "", text: "-A margay-in-p -j LOG" });

test.each<[why: string, error: Error, chain: string | undefined]>([
  ["the rule is wrong", new NetlinkError("EINVAL", RULE), "margay-in-p"],
  ["an old kernel has no such expression", new NetlinkError("EOPNOTSUPP", RULE), "margay-in-p"],
  ["its module is not there", new NetlinkError("ENOENT", RULE), "margay-in-p"],
  ["no memory: any rule would have met it", new NetlinkError("ENOMEM", RULE), undefined],
  ["no room in the socket", new NetlinkError("ENOBUFS", RULE), undefined],
  ["a signal came", new NetlinkError("EINTR", RULE), undefined],
  ["no rule at all", new NetlinkError("EINVAL", "add chain filter-in-p (IPv4)"), undefined],
  ["iptables refused the line", said("rejected"), "margay-in-p"],
  ["iptables had no memory", said("exhausted"), undefined],
])("whose chain: %s", (_why, error, chain) => {
  expect(refusedChain(error)).toBe(chain);
});
