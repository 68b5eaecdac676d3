import { effective } from "@margay/api";
import {
  type CompiledPolicy,
  type CompiledRule,
  type Direction,
  type EntityMatch,
  type LocalEndpoint,
  type LocalHostEndpoint,
  type NeutralSet,
  type NodeState,
  type Packet,
  ruleIds,
  type TierPolicies,
} from "@margay/calc";
import { parseAddress, parsePrefix } from "@margay/net";
import fc from "fast-check";

/** Random states and packets from a universe so small that they meet. */
const V4 = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.5", "192.0.2.1"];
const V6 = ["fd00::1", "fd00::2", "fd00::5", "2001:db8::1"];
const NETS = ["10.0.0.0/30", "10.0.0.2/32", "0.0.0.0/0", "192.0.2.0/24", "fd00::/126", "fd00::5/128", "::/0"];
const MACS = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
const INTERFACES = ["cali1", "cali12", "calia", "calib"];
const PORTED = [6, 17, 132];

const some = <T>(values: readonly T[], max = 2) =>
  fc.uniqueArray(fc.constantFrom(...values), { maxLength: max });
const often = <T>(usual: T, other: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 3, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: other });

const NET_SETS = ["s:1", "s:2", "s:3"];
const PORT_SETS = ["p:1", "p:2"];
const nets = fc
  .oneof(some(NETS.slice(0, 4), 3), some(NETS.slice(4), 2))
  .map((texts) => texts.map((text) => parsePrefix(text)));
const port = fc.integer({ min: 79, max: 84 });
const range = fc.tuple(port, fc.nat(2)).map(([first, more]) => ({ first, last: first + more }));
/** More than one multiport takes, some of them ranges, which count twice there. */
const long = fc.constant(Array.from({ length: 20 }, (_, i) => ({ first: 60 + i, last: 60 + i + (i % 2) })));
const ranges = fc.oneof(
  { weight: 5, arbitrary: fc.array(range, { maxLength: 2 }) },
  { weight: 1, arbitrary: long },
);

function entity(hasPorts: boolean): fc.Arbitrary<EntityMatch> {
  const ports = hasPorts ? often([], ranges) : fc.constant([]);
  const named = often([], some(PORT_SETS)); // services need no protocol
  return fc.record({
    nets: often([], nets),
    notNets: often([], nets),
    sets: often([], some(NET_SETS)),
    notSets: often([], some(NET_SETS)),
    ports,
    namedPorts: named,
    notPorts: ports,
    notNamedPorts: hasPorts ? named : fc.constant([]),
  });
}

const ANYBODY: EntityMatch = {
  ...{ nets: [], notNets: [], sets: [], notSets: [] },
  ...{ ports: [], namedPorts: [], notPorts: [], notNamedPorts: [] },
};

type RuleShape = Omit<CompiledRule, "id" | "source" | "destination">;
const action = fc.constantFrom("allow", "allow", "deny", "pass", "log" as const);
const icmp = fc.record(
  { type: fc.constantFrom(8, 128), code: fc.constantFrom(0, 1) },
  { requiredKeys: ["type"] },
);
const icmpFields = { icmp, notIcmp: icmp };
const shape: fc.Arbitrary<RuleShape> = fc.oneof(
  fc.record(
    { action, ipVersion: fc.constantFrom(4, 6), notProtocol: fc.constantFrom(1, 6, 17) },
    { requiredKeys: ["action"] },
  ),
  fc.record(
    { action, protocol: fc.constantFrom(...PORTED, 1), notProtocol: fc.constantFrom(6, 17) },
    { requiredKeys: ["action", "protocol"] },
  ),
  fc.record(
    { action, protocol: fc.constant(1), ipVersion: fc.constant(4 as const), ...icmpFields },
    { requiredKeys: ["action", "protocol", "ipVersion"] },
  ),
  fc.record(
    { action, protocol: fc.constant(58), ipVersion: fc.constant(6 as const), ...icmpFields },
    { requiredKeys: ["action", "protocol", "ipVersion"] },
  ),
);
const rule = shape.chain((its) => {
  const side = entity(PORTED.includes(its.protocol ?? 0));
  return fc.tuple(side, side).map(([source, destination]) => ({ ...its, source, destination }));
});

const policy = (id: string): fc.Arbitrary<CompiledPolicy> => {
  const rules = fc.array(rule, { maxLength: 3 });
  const numbered = (direction: Direction) =>
    rules.map((list): CompiledRule[] =>
      list.map((one, i) => ({ ...one, id: ruleIds.policyRule(id, direction, i) })),
    );
  return fc.record({ id: fc.constant(id), ingress: numbered("ingress"), egress: numbered("egress") });
};

/** Most profiles allow what nothing before decided, as those of namespaces do. */
const profile = (name: string): fc.Arbitrary<CompiledPolicy> => {
  const id = `profile/${name}`;
  const allow = (direction: Direction) => ({
    id: ruleIds.policyRule(id, direction, 9),
    ...{ action: "allow" as const, source: ANYBODY, destination: ANYBODY },
  });
  return fc
    .tuple(policy(id), fc.nat(3))
    .map(([its, chance]) =>
      chance === 0
        ? its
        : { ...its, ingress: [...its.ingress, allow("ingress")], egress: [...its.egress, allow("egress")] },
    );
};

const POLICIES = ["gnp/a", "gnp/b", "np/x/c", "np/x/d"];
const PROFILES = ["kns.x", "ksa.x.y"];

const STAGED = ["staged/gnp/s", "staged/np/x/t"];
const stagedPolicy = (id: string): fc.Arbitrary<CompiledPolicy> =>
  policy(id).map((its) => ({ ...its, isStaged: true }));

const tiers = fc
  .tuple(
    fc.shuffledSubarray(POLICIES),
    fc.nat(4),
    fc.array(fc.constantFrom("deny", "pass", "pass"), { minLength: 2, maxLength: 2 }),
  )
  .map(([ids, cut, [first = "deny", second = "deny"]]) =>
    [
      { tier: "t1", defaultAction: first, policies: ids.slice(0, cut) },
      { tier: "t2", defaultAction: second, policies: ids.slice(cut) },
    ].filter(({ policies }) => policies.length > 0),
  );

/** Tiers with staged policies among the others, or instead of one, and perhaps a tier of theirs alone. */
const withStaged = (enforced: readonly TierPolicies[]): fc.Arbitrary<readonly TierPolicies[]> =>
  fc.record({ at: fc.nat(3), instead: fc.nat(1), alone: fc.nat(2) }).map(({ at, instead, alone }) => {
    const [first, ...others] = enforced.map((tier) => ({
      ...tier,
      policies: tier.policies.toSpliced(at, instead, STAGED[0]!), // the list has two
    }));
    const own = { tier: "t0", defaultAction: "deny" as const, policies: [STAGED[1]!] };
    const all = [first, ...others].filter((tier) => tier !== undefined);
    return all.toSpliced(alone, 0, own);
  });

/** Most addresses of the universe, so that packets come from where they may; sometimes none of a family. */
const owned = (addresses: readonly string[]) =>
  fc.oneof(
    { weight: 6, arbitrary: fc.subarray([...addresses], { minLength: 3 }) },
    { weight: 1, arbitrary: some(addresses) },
  );

const endpoint = (interfaceName: string): fc.Arbitrary<LocalEndpoint> =>
  enforcedEndpoint(interfaceName).chain((its) =>
    fc
      .tuple(withStaged(its.ingress), withStaged(its.egress), fc.boolean())
      .map(([ingress, egress, isStaged]) => (isStaged ? { ...its, staged: { ingress, egress } } : its)),
  );

const enforcedEndpoint = (interfaceName: string): fc.Arbitrary<LocalEndpoint> =>
  fc.record(
    {
      id: fc.constant(`x/${interfaceName}`),
      interfaceName: fc.constant(interfaceName),
      addresses: fc.tuple(owned(V4), owned(V6)).map((lists) => lists.flat().map(parseAddress)),
      mac: fc.constant(MACS[0]!), // the list is not empty
      spoofable: often([], nets),
      ingress: tiers,
      egress: tiers,
      profiles: fc.shuffledSubarray(PROFILES, { minLength: 1 }),
      ok: fc.integer({ min: 0, max: 19 }).map((n) => n > 0),
    },
    {
      requiredKeys: ["id", "interfaceName", "addresses", "spoofable", "ingress", "egress", "profiles", "ok"],
    },
  );

const set = (kind: NeutralSet["kind"]): fc.Arbitrary<NeutralSet> => {
  const members = (addresses: readonly string[], family: string): fc.Arbitrary<ReadonlySet<string>> => {
    const own = NETS.filter((net) => net.includes(family) && !/\/(32|128)$/.test(net));
    const ported = addresses.flatMap((address) =>
      ["tcp:80", "udp:81", "sctp:80"].map((p) => `${address},${p}`),
    );
    return some(kind === "net" ? [...addresses, ...own] : ported, 4).map((texts) => new Set(texts));
  };
  return fc.record({
    kind: fc.constant(kind),
    about: fc.constant("random"),
    members: fc.tuple(members(V4, "."), members(V6, ":")).map(([four, six]) => ({ 4: four, 6: six })),
  });
};

const byId = <T>(
  ids: readonly string[],
  one: (id: string) => fc.Arbitrary<T>,
): fc.Arbitrary<ReadonlyMap<string, T>> =>
  fc
    .tuple(...ids.map((id) => one(id).map((value): [string, T] => [id, value])))
    .map((pairs) => new Map(pairs));

/** Of each family, one that may use VXLAN and nothing else. */
const vxlanPools = fc
  .tuple(fc.constantFrom("Never", "Always", "Always"), fc.constantFrom("Never", "CrossSubnet"))
  .map((modes) =>
    modes.map((vxlanMode, i) => ({
      ...{
        name: `p${i}`,
        cidr: parsePrefix(["10.0.0.0/24", "fd00::/64"][i]!),
        natOutgoing: false,
        vxlanMode,
      },
    })),
  );

/** Those that the rules name, of addresses alone, of networks, or of both. */
export const anySets: fc.Arbitrary<NodeState["sets"]> = fc
  .tuple(
    byId(NET_SETS, () => set("net")),
    byId(PORT_SETS, () => set("ip-port")),
  )
  .map(([nets, ports]) => new Map([...nets, ...ports]));

export const anyState: fc.Arbitrary<NodeState> = fc.record({
  node: fc.constant("n1"),
  endpoints: fc.subarray(INTERFACES, { minLength: 2 }).chain((names) => fc.tuple(...names.map(endpoint))),
  policies: fc
    .tuple(byId(POLICIES, policy), byId(STAGED, stagedPolicy))
    .map(([enforced, staged]) => new Map([...enforced, ...staged])),
  profiles: byId(PROFILES, profile),
  sets: anySets,
  pools: vxlanPools,
  blocks: fc.constant([]),
  hosts: some([...V4, ...V6]).map((addresses) => [{ name: "n2", addresses: addresses.map(parseAddress) }]),
  services: fc.constant([]),
  hostEndpoints: fc.constant([]),
  config: often(false, fc.boolean()).map((allowVXLANPacketsFromWorkloads) => ({
    ...effective("FelixConfiguration", [], "n1"),
    ...{ allowVXLANPacketsFromWorkloads, vxlanPort: 80 },
  })),
  problems: fc.constant([]),
});

const HOST_INTERFACES = ["eth0", "*"];
const undecided = tiers.map((list) => list.map((tier) => ({ ...tier, defaultAction: "pass" as const })));

const hostEndpoint = (interfaceName: string): fc.Arbitrary<LocalHostEndpoint> => {
  const both = <T>(one: fc.Arbitrary<T>) => fc.record({ ingress: one, egress: one });
  const enforced = fc.record({
    id: fc.constant(`hep:${interfaceName}`),
    interfaceName: fc.constant(interfaceName),
    profiles: fc.shuffledSubarray(PROFILES),
    normal: both(tiers),
    forward: both(often([], tiers)),
    untracked: both(often([], undecided)),
    preDnat: both(often([], undecided)),
    ok: fc.integer({ min: 0, max: 9 }).map((n) => n > 0),
  });
  const staging = (one: LocalHostEndpoint["normal"]) =>
    fc.record({ ingress: withStaged(one.ingress), egress: withStaged(one.egress) });
  return enforced.chain((its) =>
    fc
      .tuple(fc.boolean(), staging(its.normal), staging(its.forward))
      .map(([isStaged, normal, forward]) => (isStaged ? { ...its, staged: { normal, forward } } : its)),
  );
};

/** A state whose node has interfaces of its own under policy. */
export const anyHostState: fc.Arbitrary<NodeState> = fc
  .tuple(
    anyState,
    fc.subarray(HOST_INTERFACES, { minLength: 1 }).chain((names) => fc.tuple(...names.map(hostEndpoint))),
    fc.subarray([80, 81]),
    fc.subarray([82, 83]),
  )
  .map(([state, hostEndpoints, safeIn, safeOut]) => {
    const ports = (list: readonly number[]) => list.map((port) => ({ protocol: "TCP" as const, port }));
    const failsafes = {
      failsafeInboundHostPorts: [
        ...ports(safeIn),
        { protocol: "UDP" as const, port: 79, net: "10.0.0.0/30" },
      ],
      failsafeOutboundHostPorts: ports(safeOut),
    };
    return { ...state, hostEndpoints, config: { ...state.config, ...failsafes } };
  });

export interface Sent {
  readonly packet: Packet;
  readonly fromInterface?: string;
  readonly sourceMac: string;
  readonly toInterface?: string;
}

/** A workload interface, now and then one that nobody has. */
export const anyInterface = fc.constantFrom(...INTERFACES, ...INTERFACES, ...INTERFACES, "calix", "cali1x");

/** A new flow through a workload interface, or two. */
export const anySent: fc.Arbitrary<Sent> = fc
  .record({
    ends: fc.oneof(
      fc.tuple(fc.constantFrom(...V4), fc.constantFrom(...V4)),
      fc.tuple(fc.constantFrom(...V6), fc.constantFrom(...V6)),
    ),
    protocol: fc.constantFrom(6, 6, 17, 132, 1, 58),
    ports: fc.tuple(port, port),
    icmp: fc.record({ type: fc.constantFrom(8, 128, 0, 135), code: fc.constantFrom(0, 1) }),
    from: fc.option(anyInterface),
    to: anyInterface,
    through: fc.constantFrom("in", "out", "both"),
    sourceMac: often(MACS[0]!, fc.constantFrom(...MACS)), // the list is not empty
  })
  .map(({ ends, protocol, ports, icmp, from, to, through, sourceMac }) => ({
    packet: {
      source: parseAddress(ends[0]),
      destination: parseAddress(ends[1]),
      protocol,
      ...(PORTED.includes(protocol) ? { sourcePort: ports[0], destinationPort: ports[1] } : {}),
      ...(protocol === 1 || protocol === 58 ? { icmp } : {}),
    },
    sourceMac,
    ...(from !== null && through !== "out" && { fromInterface: from }),
    ...((through !== "in" || from === null) && { toInterface: to }),
  }));

/** A new flow through an interface of the node itself. */
export const anyHostJourney = fc.record({
  interfaceName: fc.constantFrom("eth0", "eth0", "eth1", "lo"),
  direction: fc.constantFrom<Direction>("ingress", "egress"),
  local: fc.boolean(),
});
