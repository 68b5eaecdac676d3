import { execFileSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { AnyResource } from "@margay/api";
import { forward, type NodeState } from "@margay/calc";
import { parseAddress } from "@margay/net";
import { inNamespace } from "@margay/netlink";
import { unshared } from "@margay/testing";
import { loader } from "./render/testing/loader.ts";
import { address, asNode, mac, type Pod, resource, stateWith } from "./render/testing/pods.ts";

/**
 * Packets of SCTP, ICMP and ICMPv6, which a program without rights cannot send: datagrams of UDP whose protocol nftables changes on the
 * way out of the sender's namespace. SCTP's ports are where UDP's are; ICMP's type and code where UDP has its source port.
 */
const PROTOCOLS = { sctp: 132, icmp: 1, icmpv6: 58 } as const;
type Protocol = keyof typeof PROTOCOLS;
/** The destination port that says what is to become of it; SCTP's own is the second. */
const AS = { icmp: 7001, icmpv6: 7058 } as const;

interface Sent {
  readonly protocol: Protocol;
  readonly family: 4 | 6;
  readonly from: Pod;
  readonly port?: number;
  readonly icmp?: { readonly type: number; readonly code: number };
}

const sctp = (from: Pod, family: 4 | 6, port: number): Sent => ({ protocol: "sctp", family, from, port });
const icmp = (family: 4 | 6, type: number, code: number): Sent => ({
  ...{ protocol: family === 4 ? "icmp" : "icmpv6", family, from: "b", icmp: { type, code } },
});
const ALL: readonly Sent[] = [
  ...([4, 6] as const).flatMap((family) => [
    sctp("b", family, 9),
    sctp("b", family, 10),
    sctp("c", family, 9),
  ]),
  ...[icmp(4, 8, 0), icmp(4, 8, 1), icmp(4, 13, 0), icmp(4, 13, 1)], // of those that begin something to connection tracking
  ...[icmp(6, 128, 0), icmp(6, 128, 1), icmp(6, 139, 0), icmp(6, 139, 1)],
];
const named = ({
  protocol,
  family,
  from,
  port,
  icmp: { type, code } = { type: 0, code: 0 },
}: Sent): string => (protocol === "sctp" ? `${from} v${family} sctp ${port}` : `${protocol} ${type} ${code}`);

const nft = (pod: Pod, input: string): string =>
  execFileSync("nsenter", [`--net=/run/netns/${pod}`, "nft", "-f", "-"], { input, encoding: "utf8" });

/** Makes of UDP what the destination port says: SCTP with a verification tag of 0, as of an INIT, or ICMP. */
const sending = (pod: Pod) =>
  nft(
    pod,
    `table inet sent { chain out { type filter hook output priority 0;
       udp dport { 9, 10 } @th,32,32 set 0
       udp dport { 9, 10 } ip protocol set ${PROTOCOLS.sctp}
       udp dport { 9, 10 } ip6 nexthdr set ${PROTOCOLS.sctp}
       udp dport ${AS.icmp} ip protocol set ${PROTOCOLS.icmp}
       udp dport ${AS.icmpv6} ip6 nexthdr set ${PROTOCOLS.icmpv6}; }; }`,
  );

/** Counts what reaches a pod. */
const receiving = (pod: Pod) =>
  nft(
    pod,
    `table inet seen { chain in { type filter hook prerouting priority -300;
     ${ALL.map((one) => {
       const source = `${one.family === 4 ? "ip" : "ip6"} saddr ${address(one.from, one.family)}`;
       const { type, code } = one.icmp ?? {};
       const what =
         one.protocol === "sctp"
           ? `sctp dport ${one.port}`
           : `${one.protocol} type ${type} ${one.protocol} code ${code}`;
       return `${source} ${what} counter comment "${named(one)}"`;
     }).join("\n")}; }; }`,
  );

/** How often each reached it so far. */
const seen = (pod: Pod): ReadonlyMap<string, number> =>
  new Map(
    [...nft(pod, "list chain inet seen in").matchAll(/counter packets (\d+) .*comment "(.*)"/g)].map(
      ([, packets, name = ""]) => [name, Number(packets)],
    ),
  );

const lookup = (host: string, _options: unknown, done: (error: null, host: string, family: number) => void) =>
  done(null, host, host.includes(":") ? 6 : 4);

let sourcePorts = 20_000;

async function send({ family, from, port, icmp, protocol }: Sent): Promise<number> {
  const sourcePort = icmp ? icmp.type * 256 + icmp.code : ++sourcePorts;
  const socket = inNamespace(`/run/netns/${from}`, () => {
    const one = createSocket({ type: family === 4 ? "udp4" : "udp6", lookup: lookup as never }); // asked only this
    return one.bind(sourcePort, address(from, family));
  });
  // SCTP: a checksum, and an INIT chunk of 20 bytes with a tag and one stream.
  const init = new Uint8Array([0, 0, 0, 0, 1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
  const to = protocol === "sctp" ? port : AS[protocol];
  await new Promise((resolve) => socket.send(init, to, address("a", family), resolve));
  socket.close();
  return sourcePort;
}

function evaluated(
  state: NodeState,
  { protocol, family, from, port, icmp }: Sent,
  sourcePort: number,
): boolean {
  const packet = {
    ...{ source: parseAddress(address(from, family)), destination: parseAddress(address("a", family)) },
    ...{ protocol: PROTOCOLS[protocol], ...(icmp ? { icmp } : { sourcePort, destinationPort: port ?? 0 }) },
  };
  const journey = { fromInterface: `cali${from}`, sourceMac: mac(from), toInterface: "calia" };
  return forward(state, packet, journey).verdict === "allow";
}

const ingress = (...rules: readonly object[]): readonly AnyResource[] => [
  resource("NetworkPolicy", "p", { selector: "app == 'a'", ingress: rules }),
];
const allow = { action: "Allow" };
const POLICIES: readonly (readonly [why: string, resources: readonly AnyResource[], arrives: number])[] = [
  ["none", [], ALL.length],
  ["SCTP to a port", ingress({ ...allow, protocol: "SCTP", destination: { ports: [9] } }), 4],
  [
    "SCTP from a pod, to no such port",
    ingress({
      ...allow,
      protocol: "SCTP",
      source: { selector: "app == 'b'" },
      destination: { notPorts: [9] },
    }),
    2,
  ],
  ["any protocol but SCTP", ingress({ ...allow, notProtocol: "SCTP" }), 8],
  ["SCTP by number", ingress({ ...allow, protocol: 132, ipVersion: 6 }), 3],
  [
    "ICMP of a type and ICMPv6 of a type and code",
    ingress(
      { ...allow, protocol: "ICMP", icmp: { type: 8 } },
      { ...allow, protocol: "ICMPv6", icmp: { type: 128, code: 1 } },
    ),
    3,
  ],
  [
    "all ICMP but of a type and code",
    ingress(
      { ...allow, protocol: "ICMP", notICMP: { type: 13, code: 1 } },
      { ...allow, protocol: "ICMPv6", notICMP: { type: 128 } },
    ),
    5,
  ],
];

unshared(import.meta.url, () => {
  beforeAll(() => {
    asNode({ routes: true });
    for (const pod of ["b", "c"] as const) sending(pod);
    receiving("a");
    execFileSync("sysctl", ["-qw", "net.netfilter.nf_conntrack_checksum=0"]); // nobody computes theirs
  });
  afterAll(() => void execFileSync("nft", ["flush", "ruleset"]));

  test.each(["nft", "legacy", "nftables"])(
    "%s: SCTP, ICMP and ICMPv6 packets arrive where they are evaluated to",
    async (backend) => {
      const { apply } = loader(backend);
      for (const [why, resources, arrives] of POLICIES) {
        const state = stateWith(resources);
        await apply(state);
        execFileSync("conntrack", ["-F"], { stdio: "ignore" });
        const before = seen("a");
        const expected: string[] = [];
        for (const one of ALL) if (evaluated(state, one, await send(one))) expected.push(named(one));
        expect([why, expected.length]).toEqual([why, arrives]);
        const arrived = () =>
          [...seen("a")].flatMap(([name, n]) => (n > (before.get(name) ?? 0) ? [name] : []));
        for (let tries = 0; tries < 100 && arrived().length < arrives; tries++) await sleep(20);
        expect({ why, arrived: arrived().sort() }).toEqual({ why, arrived: expected.sort() });
      }
      if (backend === "nftables") return;
      for (const tool of ["iptables", "ip6tables"])
        for (const table of ["filter", "raw", "mangle", "nat"])
          for (const what of ["-F", "-X"]) execFileSync(`${tool}-${backend}`, ["-t", table, what]);
    },
  );
});
