import { expect, test } from "@jest/globals";
import { resource, stateWith } from "../testing/pods.ts";
import { renderNftables } from "./index.ts";

const POLICY = {
  selector: "has(role)",
  applyOnForward: true,
  types: ["Ingress"],
  ingress: [{ action: "Deny" }],
};
/** With a reason for each hook that there is. */
const everything = (felix: object) =>
  stateWith([
    resource("FelixConfiguration", "default", { floatingIPs: "Enabled", ...felix }),
    resource("IPPool", "p", { cidr: "10.244.0.0/16", natOutgoing: true }),
    resource("HostEndpoint", "h", { node: "n1", interfaceName: "*" }, { role: "host" }),
    resource("GlobalNetworkPolicy", "u", { ...POLICY, doNotTrack: true, types: ["Ingress", "Egress"] }),
    resource("GlobalNetworkPolicy", "n", { ...POLICY, preDNAT: true }),
  ]);

const hooksOf = (felix: object) =>
  [...renderNftables(everything(felix))].flatMap(([key, item]) =>
    item.kind === "chain" && item.base && key.startsWith("4")
      ? [`${item.base.hook} ${item.base.type} ${item.base.priority}`]
      : [],
  );

/** iptables' own: raw -300, mangle -150, nat -100 and 100, filter 0; the kernel tracks connections at -200. */
test.each([
  [
    "Insert",
    [
      "prerouting filter -310",
      "output filter -310",
      "prerouting filter -160",
      "forward filter -10",
      "input filter -10",
      "output filter -10",
      "postrouting nat 90",
    ],
  ],
  [
    "Append",
    [
      "prerouting filter -290",
      "output filter -290",
      "prerouting filter -140",
      "forward filter 10",
      "input filter 10",
      "output filter 10",
      "postrouting nat 110",
    ],
  ],
])(
  "chainInsertMode %s: before the rules of iptables in each hook, or behind them",
  (chainInsertMode, hooks) => expect(hooksOf({ chainInsertMode })).toEqual(hooks),
);
