import { type AnyResource, ApiError } from "@margay/api";
import fc from "fast-check";
import { resource } from "./pods.ts";

/** Documents at the bounds of what the API takes; it refuses some of them all the same, for what stands beside. */
type Documents = fc.Arbitrary<AnyResource | undefined>;

/** Undefined where the API refuses it. */
function accepted(kind: string, name: string, spec: object): AnyResource | undefined {
  try {
    return resource(kind, name, spec);
  } catch (error) {
    if (error instanceof ApiError) return undefined;
    throw error;
  }
}

const pick = <T>(...values: T[]) => fc.constantFrom(...values);
const list = <T>(one: fc.Arbitrary<T>, most = 3) =>
  fc.oneof(
    { weight: 5, arbitrary: fc.uniqueArray(one, { maxLength: Math.min(most, 3) }) },
    { weight: 1, arbitrary: fc.uniqueArray(one, { minLength: most - 1, maxLength: most }) },
  );
type Fields = Readonly<Record<string, fc.Arbitrary<unknown>>>;
const fields = (of: Fields, requiredKeys: readonly string[] = []): fc.Arbitrary<Record<string, unknown>> =>
  fc.record(of, { requiredKeys: [...requiredKeys], noNullPrototype: true });

const four = pick(
  "0.0.0.0/0",
  "0.0.0.0/1",
  "128.0.0.0/1",
  "10.244.0.1/32",
  "0.0.0.0/32",
  "255.255.255.255/32",
);
const six = pick("::/0", "::/1", "8000::/1", "fd00::/8", "::/128", "::ffff:192.0.2.1/128");
const number = fc.integer({ min: 0, max: 65_535 });
const port = fc.oneof(
  number,
  pick<string | number>("0:65535", 0, 65_535),
  fc.tuple(number, number).map(([a, b]) => `${Math.min(a, b)}:${Math.max(a, b)}`),
  fc.nat(40).map((n) => `port-${n}`),
);
const selector = pick("all()", "app == 'a'", "app != 'a' && has(role)", "role == 'wide'");

const entity = (net: fc.Arbitrary<string> | undefined, hasPorts: boolean) =>
  fields({
    ...(net && {
      nets: list(net, 6),
      notNets: list(
        net.filter((one) => !one.endsWith("/0")),
        5,
      ),
    }),
    ...{ selector, notSelector: selector },
    ...(hasPorts && { ports: list(port, 50), notPorts: list(port, 50) }),
  });

const icmp = fields({ type: fc.integer({ min: 0, max: 254 }) }).chain((its) =>
  its.type === undefined
    ? fc.constant(its)
    : fields({ code: fc.integer({ min: 0, max: 255 }) }).map((more) => ({ ...its, ...more })),
);
const anyProtocol = fc.oneof(
  pick<string | number>("TCP", "UDPLite", "ICMP", "ICMPv6"),
  fc.integer({ min: 1, max: 255 }),
);
const action = pick("Allow", "Deny", "Log", "Pass");

/** Of one family or of both; with what its protocol allows. */
const rule = fc.tuple(pick(4, 6, undefined), pick("ports", "icmp", "other")).chain(([ipVersion, kind]) => {
  const net = ipVersion === 4 ? four : ipVersion === 6 ? six : undefined;
  const sides = { source: entity(net, kind === "ports"), destination: entity(net, kind === "ports") };
  const family: Fields = ipVersion === undefined ? {} : { ipVersion: fc.constant(ipVersion) };
  switch (kind) {
    case "ports":
      return fields({ action, protocol: pick("TCP", "UDP", "SCTP"), ...sides, ...family }, [
        "action",
        "protocol",
      ]);
    case "icmp": {
      const protocol = fc.constant(ipVersion === 6 ? "ICMPv6" : "ICMP");
      return fields({ action, protocol, icmp, notICMP: icmp, ...sides }, ["action", "protocol"]);
    }
    default:
      return fields({ action, protocol: anyProtocol, notProtocol: anyProtocol, ...sides, ...family }, [
        "action",
      ]);
  }
});

/** Each has a rule of its own, for pods or (half of them) for the node's interface before connection tracking. */
export const anyPolicy = (n: number): Documents =>
  fc.tuple(rule, rule, pick({}, {}, { doNotTrack: true, applyOnForward: true })).map(([one, other, where]) =>
    accepted("GlobalNetworkPolicy", `p${n}`, {
      ...{
        order: n,
        selector: "all()",
        ...where,
        types: ["Ingress", "Egress"],
        ingress: [one],
        egress: [other],
      },
    }),
  );

const text = fc.oneof(
  fc.string({ maxLength: 127, unit: "binary" }),
  fc.string({ maxLength: 127, unit: "grapheme" }),
);
const rate = fc
  .tuple(pick(1, 2, 7, 10_000, 10_001, 99_999), pick("second", "minute", "hour", "day"))
  .map(([n, unit]) => `${n}/${unit}`);
const failsafe = fields(
  {
    protocol: pick("tcp", "UDP", "sctp"),
    port: fc.integer({ min: 1, max: 65_535 }),
    net: fc.oneof(four, six),
  },
  ["protocol", "port"],
);

/** FelixConfiguration's, besides those of a backend. */
export const anySettings = (backend: object): Documents =>
  fields({
    interfacePrefix: pick("cali", "cali,-,_", "cali,eth-with-prefix"),
    chainInsertMode: pick("Insert", "Append"),
    defaultEndpointToHostAction: pick("Drop", "Return", "Accept"),
    iptablesFilterAllowAction: pick("Accept", "Return"),
    iptablesFilterDenyAction: pick("Drop", "Reject"),
    iptablesMarkMask: pick<string | number>(0xff, "0xff000000", "0xffffffff", 0x1fe0_0000),
    ipv6Support: fc.boolean(),
    natOutgoingAddress: pick("192.0.2.1", "0.0.0.0", "255.255.255.255"),
    natPortRange: pick("1:1", "1:65535", "65535:65535"),
    natOutgoingInterfaceFilter: pick("eth0", "-x", "~=@.-", "a-long-name-01+", "a-long-name-015"),
    natOutgoingExclusions: pick("IPPoolsOnly", "IPPoolsAndHostIPs"),
    floatingIPs: pick("Enabled", "Disabled"),
    workloadSourceSpoofing: pick("Any", "Disabled"),
    workloadRPF: pick("Strict", "Loose", "Disabled"),
    cutDeniedConnections: fc.boolean(),
    disableConntrackInvalidCheck: fc.boolean(),
    dnsTrustedServers: list(pick("0.0.0.0", "::", "k8s-service:a/b", "255.255.255.255")),
    failsafeInboundHostPorts: list(failsafe, 20),
    failsafeOutboundHostPorts: list(failsafe, 20),
    vxlanPort: pick(1, 65_535),
    logPrefix: text,
    logActionRateLimit: rate,
    logActionRateLimitBurst: pick(1, 5, 10_000),
    serviceLoopPrevention: pick("Drop", "Reject", "Disabled"),
  }).map((spec) => accepted("FelixConfiguration", "default", { ...spec, ...backend }));

const packets = pick(1, 9_999, 10_000);
const connections = pick(1, 65_536, 4_294_967_295);
const limits = fields({
  ...{
    ingressPacketRate: packets,
    ingressPacketBurst: packets,
    egressPacketRate: packets,
    egressPacketBurst: packets,
  },
  ...{ ingressMaxConnections: connections, egressMaxConnections: connections, dscp: pick(0, 63) },
});
const own = pick("10.244.9.1", "0.0.0.0", "255.255.255.255", "fd00::9", "::", "::1");

export const anyWorkload = (n: number): Documents =>
  fields({
    ipNetworks: list(own.map((ip) => `${ip}/${ip.includes(":") ? 128 : 32}`)),
    mac: pick("00:00:00:00:00:00", "FF:ff:FF:ff:FF:ff"),
    qosControls: limits,
    allowSpoofedSourcePrefixes: list(fc.oneof(four, six)),
    ports: list(
      fields(
        {
          name: pick("port-1", "a b"),
          protocol: pick<string | number>("TCP", "none", 6, "sctp"),
          port: pick(1, 65_535),
        },
        ["name", "protocol", "port"],
      ),
    ),
    ipNATs: list(fields({ internalIP: own, externalIP: own }, ["internalIP", "externalIP"])),
  }).map((spec) =>
    accepted("WorkloadEndpoint", `w${n}`, {
      ...{ orchestrator: "k8s", node: "n1", pod: `w${n}`, endpoint: "eth0", profiles: ["kns.x"] },
      ...{ interfaceName: `cali${"=~@._-"[n % 6]}w${n}`, ...spec },
    }),
  );

export const anyHostEndpoint = (n: number): Documents =>
  pick("-x", "*", "!", "..", "eth0.100", "a-long-name-015").map((interfaceName) =>
    accepted("HostEndpoint", `h${n}`, { node: "n1", interfaceName }),
  );

export const anyPool = (n: number): Documents =>
  fields(
    {
      cidr: pick("0.0.0.0/0", "10.244.0.0/16", "255.255.255.0/24", "fd00::/64", "::/0"),
      natOutgoing: fc.boolean(),
      vxlanMode: pick("Never", "Always"),
    },
    ["cidr"],
  ).map((spec) => accepted("IPPool", `pool${n}`, spec));

/** Network sets that the selectors above mean. */
export const anyNetworkSet = (n: number): Documents =>
  list(fc.oneof(four, six), 12).map((nets) => {
    const made = accepted("GlobalNetworkSet", `s${n}`, { nets });
    return made && { ...made, metadata: { ...made.metadata, labels: { role: "wide" } } };
  });
