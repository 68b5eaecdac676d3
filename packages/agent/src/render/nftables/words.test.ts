import { expect, test } from "@jest/globals";
import { translateRule } from "./words.ts";

const names = {
  setName: (name: string) => `@${name}`,
  kindOf: (name: string) => name,
  portSet: (list: string) => `ports ${list}`,
};
const words = (text: string): string[] => (text === "" ? [] : text.split(" "));
const translated = (match: string, target: string) =>
  translateRule({ match: words(match), target: words(target), id: "i" }, "filter", names);

/** What the property test's universe has not: each row is a form that the renderer may use. */
test.each<[match: string, target: string, expected: object]>([
  [
    "-m set --match-set interfaces src,dst",
    "-j RETURN",
    { match: [{ match: "set", set: "@interfaces", fields: ["saddr", "oifname"] }] },
  ],
  [
    "-m set ! --match-set macs src,src",
    "-j DROP",
    { match: [{ match: "set", set: "@macs", fields: ["saddr", "ether saddr"], not: true }] },
  ],
  ["-m devgroup --dst-group 7", "-j DROP", { match: [{ match: "oifgroup", number: 7 }] }],
  ["-m rpfilter --validmark --invert", "-j DROP", { match: [{ match: "reverse path", not: true }] }],
  [
    "-m rpfilter --loose --validmark --invert",
    "-j DROP",
    { match: [{ match: "reverse path", loose: true, not: true }] },
  ],
  [
    "-m rpfilter --validmark -i eth0",
    "-j DROP",
    { match: [{ match: "reverse path" }, { match: "iifname", name: "eth0" }] },
  ],
  ["-i +", "-j DROP", { match: [] }],
  ["-o eth+", "-j DROP", { match: [{ match: "oifname", name: "eth*" }] }],
  [
    "-p tcp ! --sport 80:90",
    "",
    { match: [{ number: 6 }, { match: "sport", first: 80, last: 90, not: true }] },
  ],
  [
    "-p udplite -m multiport --dports 80",
    "",
    { match: [{ number: 136 }, { match: "dport", first: 80, last: 80 }] },
  ],
  [
    "-p tcp -m multiport ! --dports 80,443",
    "",
    { match: [{}, { match: "set", set: "ports 80,443", fields: ["dport"], not: true }] },
  ],
  [
    "-m set ! --match-set s dst,dst",
    "",
    { match: [{ set: "@s", fields: ["daddr", "protocol", "dport"], not: true }] },
  ],
  ["-m limit --limit 10/sec", "", { match: [{ match: "limit", rate: 10, per: "second", burst: 5 }] }],
  ["-m limit --limit 3/minute --limit-burst 9", "", { match: [{ rate: 3, per: "minute", burst: 9 }] }],
  [
    "-m connmark --mark 0x40000/0x40000",
    "",
    { match: [{ match: "ct mark", value: 0x40000, mask: 0x40000 }] },
  ],
  ["-m mark --mark 0x1", "", { match: [{ match: "mark", value: 1, mask: 0xffffffff }] }],
  ["-m addrtype --dst-type LOCAL", "", { match: [{ match: "daddr type", type: "local" }] }],
  [
    "-m conntrack ! --ctstate RELATED,ESTABLISHED",
    "",
    { match: [{ states: ["related", "established"], not: true }] },
  ],
  [
    "-p ipv6-icmp -m icmp6 --icmpv6-type 1/4",
    "",
    { match: [{ number: 58 }, { match: "icmp", type: 1, code: 4 }] },
  ],
  [
    "-p udp -m conntrack --ctdir REPLY --ctorigdstport 53",
    "-j NFQUEUE --queue-num 7 --queue-bypass",
    {
      match: [
        { number: 17 },
        { match: "ct direction", direction: "reply" },
        { match: "ct original dport", port: 53 },
      ],
      action: { do: "queue", number: 7 },
    },
  ],
  ["", "-j CT --notrack", { action: { do: "notrack" } }],
  ["", "-j REJECT", { action: { do: "reject" } }],
  ["", "-j REJECT --reject-with tcp-reset", { action: { do: "reject tcp" } }],
  [
    "",
    "-j MASQUERADE --to-ports 1000-2000 --random-fully",
    { action: { do: "masquerade", ports: { first: 1000, last: 2000 }, random: true } },
  ],
  [
    "",
    "-j SNAT --to-source 192.0.2.1:7",
    { action: { do: "snat", address: "192.0.2.1", ports: { first: 7, last: 7 } } },
  ],
  ["", "-j SNAT --to-source [fd00::1]:7-9", { action: { address: "fd00::1", ports: { first: 7, last: 9 } } }],
  ["", "-j SNAT --to-source fd00::1", { action: { address: "fd00::1", ports: undefined } }],
  ["", "-g margay-allow", { action: { do: "goto", chain: "filter-allow" } }],
])("%s %s", (match, target, expected) =>
  expect(translated(match, target)).toMatchObject({ ...expected, id: "i" }),
);

test.each([
  ["-m owner --uid-owner 0", ""],
  ["--tcp-flags SYN SYN", ""],
  ["-m set --match-set s src,dst", ""],
  ["-m rpfilter --accept-local --invert", ""],
  ["-m limit --limit 3/fortnight", ""],
  ["", "-j TEE --gateway 10.0.0.1"],
  ["", "-j NFQUEUE"],
  ["", "-j CT --zone 1"],
  ["", "-j DROP --really"],
])("a word that nobody taught it is refused, never left out: %s %s", (match, target) =>
  expect(() => translated(match, target)).toThrow(expect.objectContaining({ code: "unknown-word" })),
);
