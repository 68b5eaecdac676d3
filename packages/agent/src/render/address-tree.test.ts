import { expect, test } from "@jest/globals";
import type { Chain, Rule } from "@margay/iptables";
import { type Address, contains, formatAddress, parseAddress, parsePrefix } from "@margay/net";
import { addressTree } from "./address-tree.ts";

const own = (address: Address): Rule => ({ match: ["-d", formatAddress(address)], target: ["-j", "X"] });
const treeOf = (addresses: readonly Address[]) =>
  addressTree(
    addresses.map((address) => ({ address, rules: [own(address)] })),
    { root: "root", word: "-d", chainOf: ({ bits, length }) => `${bits}/${length}` },
  );

/** What a packet to an address comes to, and how many rules it is asked. */
function walk(chains: ReadonlyMap<string, Chain>, to: Address) {
  let [asked, at] = [0, "root"];
  for (;;) {
    const rules = chains.get(at)?.rules ?? [];
    const hit = rules.findIndex(({ match: [, net = ""] }) =>
      contains(parsePrefix(net.includes("/") ? net : `${net}/${to.family === 4 ? 32 : 128}`), to),
    );
    const rule = rules[hit];
    asked += rule ? hit + 1 : rules.length;
    if (rule?.target[0] !== "-g") return { asked, found: rule?.match[1] };
    at = rule.target[1] ?? "";
  }
}

test.each([
  ["one network's", (n: number) => `203.0.113.${n % 250}`, 200, 20],
  ["far apart", (n: number) => `${1 + (n % 220)}.${(n * 7) % 256}.0.${n % 256}`, 1000, 40],
  ["of IPv6", (n: number) => `fd00::${(n * 13).toString(16)}:${n.toString(16)}`, 1000, 50],
])(
  "each address finds its own rule, and others none, of addresses that are %s",
  (_what, text, count, most) => {
    const addresses = Array.from({ length: count }, (_, n) => parseAddress(text(n)));
    const chains = treeOf(addresses);
    for (const address of addresses) {
      const { found, asked } = walk(chains, address);
      expect(found).toBe(formatAddress(address));
      expect(asked).toBeLessThanOrEqual(most);
    }
    const nobody = parseAddress(addresses[0]?.family === 4 ? "192.0.2.255" : "fd01::1");
    expect(walk(chains, nobody).found).toBeUndefined();
  },
);

test("few addresses are one chain, and one address twice needs no other", () => {
  const one = parseAddress("203.0.113.1");
  expect([...treeOf([one]).keys()]).toEqual(["root"]);
  expect([...treeOf(Array.from({ length: 20 }, () => one)).keys()]).toEqual(["root"]);
});
