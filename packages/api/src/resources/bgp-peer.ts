import * as z from "zod";
import { absentBeside, any, type Between, both, check, has, implies, is, needs, not } from "../between.ts";
import { address, cidr, isAddress } from "../fields/addresses.ts";
import { asNumber } from "../fields/as-number.ts";
import { duration } from "../fields/duration.ts";
import { nameOf } from "../fields/names.ts";
import { secretKeyRef } from "../fields/secret.ts";
import { selector } from "../fields/selectors.ts";
import { text } from "../fields/text.ts";
import { define, type SpecOf } from "../resource.ts";
import { sessionFields } from "./bgp-session.ts";

/** An endpoint of a BGP session: "10.0.0.1", "10.0.0.1:1790", "fd00::1" or "[fd00::1]:1790". */
export interface PeerAddress {
  readonly address: string;
  readonly port?: number;
}

/** Parses `BGPPeer.spec.peerIP`. Undefined when it is no address with or without port. */
export function parsePeerIP(value: string): PeerAddress | undefined {
  const match =
    /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(value) ?? /^(?:)([0-9a-fA-F:.]+)()()$/.exec(value);
  const host = match?.[1] || match?.[2];
  if (!host || !isAddress(host)) return undefined;
  const port = match?.[3] ? Number(match[3]) : undefined;
  if (port !== undefined && (port < 1 || port > 65535)) return undefined;
  return port === undefined ? { address: host } : { address: host, port };
}

const SPEC = z.object({
  node: text(nameOf)
    .optional()
    .describe("The one node that speaks; all nodes when neither this nor nodeSelector is given."),
  nodeSelector: selector.optional().describe("The nodes that speak, by label."),
  peerIP: text((value) =>
    parsePeerIP(value)
      ? undefined
      : 'must be an address, with a port or not: "10.0.0.1", "10.0.0.1:1790", "[fd00::1]:1790"',
  )
    .optional()
    .describe("Address of the peer, with a port or not."),
  peerSelector: selector.optional().describe("Peers that are nodes, by label."),
  listenRange: cidr()
    .optional()
    .describe("Peers are all that connect from this network: dynamic neighbors, never dialled."),
  listenLimit: z
    .int()
    .min(1)
    .max(10000)
    .optional()
    .describe("At most so many peers of listenRange at a time; 100 when absent."),
  asNumber: asNumber.optional().describe("AS of the peer; required with peerIP and listenRange."),
  localASNumber: asNumber.optional().describe("AS shown to this peer instead of the node's."),
  keepOriginalNextHop: z.boolean().default(false).describe("Deprecated: nextHopMode Keep, for eBGP."),
  nextHopMode: z
    .enum(["Auto", "Self", "Keep"])
    .optional()
    .describe("NEXT_HOP of what is sent; Auto when absent."),
  password: secretKeyRef.optional().describe("TCP-MD5 password (RFC 2385)."),
  sourceAddress: z
    .enum(["UseNodeIP", "None"])
    .default("UseNodeIP")
    .describe("None: the kernel chooses the local address."),
  maxRestartTime: duration.optional().describe("Graceful restart time (RFC 4724) sent to this peer."),
  keepaliveTime: duration.optional().describe("KEEPALIVE interval; the hold time is three times as long."),
  numAllowedLocalASNumbers: z
    .int()
    .min(0)
    .max(255)
    .optional()
    .describe("How often the own AS may be in a received AS_PATH."),
  ttlSecurity: z
    .int()
    .min(0)
    .max(255)
    .optional()
    .describe("Hops to the peer at most (GTSM, RFC 5082); 0 is off."),
  reachableBy: address().optional().describe("Gateway through which the peer is reached by a static route."),
  filters: z.array(text(nameOf)).optional().describe("Names of BGPFilters, in order."),
  localWorkloadSelector: selector.optional().describe("Peers that are pods on the same node, by label."),
  reversePeering: z
    .enum(["Auto", "Manual"])
    .default("Auto")
    .describe("Auto: peers that are nodes get the other side of the session too."),
  ...sessionFields,
});

/** Who the peer is, in one of these ways. */
const TARGETS = ["peerIP", "peerSelector", "localWorkloadSelector", "listenRange"] as const;

const between: readonly Between[] = [
  absentBeside("nodeSelector", "node"),
  {
    path: "",
    message: "must have one of peerIP, peerSelector, localWorkloadSelector, listenRange, or interface alone",
    must: any(...TARGETS.map(has), has("interface")),
  },
  ...TARGETS.flatMap((one, i) => TARGETS.slice(i + 1).map((other) => absentBeside(other, one))),
  absentBeside("asNumber", "peerSelector", ": it is taken from the nodes"),
  ...(["peerIP", "localWorkloadSelector", "listenRange", "interface"] as const).map((target) => ({
    ...{ path: "asNumber", message: `is required with ${target}` },
    must: implies(has(target), any(has("asNumber"), has("peerSelector"))),
  })),
  {
    ...{ path: "nextHopMode", message: "must be Keep or absent beside keepOriginalNextHop" },
    must: implies(both(is("keepOriginalNextHop", true), has("nextHopMode")), is("nextHopMode", "Keep")),
  },
  absentBeside("holdTime", "keepaliveTime", ": it is three times as long"),
  needs("listenLimit", "listenRange"),
  {
    ...{ path: "passive", message: "must be true or absent with listenRange" },
    must: not(both(has("listenRange"), is("passive", false))),
  },
  {
    ...{ path: "role", message: "is required with roleRequired" },
    must: implies(is("roleRequired", true), has("role")),
  },
  needs("reachableBy", "peerIP"),
];

const spec = SPEC.superRefine(check(between)).superRefine((value, context) => {
  for (const [path, message] of familyFaults(value))
    context.addIssue({ code: "custom", path: [path], message });
});

export type BGPPeerSpec = SpecOf<typeof spec>;

/** What follows from an address's text. */
function familyFaults({ peerIP, reachableBy, ...value }: z.output<typeof SPEC>): [string, string][] {
  const out: [string, string][] = [];
  if (/^\[?fe[89ab]/i.test(peerIP ?? "") && value.interface === undefined)
    out.push(["interface", "is required with a link-local peerIP"]);
  const peer = peerIP === undefined ? undefined : parsePeerIP(peerIP);
  if (peer && reachableBy !== undefined && peer.address.includes(":") !== reachableBy.includes(":"))
    out.push(["reachableBy", `must be of the family of peerIP ${peer.address}`]);
  return out;
}

export const bgpPeer = define({
  kind: "BGPPeer",
  plural: "bgppeers",
  aliases: ["bgpp", "bp"],
  scope: "cluster",
  description: "A BGP session of some nodes with a router, with other nodes or with pods.",
  spec,
  between,
  columns: [
    {
      title: "PEERIP",
      value: ({ spec: s }) => s.peerIP ?? s.peerSelector ?? s.localWorkloadSelector ?? s.interface,
    },
    { title: "NODE", value: ({ spec }) => spec.node ?? spec.nodeSelector ?? "(global)" },
    { title: "ASN", value: ({ spec }) => spec.asNumber },
  ],
  example: { metadata: { name: "tor" }, spec: { peerIP: "172.20.0.2", asNumber: 65000 } },
});
