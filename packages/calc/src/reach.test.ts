import { expect, test } from "@jest/globals";
import { formatAddress, parseAddress, parsePrefix } from "@margay/net";
import type { Pool } from "./model.ts";
import { IMPLEMENTED_WAYS, reach, type Way } from "./reach.ts";

const node = (name: string, text: string) => ({
  name,
  addresses: [{ address: parseAddress(text.split("/")[0] ?? ""), subnet: parsePrefix(text, { mask: true }) }],
});
const nodes = [node("n1", "172.20.0.11/24"), node("n2", "172.20.0.12/24"), node("n3", "172.20.9.13/24")];
const all: ReadonlySet<Way> = new Set<Way>(["bgp", "static", "vxlan"]);
const pool = (vxlanMode: Pool["vxlanMode"]) => [
  { name: "p", cidr: parsePrefix("10.0.0.0/16"), natOutgoing: false, vxlanMode },
];

test.each<[why: string, mode: Pool["vxlanMode"], owner: string, ways: ReadonlySet<Way>, expected: object[]]>([
  ["own blocks are not remote", "Always", "n1", all, []],
  [
    "without encapsulation bgpd learns and writes the route",
    "Never",
    "n2",
    all,
    [{ way: "bgp", daemon: "bgpd" }],
  ],
  [
    "vxlanMode Always: the agent, to the owner's address",
    "Always",
    "n2",
    all,
    [{ way: "vxlan", daemon: "agent", via: "172.20.0.12" }],
  ],
  [
    "CrossSubnet, same subnet: a plain route",
    "CrossSubnet",
    "n2",
    all,
    [{ way: "static", daemon: "agent", via: "172.20.0.12" }],
  ],
  [
    "CrossSubnet, across subnets: encapsulated",
    "CrossSubnet",
    "n3",
    all,
    [{ way: "vxlan", daemon: "agent", via: "172.20.9.13" }],
  ],
  [
    "a way that is not implemented: BGP, and what was wanted",
    "Always",
    "n2",
    IMPLEMENTED_WAYS,
    [{ way: "bgp", daemon: "bgpd", wanted: "vxlan" }],
  ],
  ["an owner that is not known any more", "Never", "gone", all, [{ way: "bgp", daemon: "bgpd" }]],
])("%s", (_why, mode, owner, ways, expected) => {
  const blocks = [{ cidr: parsePrefix("10.0.1.0/26"), node: owner }];
  const found = reach({ node: "n1", blocks, nodes, pools: pool(mode), ways });
  expect(
    found.map(({ block: _block, node: _node, via, ...rest }) => ({
      ...rest,
      ...(via && { via: formatAddress(via) }),
    })),
  ).toEqual(expected);
});
