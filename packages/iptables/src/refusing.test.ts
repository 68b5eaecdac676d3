import { expect, test } from "@jest/globals";
import { refusing } from "./refusing.ts";
import { markOf } from "./rule.ts";
import { parseSave } from "./save.ts";

const PREFIX = "margay-";
const KUBELET = [
  ":KUBE-FIREWALL - [0:0]",
  "-A OUTPUT -j KUBE-FIREWALL",
  '-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -j DROP',
];
const KUBE_PROXY = [
  ":KUBE-FORWARD - [0:0]",
  '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
  "-A KUBE-FORWARD -m conntrack --ctstate INVALID -m nfacct --nfacct-name ct_state_invalid_dropped_pkts -j DROP",
];
const FLANNEL = [
  ":FLANNEL-FWD - [0:0]",
  "-A FORWARD -j FLANNEL-FWD",
  "-A FLANNEL-FWD -s 10.244.0.0/16 -j ACCEPT",
];
const OURS = [
  ":margay-forward - [0:0]",
  '-A FORWARD -m comment --comment "margay:0123456789abcdef" -j margay-forward',
  "-A margay-forward -j DROP",
];

test.each<[why: string, lines: readonly string[], found: string | undefined, policy?: string]>([
  ["nobody", [], undefined],
  ["Docker's and ufw's policy", [], "policy DROP of FORWARD", "DROP"],
  ["our own rules", OURS, undefined],
  ["kubelet's, which are everywhere and refuse only martians", KUBELET, undefined],
  ["kube-proxy's in its mode of iptables, which are meant", KUBE_PROXY, undefined],
  [
    "what kube-router and k3s leave behind",
    [
      ":KUBE-ROUTER-FORWARD - [0:0]",
      "-A FORWARD -j KUBE-ROUTER-FORWARD",
      "-A KUBE-ROUTER-FORWARD -d 10.42.0.6/32 -j REJECT",
    ],
    "-A KUBE-ROUTER-FORWARD -d 10.42.0.6/32 -j REJECT",
  ],
  ["flannel's, which only let pass", FLANNEL, undefined],
  [
    "a firewall's",
    ["-A INPUT -p tcp -m tcp --dport 22 -j REJECT"],
    "-A INPUT -p tcp -m tcp --dport 22 -j REJECT",
  ],
  ["a target that we do not know", ["-A FORWARD -j TARPIT"], "-A FORWARD -j TARPIT"],
  ["by goto", [":x - [0:0]", "-A FORWARD -g x", "-A x -j DROP"], "-A x -j DROP"],
  ["a chain that nobody calls", [":x - [0:0]", "-A x -j DROP"], undefined],
  [
    "chains that call each other in a circle are read once",
    [":x - [0:0]", "-A FORWARD -j x", "-A x -j x"],
    undefined,
  ],
  ["a comment that reads like a target", ['-A FORWARD -m comment --comment "then -j DROP"'], undefined],
  ["a rule that counts, one that logs", ["-A FORWARD -p tcp", "-A FORWARD -j LOG --log-prefix x"], undefined],
])("may refuse: %s", (_why, lines, found, policy = "ACCEPT") => {
  const builtins = [":INPUT ACCEPT [0:0]", `:FORWARD ${policy} [0:0]`, ":OUTPUT ACCEPT [0:0]"];
  const text = ["*filter", ...builtins, ...lines, "COMMIT"].join("\n");
  expect(refusing(parseSave(text, markOf(PREFIX)), PREFIX)).toBe(found);
});
