import { describe, expect, test } from "@jest/globals";
import { type AnyResource, keyOf, parse } from "@margay/api";
import { Calc } from "@margay/calc";
import type { Chain } from "@margay/iptables";
import { type Family, parseAddress } from "@margay/net";
import { dispatchChains, entryOf, fromWorkload, gotoEntry } from "./dispatch.ts";
import { type Rendered, render, renderConfig } from "./index.ts";
import { type Walked, walk } from "./testing/walker.ts";

const resource = (
  kind: string,
  path: string,
  spec: object,
  labels: Record<string, string> = {},
): AnyResource => {
  const [name, namespace] = path.split("/").reverse();
  const metadata = { name, labels, ...(namespace !== undefined && { namespace }) };
  return parse({ apiVersion: "margay.dev/v1", kind, metadata, spec }).resource;
};

function rendered(...resources: readonly AnyResource[]): Rendered {
  const calc = new Calc("n1");
  calc.apply(
    resources.map((value) => ({
      key: keyOf(value.kind, value.metadata.name, value.metadata.namespace),
      value,
    })),
  );
  return render(calc.state());
}

const pod = (name: string, spec: object, labels: Record<string, string> = {}) =>
  resource(
    "WorkloadEndpoint",
    `a/${name}`,
    {
      orchestrator: "k8s",
      node: "n1",
      pod: name,
      endpoint: "eth0",
      profiles: ["kns.a"],
      interfaceName: `cali${name}`,
      ...spec,
    },
    labels,
  );
const everything = { ingress: [{ action: "Allow" }], egress: [{ action: "Allow" }] };
const namespace = resource("Profile", "kns.a", everything);
const felix = (spec: object) => resource("FelixConfiguration", "default", spec);

/** As iptables-save would show it, with the id in the comment's place. */
const show = (chains: ReadonlyMap<string, Chain>, wanted: RegExp): string[] =>
  [...chains]
    .filter(([key]) => wanted.test(key))
    .flatMap(([key, { rules }]) =>
      rules.map(({ match, target, id }) =>
        [key, ...match, ...target, ...(id === undefined ? [] : [`# ${id}`])].join(" "),
      ),
    );

describe("golden text", () => {
  const web = pod(
    "web",
    { ipNetworks: ["10.0.0.1/32", "fd00::1/128"], mac: "02:00:00:00:00:01" },
    { app: "web" },
  );
  const client = pod("client", { node: "n2", ipNetworks: ["10.0.1.1/32"] }, { app: "client" });
  const policy = resource("NetworkPolicy", "a/p", {
    selector: "app == 'web'",
    types: ["Ingress"],
    ingress: [
      { action: "Deny", source: { nets: ["10.0.1.0/24", "10.0.2.0/24"], notNets: ["10.0.1.1/32"] } },
      {
        action: "Allow",
        protocol: "TCP",
        source: { selector: "app == 'client'" },
        destination: { ports: [80, "8000:8080"] },
      },
      { action: "Allow", protocol: "ICMPv6", icmp: { type: 128 } },
    ],
  });
  const one = rendered(namespace, web, client, policy);

  test("the fixed chains", () => {
    expect(
      show(one.chains4, /margay-(forward|input|output|wl-to-host|begin|allow|pass|prerouting)$/),
    ).toEqual([
      "filter/margay-forward -i cali+ -m connmark --mark 0x40000/0x40000 -j DROP # conntrack/cut",
      "filter/margay-forward -o cali+ -m connmark --mark 0x40000/0x40000 -j DROP # conntrack/cut",
      "filter/margay-forward -i cali+ -j margay-from-wl",
      "filter/margay-forward -o cali+ -j margay-to-wl",
      "filter/margay-forward -i cali+ -j ACCEPT # workload/forwarded",
      "filter/margay-forward -o cali+ -j ACCEPT # workload/forwarded",
      "filter/margay-input -i cali+ -m connmark --mark 0x40000/0x40000 -j DROP # conntrack/cut",
      "filter/margay-input -i cali+ -g margay-wl-to-host",
      "filter/margay-output -o cali+ -j ACCEPT # host-to-workload/allow",
      "filter/margay-wl-to-host -j margay-from-wl",
      "filter/margay-wl-to-host -j DROP # workload-to-host/default",
      "filter/margay-begin -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT # conntrack/established",
      "filter/margay-begin -m conntrack --ctstate INVALID -j DROP # conntrack/invalid",
      "filter/margay-begin -j MARK --set-xmark 0x0/0x30000",
      "filter/margay-allow -j MARK --set-xmark 0x10000/0x10000",
      "filter/margay-pass -j MARK --set-xmark 0x20000/0x20000",
      "raw/margay-prerouting -i cali+ -m rpfilter --validmark --invert -j DROP # workload/reverse-path",
    ]);
    expect([...one.hooks4].map(([key, { rules }]) => [key, rules[0]?.target])).toEqual([
      ["raw/PREROUTING", ["-j", "margay-prerouting"]],
      ["filter/FORWARD", ["-j", "margay-forward"]],
      ["filter/INPUT", ["-j", "margay-input"]],
      ["filter/OUTPUT", ["-j", "margay-output"]],
    ]);
  });

  test("an endpoint", () => {
    expect(show(one.chains4, /margay-(from-wl|to-wl|[wr][io]-.*)$/)).toEqual([
      "filter/margay-wi-3bc574df0c82d9f4 -j margay-begin",
      "filter/margay-wi-3bc574df0c82d9f4 -m mark --mark 0x0/0x20000 -j margay-in-3a3252bc988ee580",
      "filter/margay-wi-3bc574df0c82d9f4 -m mark --mark 0x10000/0x10000 -j RETURN",
      "filter/margay-wi-3bc574df0c82d9f4 -m mark --mark 0x0/0x20000 -j DROP # tier/default/in/default",
      "filter/margay-wi-3bc574df0c82d9f4 -g margay-ri-8eae0b6238c30b15",
      "filter/margay-ri-8eae0b6238c30b15 -j margay-in-16fa8a6bad4038d5",
      "filter/margay-ri-8eae0b6238c30b15 -m mark --mark 0x10000/0x10000 -j RETURN",
      "filter/margay-ri-8eae0b6238c30b15 -j DROP # profiles/in/no-match",
      "filter/margay-wo-0e6291492d5d8276 -j margay-begin",
      "filter/margay-wo-0e6291492d5d8276 -g margay-ro-1eeb037e02ad1796",
      "filter/margay-ro-1eeb037e02ad1796 -j margay-out-16fa8a6bad4038d5",
      "filter/margay-ro-1eeb037e02ad1796 -m mark --mark 0x10000/0x10000 -j RETURN",
      "filter/margay-ro-1eeb037e02ad1796 -j DROP # profiles/out/no-match",
      "filter/margay-from-wl -i caliweb ! -s 10.0.0.1/32 -j DROP # workload/spoofed-address",
      "filter/margay-from-wl -i caliweb -m mac ! --mac-source 02:00:00:00:00:01 -j DROP # workload/spoofed-mac",
      "filter/margay-from-wl -i caliweb -o caliweb -j RETURN # workload/to-itself",
      "filter/margay-from-wl -i caliweb -g margay-wo-0e6291492d5d8276",
      "filter/margay-from-wl -j DROP # workload/unknown-interface",
      "filter/margay-to-wl -o caliweb -i caliweb -j RETURN # workload/to-itself",
      "filter/margay-to-wl -o caliweb -g margay-wi-3bc574df0c82d9f4",
      "filter/margay-to-wl -j DROP # workload/unknown-interface",
    ]);
  });

  test("a policy, in each family what applies there", () => {
    expect(show(one.chains4, /margay-in-3a/)).toEqual([
      "filter/margay-in-3a3252bc988ee580 -m set --match-set margay4-n-52034d2a0c9b74ac src -m set ! --match-set margay4-n-d66e6eaf9400d271 src -j DROP # np/a/p/in/0",
      "filter/margay-in-3a3252bc988ee580 -p tcp -m set --match-set margay4-s-68f011a182912f02 src -m multiport --dports 80,8000:8080 -g margay-allow # np/a/p/in/1",
    ]);
    expect(show(one.chains6, /margay-in-3a/)).toEqual([
      "filter/margay-in-3a3252bc988ee580 -p tcp -m set --match-set margay6-s-68f011a182912f02 src -m multiport --dports 80,8000:8080 -g margay-allow # np/a/p/in/1",
      "filter/margay-in-3a3252bc988ee580 -p ipv6-icmp -m icmp6 --icmpv6-type 128 -g margay-allow # np/a/p/in/2",
    ]);
  });

  test("its sets", () => {
    expect([...one.ipsets].map(([name, { type, members }]) => [name, type, ...members])).toEqual([
      ["margay4-n-52034d2a0c9b74ac", "hash:net", "10.0.1.0/24", "10.0.2.0/24"],
      ["margay4-n-d66e6eaf9400d271", "hash:net", "10.0.1.1"],
      ["margay4-s-68f011a182912f02", "hash:net", "10.0.1.1"],
      ["margay6-s-68f011a182912f02", "hash:net"],
    ]);
  });
});

describe("per configuration", () => {
  const NAT = "nat/margay-nat-outgoing";
  const OUTSIDE = "-m set --match-set margay4-masq-pools src -m set ! --match-set margay4-all-pools dst";
  const one = pod("x", { ipNetworks: ["10.0.0.1/32"], allowSpoofedSourcePrefixes: ["192.0.2.0/24"] });
  const pools = [
    resource("IPPool", "p", { cidr: "10.0.0.0/16", natOutgoing: true }),
    resource("IPPool", "q", { cidr: "10.9.0.0/16" }),
    resource("BGPConfiguration", "default", {
      ...{ serviceClusterIPs: [{ cidr: "10.96.0.0/12" }], serviceExternalIPs: [{ cidr: "fd00:96::/108" }] },
      serviceLoadBalancerIPs: [{ cidr: "192.0.2.0/24" }],
    }),
  ];
  test.each<[why: string, settings: object, chains: "chains4" | "chains6", chain: RegExp, lines: string[]]>([
    [
      "natOutgoing: masquerade to anywhere but the pools",
      {},
      "chains4",
      /nat-out/,
      [`${NAT} ${OUTSIDE} -j MASQUERADE --random-fully # nat-outgoing`],
    ],
    [
      "... from a range of ports, where there are ports",
      { natPortRange: "1000:2000" },
      "chains4",
      /nat-out/,
      [
        `${NAT} -p tcp ${OUTSIDE} -j MASQUERADE --to-ports 1000-2000 --random-fully # nat-outgoing`,
        `${NAT} -p udp ${OUTSIDE} -j MASQUERADE --to-ports 1000-2000 --random-fully # nat-outgoing`,
        `${NAT} ${OUTSIDE} -j MASQUERADE --random-fully # nat-outgoing`,
      ],
    ],
    [
      "... to a fixed address, through one interface, not to hosts",
      {
        natOutgoingAddress: "192.0.2.1",
        natOutgoingInterfaceFilter: "eth0",
        natOutgoingExclusions: "IPPoolsAndHostIPs",
      },
      "chains4",
      /nat-out/,
      [
        `${NAT} -o eth0 ${OUTSIDE} -m set ! --match-set margay4-all-hosts dst -j SNAT --to-source 192.0.2.1 --random-fully # nat-outgoing`,
      ],
    ],
    [
      "a service address that nobody translated goes nowhere",
      {},
      "chains4",
      /filter\/margay-forward/,
      [
        "filter/margay-forward -i cali+ -m connmark --mark 0x40000/0x40000 -j DROP # conntrack/cut",
        "filter/margay-forward -o cali+ -m connmark --mark 0x40000/0x40000 -j DROP # conntrack/cut",
        "filter/margay-forward -i cali+ -j margay-from-wl",
        "filter/margay-forward -o cali+ -j margay-to-wl",
        "filter/margay-forward -m set --match-set margay4-services dst -j DROP # service-loop",
        "filter/margay-forward -i cali+ -j ACCEPT # workload/forwarded",
        "filter/margay-forward -o cali+ -j ACCEPT # workload/forwarded",
      ],
    ],
    [
      "... or is refused",
      { serviceLoopPrevention: "Reject", cutDeniedConnections: false },
      "chains6",
      /filter\/margay-forward/,
      [
        "filter/margay-forward -i cali+ -j margay-from-wl",
        "filter/margay-forward -o cali+ -j margay-to-wl",
        "filter/margay-forward -m set --match-set margay6-services dst -j REJECT # service-loop",
        "filter/margay-forward -i cali+ -j ACCEPT # workload/forwarded",
        "filter/margay-forward -o cali+ -j ACCEPT # workload/forwarded",
      ],
    ],
    [
      "a pod may spoof what it is allowed to",
      { workloadSourceSpoofing: "Any" },
      "chains4",
      /src-|prerouting/,
      [
        "filter/margay-src-calix -s 10.0.0.1/32 -j RETURN",
        "filter/margay-src-calix -s 192.0.2.0/24 -j RETURN",
        "filter/margay-src-calix -j DROP # workload/spoofed-address",
        "raw/margay-prerouting -i cali+ -m rpfilter --validmark --invert -j margay-rpf",
      ],
    ],
    [
      "of packets whose source is not routed back, by their interface",
      { workloadSourceSpoofing: "Any" },
      "chains4",
      /rpf|margay-rp-/,
      [
        "raw/margay-rp-calix -m set --match-set margay4-n-e336915ff179f536 src -j RETURN",
        "raw/margay-rp-calix -j DROP # workload/reverse-path",
        "raw/margay-rpf -i calix -g margay-rp-calix",
        "raw/margay-rpf -j DROP # workload/reverse-path",
      ],
    ],
    [
      "a source of a pod need only be routed somewhere",
      { workloadRPF: "Loose" },
      "chains6",
      /prerouting/,
      [
        "raw/margay-prerouting -i cali+ -m rpfilter --loose --validmark --invert -j DROP # workload/reverse-path",
      ],
    ],
    ["or nowhere", { workloadRPF: "Disabled" }, "chains4", /prerouting/, []],
    [
      "no IPv6: closed",
      { ipv6Support: false },
      "chains6",
      /./,
      [
        "filter/margay-forward -i cali+ -j DROP # workload/ipv6-off",
        "filter/margay-forward -o cali+ -j DROP # workload/ipv6-off",
        "filter/margay-input -i cali+ -j DROP # workload/ipv6-off",
      ],
    ],
    [
      "host access",
      { defaultEndpointToHostAction: "Accept" },
      "chains4",
      /wl-to-host/,
      [
        "filter/margay-wl-to-host -j margay-from-wl",
        "filter/margay-wl-to-host -j ACCEPT # workload-to-host/default",
      ],
    ],
    [
      "IPv6 neighbour discovery reaches the host, router advertisements do not",
      {},
      "chains6",
      /wl-to-host/,
      [
        ...["130", "131", "132", "133", "135", "136"].map(
          (type) =>
            `filter/margay-wl-to-host -p ipv6-icmp -m icmp6 --icmpv6-type ${type} -j ACCEPT # workload-to-host/neighbour-discovery`,
        ),
        "filter/margay-wl-to-host -j margay-from-wl",
        "filter/margay-wl-to-host -j DROP # workload-to-host/default",
      ],
    ],
    [
      "allow leaves it to later rules, deny rejects, other marks",
      {
        serviceLoopPrevention: "Disabled",
        iptablesFilterAllowAction: "Return",
        iptablesFilterDenyAction: "Reject",
        iptablesMarkMask: 0xff00,
        disableConntrackInvalidCheck: true,
      },
      "chains4",
      /forward|wi-/,
      [
        "filter/margay-forward -i cali+ -m connmark --mark 0x400/0x400 -j REJECT # conntrack/cut",
        "filter/margay-forward -o cali+ -m connmark --mark 0x400/0x400 -j REJECT # conntrack/cut",
        "filter/margay-forward -i cali+ -j margay-from-wl",
        "filter/margay-forward -o cali+ -j margay-to-wl",
        "filter/margay-forward -i cali+ -j RETURN # workload/forwarded",
        "filter/margay-forward -o cali+ -j RETURN # workload/forwarded",
        "filter/margay-wi-49e3f40b62e9e50b -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN # conntrack/established",
        "filter/margay-wi-49e3f40b62e9e50b -j MARK --set-xmark 0x0/0x300",
        "filter/margay-wi-49e3f40b62e9e50b -g margay-ri-8eae0b6238c30b15",
      ],
    ],
  ])("%s", (_why, settings, chains, chain, lines) => {
    expect(show(rendered(namespace, one, ...pools, felix(settings))[chains], chain)).toEqual(lines);
  });
});

describe("VXLAN is the nodes' own", () => {
  const pool = resource("IPPool", "p", { cidr: "10.0.0.0/16", vxlanMode: "CrossSubnet" });
  const nodes = [
    resource("Node", "n1", { bgp: { ipv4Address: "172.20.1.11/24" } }),
    resource("Node", "n2", {
      ...{ bgp: { ipv4Address: "172.20.2.12/24", ipv6Address: "fd20::2/64" } },
      addresses: [{ address: "192.0.2.12", type: "InternalIP" }],
    }),
  ];
  const vxlanRules = (family: 4 | 6, settings: object, ...pools: AnyResource[]): string[] => {
    const all = rendered(namespace, ...nodes, ...pools, felix(settings))[`chains${family}`];
    return show(all, /./).filter((line) => line.includes("--dports"));
  };
  const udp = (port: number) => `-p udp -m multiport --dports ${port}`;
  const foreign = (port: number) =>
    `filter/margay-input ${udp(port)} -m set ! --match-set margay4-all-hosts src -j DROP # host/vxlan`;

  test.each<[why: string, family: 4 | 6, settings: object, lines: string[]]>([
    [
      "no workload sends it, nor anything that is no node",
      4,
      {},
      [
        `filter/margay-forward -i cali+ ${udp(4789)} -j DROP # workload/vxlan`,
        `filter/margay-input -i cali+ ${udp(4789)} -j DROP # workload/vxlan`,
        foreign(4789),
      ],
    ],
    [
      "workloads may where it is said, never to their own node",
      4,
      { allowVXLANPacketsFromWorkloads: true, vxlanPort: 8472 },
      [foreign(8472)],
    ],
    ["nothing listens in a family without VXLAN", 6, {}, []],
  ])("%s", (_why, family, settings, lines) => {
    expect(vxlanRules(family, settings, pool)).toEqual(lines);
  });

  test("without a pool that uses it the port is anybody's", () => {
    expect(vxlanRules(4, {}, resource("IPPool", "p", { cidr: "10.0.0.0/16" }))).toEqual([]);
  });

  test("a node is known by all its addresses, and rules follow a node that comes", () => {
    const members = (...some: AnyResource[]) => [
      ...(rendered(namespace, pool, ...some).ipsets.get("margay4-all-hosts")?.members ?? []),
    ];
    expect(members(...nodes)).toEqual(["172.20.1.11", "172.20.2.12", "192.0.2.12"]);
    expect(members()).toEqual([]);
  });

  test("it is refused before anything else is asked, also as an answer", () => {
    const its = rendered(namespace, one(), pool, ...nodes);
    const ends = { source: parseAddress("10.0.0.1"), destination: parseAddress("172.20.2.12") };
    const packet = { ...ends, protocol: 17, sourcePort: 53, destinationPort: 4789, ctstate: "ESTABLISHED" };
    const from = { ...packet, inInterface: "calix", outInterface: "eth0" };
    expect(walk(its, "filter/FORWARD", from)).toMatchObject({ target: "DROP", ids: ["workload/vxlan"] });
    const [node, other] = ["172.20.2.12", "172.20.2.13"].map((source) =>
      walk(its, "filter/INPUT", {
        ...{ ...packet, source: parseAddress(source), destination: parseAddress("172.20.1.11") },
        ...{ inInterface: "eth0", outInterface: undefined },
      }),
    );
    expect([node?.target, other?.target]).toEqual([undefined, "DROP"]);
  });
  const one = () => pod("x", { ipNetworks: ["10.0.0.1/32"] });
});

test("DNS answers of who is believed go through the agent, while a rule names a domain", () => {
  const servers = felix({ dnsTrustedServers: ["192.0.2.53", "192.0.2.54", "k8s-service:kube-dns"] });
  const egress = [{ action: "Allow", destination: { domains: ["a.example"] } }];
  const named = resource("GlobalNetworkPolicy", "p", { selector: "all()", types: ["Egress"], egress });
  const { chains4, hooks4, chains6 } = rendered(namespace, servers, pod("1", {}), named);
  const answers = "-o cali+ -p udp -m conntrack --ctdir REPLY --ctorigdstport 53 -m set --match-set";
  expect(show(chains4, /dns/)).toEqual([
    expect.stringMatching(
      `^mangle/margay-dns-answers ${answers} margay4-n-.* src -j NFQUEUE --queue-num 19809 --queue-bypass # dns/answer$`.replaceAll(
        "+",
        "\\+",
      ),
    ),
    expect.stringMatching(`${answers} margay4-s-`.replaceAll("+", "\\+")),
  ]);
  expect(show(chains6, /dns/)).toHaveLength(1); // no address of that family
  expect(hooks4.get("mangle/POSTROUTING")).toEqual({
    rules: [{ match: [], target: ["-j", "margay-dns-answers"] }],
  });
  expect(show(rendered(namespace, servers, pod("1", {})).chains4, /dns/)).toEqual([]);
});

test("a Log rule logs no more often than it may, and what is staged counts and goes on", () => {
  const web = pod("web", { ipNetworks: ["10.0.0.1/32"] });
  const staged = resource("StagedNetworkPolicy", "a/s", {
    order: 1,
    ingress: [{ action: "Log" }, { action: "Deny", source: { nets: ["10.0.1.0/24"] } }, { action: "Allow" }],
  });
  const log = resource("NetworkPolicy", "a/log", { order: 2, ingress: [{ action: "Log" }] });
  const alone = resource("StagedGlobalNetworkPolicy", "alone", {
    tier: "kube-admin",
    ingress: [{ action: "Pass" }],
  });
  const limit = felix({ logActionRateLimit: "10/minute", logActionRateLimitBurst: 3, logPrefix: "drops" });
  const { chains4 } = rendered(namespace, web, staged, log, alone, limit);
  const [toWeb, pass] = ["filter/margay-wi-fd7349660893a4d3", "-m mark --mark 0x0/0x20000"];
  expect(show(chains4, /margay-(wi-|in-)/).filter((line) => !line.includes("kns.a"))).toEqual([
    "filter/margay-in-3b01f2e0b082901f -m limit --limit 10/minute --limit-burst 3 -j LOG --log-prefix drops:  --log-level 5 # np/a/log/in/0",
    "filter/margay-in-4610274bbc50ae11 -j RETURN # staged/gnp/alone/in/0",
    "filter/margay-in-7aacaf6efbe93741 -s 10.0.1.0/24 -j RETURN # staged/np/a/s/in/1",
    "filter/margay-in-7aacaf6efbe93741 -j RETURN # staged/np/a/s/in/2",
    `${toWeb} -j margay-begin`,
    `${toWeb} ${pass} -j margay-in-4610274bbc50ae11`,
    `${toWeb} -j MARK --set-xmark 0x0/0x20000`,
    `${toWeb} -j margay-gi-f92fbfa8bb677dd9`,
    `${toWeb} -m mark --mark 0x10000/0x10000 -j RETURN`,
    `${toWeb} ${pass} -j DROP # tier/default/in/default`,
    `${toWeb} -g margay-ri-8eae0b6238c30b15`,
  ]);
});

describe("a workload and its own host", () => {
  const web = pod("web", { ipNetworks: ["10.0.0.1/32", "fd00::1/128"] }, { app: "web" });
  const noEgress = resource("NetworkPolicy", "a/p", {
    selector: "app == 'web'",
    types: ["Ingress", "Egress"],
  });
  const tcp = {
    ...{ protocol: 6, sourcePort: 1024, destinationPort: 22 },
    inInterface: "caliweb",
    outInterface: undefined,
  };
  const from = (source: string, more: Partial<Walked> = {}): Walked => ({
    source: parseAddress(source),
    destination: parseAddress(source.includes(":") ? "fd00::ff" : "10.0.0.255"),
    ...tcp,
    ...more,
  });
  const icmp6 = (type: number) => from("fe80::1", { protocol: 58, icmp: { type, code: 0 } });
  const accept = felix({ defaultEndpointToHostAction: "Accept" });
  const leave = felix({ defaultEndpointToHostAction: "Return" });

  test.each<
    [
      why: string,
      resources: AnyResource[],
      hook: string,
      packet: Walked,
      target: string | undefined,
      id: string,
    ]
  >([
    [
      "by default it does not reach the host",
      [],
      "INPUT",
      from("10.0.0.1"),
      "DROP",
      "workload-to-host/default",
    ],
    ["... unless it may", [accept], "INPUT", from("10.0.0.1"), "ACCEPT", "workload-to-host/default"],
    [
      "... or others are left to decide",
      [leave],
      "INPUT",
      from("10.0.0.1"),
      undefined,
      "workload-to-host/default",
    ],
    [
      "its egress policy comes first",
      [accept, noEgress],
      "INPUT",
      from("10.0.0.1"),
      "DROP",
      "tier/default/out/default",
    ],
    [
      "so does the check of its address",
      [accept],
      "INPUT",
      from("10.0.0.2"),
      "DROP",
      "workload/spoofed-address",
    ],
    [
      "answers to the host come back",
      [noEgress],
      "INPUT",
      from("10.0.0.1", { ctstate: "ESTABLISHED" }),
      "ACCEPT",
      "conntrack/established",
    ],
    [
      "an interface that is nobody's does not reach the host",
      [accept],
      "INPUT",
      from("10.0.0.1", { inInterface: "calix" }),
      "DROP",
      "workload/unknown-interface",
    ],
    [
      "neighbour solicitation",
      [noEgress],
      "INPUT",
      icmp6(135),
      "ACCEPT",
      "workload-to-host/neighbour-discovery",
    ],
    ["router advertisement", [accept], "INPUT", icmp6(134), "DROP", "workload/spoofed-address"],
    [
      "the host reaches it whatever its policy",
      [noEgress],
      "OUTPUT",
      from("10.0.0.255", { inInterface: undefined, outInterface: "caliweb" }),
      "ACCEPT",
      "host-to-workload/allow",
    ],
    [
      "the host's other packets are not ours",
      [noEgress],
      "INPUT",
      from("10.0.0.9", { inInterface: "eth0" }),
      undefined,
      "",
    ],
    [
      "nor are those it forwards between others",
      [noEgress],
      "FORWARD",
      from("10.0.0.9", { inInterface: "eth0", outInterface: "eth1" }),
      undefined,
      "",
    ],
  ])("%s", (_why, resources, hook, packet, target, id) => {
    const walked = walk(rendered(namespace, web, ...resources), `filter/${hook}`, packet);
    expect({ target: walked.target, id: walked.ids.at(-1) ?? "" }).toEqual({ target, id });
  });

  test.each<[setting: object, path: Partial<Walked>, isDropped: boolean]>([
    [{}, { isReversePath: false }, true],
    [{ workloadRPF: "Loose" }, { isReversePath: false, isRouted: true }, false],
    [{ workloadRPF: "Loose" }, { isReversePath: false, isRouted: false }, true],
    [{ workloadRPF: "Disabled" }, { isReversePath: false, isRouted: false }, false],
  ])("its reverse path is checked before all else: %j %j", (setting, path, isDropped) => {
    const state = rendered(namespace, web, felix(setting));
    const { target } = walk(state, "raw/PREROUTING", from("10.0.0.9", path));
    expect(target === "DROP").toBe(isDropped);
  });
});

describe("dispatch", () => {
  // As the CNI names them: "cali" and 11 hexadecimal digits; and two names that begin alike.
  const hex = Array.from(
    { length: 1500 },
    (_, i) => `cali${((i + 1) * 2654435761).toString(16).slice(-8)}${i % 10}`,
  );
  const names = [...hex, "cali", "cali0", "cali00"];
  const accept: Chain = { rules: [{ match: [], target: ["-j", "ACCEPT"] }] };
  const config = renderConfig(new Calc("n1").state().config);
  const gotos = (some: readonly string[]) =>
    some.toSorted().map((name) => gotoEntry(name, fromWorkload, config));
  const chains4 = new Map<string, Chain>([
    ...dispatchChains(gotos(names), fromWorkload, { config, family: 4 }),
    ...names.map((name): [string, Chain] => [`filter/${fromWorkload.chainOf(name)}`, accept]),
  ]);
  const hooks4 = new Map([["filter/FORWARD", { rules: [{ match: [], target: ["-j", fromWorkload.root] }] }]]);
  const tree: Rendered = { chains4, hooks4, chains6: new Map(), hooks6: new Map(), ipsets: new Map() };
  const address = parseAddress("10.0.0.1");
  const go = (inInterface: string, its = tree) =>
    walk(its, "filter/FORWARD", {
      source: address,
      destination: address,
      protocol: 6,
      inInterface,
      outInterface: undefined,
    });

  test("leads every interface to its chain after few rules", () => {
    const walks = names.map((name) => go(name));
    expect(new Set(walks.map(({ target }) => target))).toEqual(new Set(["ACCEPT"]));
    const asked = walks.map((walk) => walk.asked);
    expect(asked.reduce((a, b) => a + b, 0) / asked.length).toBeLessThan(25);
  });

  test("asks of every interface its own rules after few others, where these have no chain", () => {
    const rules = (name: string) => [
      ...["a", "b", "c"].map((id) => ({ match: ["-s", "10.9.9.9/32"], target: ["-j", "DROP"], id })),
      { match: [], target: ["-j", "ACCEPT"], id: name },
    ];
    const own = names.toSorted().map((name) => entryOf(name, fromWorkload, rules(name)));
    const chains4 = dispatchChains(own, fromWorkload, { config: { ...config }, family: 4 });
    const walks = names.map((name) => go(name, { ...tree, chains4 }));
    expect(walks.map(({ ids }) => ids)).toEqual(names.map((name) => [name]));
    const asked = walks.map((walk) => walk.asked);
    expect(asked.reduce((a, b) => a + b, 0) / asked.length).toBeLessThan(40);
    expect(chains4.size).toBeLessThan(500);
  });

  test("names that only their last letter tells apart are listed: a longer pattern is no interface's", () => {
    const alike = Array.from({ length: 12 }, (_, i) => `cali-vm-web-0${i.toString(16)}`).map((n) =>
      n.padEnd(14, "x"),
    );
    const last = Array.from({ length: 12 }, (_, i) => `cali-vm-web-00${i.toString(16)}`);
    const chains = [
      ...dispatchChains(gotos([...alike, ...last].sort()), fromWorkload, { config, family: 4 }).values(),
    ];
    const patterns = chains.flatMap(({ rules }) => rules.flatMap(({ match }) => match[1] ?? []));
    expect(Math.max(...patterns.map((pattern) => pattern.length))).toBe(15);
    for (const name of last) expect(patterns).toContain(name);
  });

  test("a new interface makes anew only the chains on its way", () => {
    const of = (some: readonly string[]) => dispatchChains(gotos(some), fromWorkload, { config, family: 6 });
    const before = of(hex);
    const after = of([...hex, "calif00dfeed123"]);
    const anew = [...after].filter(([name, chain]) => before.get(name) !== chain).map(([name]) => name);
    expect(anew).toEqual(["filter/margay-fd-calif0"]);
  });

  test("however interfaces came and went, in either family, the chains are those that the interfaces alone give", () => {
    const chains = (some: readonly string[], family: Family, settings = config) =>
      [...dispatchChains(gotos(some), fromWorkload, { config: settings, family })].sort();
    const now = { 4: hex.slice(0, 40), 6: hex.slice(20, 30) };
    for (let step = 0; step < 200; step++) {
      const family = step % 3 === 0 ? 6 : 4;
      const one = names[(step * 7919) % names.length] ?? "";
      const mine = now[family];
      now[family] = mine.includes(one) ? mine.filter((name) => name !== one) : [one, ...mine];
      if (step % 5 === 0) now[family] = now[family].slice(step % 7);
      if (step % 50 === 0) now[6] = now[4]; // almost always both have the same
      expect([step, chains(now[family], family)]).toEqual([step, chains(now[family], family, { ...config })]);
    }
  });

  test.each(["cali1", "calizzz", "cali0000000000x", `${hex[7]}x`])("drops %s, which is nobody's", (name) => {
    expect(go(name)).toMatchObject({ target: "DROP", ids: ["workload/unknown-interface"] });
  });

  test("chain names are at most 28 characters, set names 31", () => {
    expect(Math.max(...[...chains4.keys()].map((key) => key.length - "filter/".length))).toBeLessThanOrEqual(
      28,
    );
  });
});
