import {
  type EntityRule,
  type Issue,
  outdatedRules,
  parsePort,
  parseSelector,
  type Rule,
  ruleInForce,
  type Selector,
  SelectorError,
} from "@margay/api";
import { type Family, NetError, type Prefix, parsePrefix } from "@margay/net";
import { domainsOf } from "./domains.ts";
import { PORT_PROTOCOLS } from "./match.ts";
import type {
  Action,
  CompiledPolicy,
  CompiledRule,
  Direction,
  EntityMatch,
  IcmpMatch,
  PortRange,
} from "./model.ts";
import { ruleIds } from "./rule-ids.ts";
import { entitySelector, excludedSelector } from "./scope.ts";
import { behindService, type SetSpec, setId } from "./set-spec.ts";

/** A policy or profile as written. */
export interface PolicySource {
  readonly id: string;
  /** Bounds the selectors of its rules; absent for cluster-wide policies and profiles. */
  readonly namespace?: string;
  readonly tier?: string;
  readonly revision?: string;
  readonly ingress: readonly Rule[];
  readonly egress: readonly Rule[];
  /** Known to be unusable, for this reason. */
  readonly problem?: string;
  readonly isStaged?: true;
  /** Also asked of packets between others: that its own side of them is an endpoint of this node is not said. */
  readonly isForForwarded?: true;
}

/** A compiled policy and the sets that its rules refer to, by id. */
export interface Compiled {
  readonly policy: CompiledPolicy;
  readonly sets: ReadonlyMap<string, SetSpec>;
  /**
   * The sets that must be known whole. A member that is missing makes an Allow narrower, which is closed; it makes a
   * Deny narrower, or what is allowed outside of a set wider, which is open; and a Pass may be either.
   */
  readonly critical: ReadonlySet<string>;
}

/** A rule that cannot be expressed in the model. */
class CompileError extends Error {
  readonly code = "unresolvable-rule";
}

/**
 * Compiles the rules of a policy. One that cannot be compiled denies everything in both directions and says why:
 * a part of a policy may open what the rest of it was meant to close.
 */
export function compile(source: PolicySource): Compiled {
  const sets = new Map<string, SetSpec>();
  const common = commonOf(source);
  const refused = (why: string): Compiled => ({
    ...{ policy: closed(common, why), sets: new Map(), critical: new Set() },
  });
  if (source.problem !== undefined) return refused(source.problem);
  const need = (spec: SetSpec): string => {
    const id = setId(spec);
    sets.set(id, spec);
    return id;
  };
  const compileAll = (direction: Direction) =>
    source[direction].map((rule, place) =>
      compileRule(ruleInForce(rule, direction), {
        id: ruleIds.policyRule(source.id, direction, place),
        namespace: source.namespace,
        isLocal: (isDestination) => !source.isForForwarded && isDestination === (direction === "ingress"),
        need,
      }),
    );
  try {
    const [ingress, egress] = [compileAll("ingress"), compileAll("egress")];
    const critical = new Set([...ingress, ...egress].flatMap(criticalSets));
    return { policy: { ...common, ingress, egress, ...outdatedIn(source) }, sets, critical };
  } catch (error) {
    if (!(error instanceof CompileError || error instanceof SelectorError || error instanceof NetError))
      throw error;
    return refused(error.message);
  }
}

function outdatedIn(source: PolicySource): Pick<CompiledPolicy, "outdated"> {
  const [issue] = outdatedRules(source);
  return issue ? { outdated: ofFormer(issue) } : {};
}

/** What is wrong with a value that a former version took. */
export const ofFormer = ({ path, message }: Issue): string => `${path} of a former version: ${message}`;

function criticalSets({ action, source, destination }: CompiledRule): readonly string[] {
  const [within, outside] = [source, destination].reduce<[string[], string[]]>(
    ([a, b], { sets, namedPorts, notSets, notNamedPorts }) => [
      [...a, ...sets, ...namedPorts],
      [...b, ...notSets, ...notNamedPorts],
    ],
    [[], []],
  );
  const needed = { allow: outside, deny: within, pass: [...within, ...outside], log: [] };
  return needed[action];
}

/** The policy, denying everything both ways for a reason. */
export function closed(policy: Pick<CompiledPolicy, Common>, problem: string): CompiledPolicy {
  const common = commonOf(policy);
  const deny = (direction: Direction): CompiledRule[] => [
    { id: ruleIds.policyRule(common.id, direction, 0), action: "deny", source: ANY, destination: ANY },
  ];
  return { ...common, ingress: deny("ingress"), egress: deny("egress"), problem };
}

type Common = "id" | "tier" | "revision" | "isStaged";

const commonOf = ({
  id,
  tier,
  revision,
  isStaged,
}: Pick<CompiledPolicy, Common>): Pick<CompiledPolicy, Common> => ({
  id,
  ...(tier !== undefined && { tier }),
  ...(revision !== undefined && { revision }),
  ...(isStaged && { isStaged }),
});

const ANY: EntityMatch = {
  nets: [],
  notNets: [],
  sets: [],
  notSets: [],
  ports: [],
  namedPorts: [],
  notPorts: [],
  notNamedPorts: [],
};

interface Context {
  readonly id: string;
  readonly namespace: string | undefined;
  /** Whether that side of the packet is an endpoint of this node. */
  readonly isLocal: (isDestination: boolean) => boolean;
  readonly need: (spec: SetSpec) => string;
}

function compileRule(rule: Rule, context: Context): CompiledRule {
  const protocol = protocolNumber(rule.protocol);
  const ipVersion = rule.ipVersion ?? icmpFamily(rule, protocol);
  const side = (entity: EntityRule | undefined, isDestination: boolean) =>
    entity ? compileEntity(entity, { ...context, protocol, isDestination }) : ANY;
  const compiled: Omit<CompiledRule, "source" | "destination"> = {
    id: context.id,
    action: ACTIONS[rule.action],
    ...(ipVersion !== undefined && { ipVersion }),
    ...(protocol !== undefined && { protocol }),
    ...(rule.notProtocol !== undefined && { notProtocol: protocolNumber(rule.notProtocol) }),
    ...icmpFields(rule),
  };
  return { ...compiled, source: side(rule.source, false), destination: side(rule.destination, true) };
}

const ACTIONS = { Allow: "allow", Deny: "deny", Pass: "pass", Log: "log" } as const satisfies Record<
  string,
  Action
>;

const PROTOCOLS: Readonly<Record<string, number>> = {
  ICMP: 1,
  TCP: 6,
  UDP: 17,
  ICMPv6: 58,
  SCTP: 132,
  UDPLite: 136,
};

function protocolNumber(protocol: Rule["protocol"]): number | undefined {
  if (protocol === undefined || typeof protocol === "number") return protocol;
  const number = PROTOCOLS[protocol];
  if (number === undefined) throw new CompileError(`unknown protocol ${protocol}`);
  return number;
}

/** ICMP types have a meaning in one family only. */
function icmpFamily({ icmp, notICMP }: Rule, protocol: number | undefined): Family | undefined {
  if (!icmp && !notICMP) return undefined;
  if (protocol === PROTOCOLS.ICMP) return 4;
  if (protocol === PROTOCOLS.ICMPv6) return 6;
  throw new CompileError("an ICMP match needs protocol ICMP or ICMPv6");
}

function icmpFields({ icmp, notICMP }: Rule): { icmp?: IcmpMatch; notIcmp?: IcmpMatch } {
  return { ...(icmp && icmpMatch("icmp", icmp)), ...(notICMP && icmpMatch("notIcmp", notICMP)) };
}

function icmpMatch(
  field: "icmp" | "notIcmp",
  { type, code }: NonNullable<Rule["icmp"]>,
): Record<string, IcmpMatch> {
  if (type === undefined) return {};
  return { [field]: { type, ...(code !== undefined && { code }) } };
}

interface SideContext extends Context {
  readonly protocol: number | undefined;
  readonly isDestination: boolean;
}

function compileEntity(entity: EntityRule, context: SideContext): EntityMatch {
  const selector = entitySelector(entity, context.namespace);
  const excluded = excludedSelector(entity);
  const services = compileServices(entity, context);
  const nodes = entity.nodeSelector === undefined ? [] : [context.need(nodesOf(entity.nodeSelector))];
  const domains = entity.domains ? [context.need(domainsOf(entity.domains))] : [];
  const whose = { ...context, whose: selector ?? { kind: "all" as const } };
  const [ports, notPorts] = [compilePorts(entity.ports, whose), compilePorts(entity.notPorts, whose)];
  return {
    nets: prefixes(entity.nets),
    notNets: prefixes(entity.notNets),
    sets: [...(selector ? [context.need({ selector })] : []), ...services.sets, ...nodes, ...domains],
    notSets: excluded ? [context.need({ selector: excluded })] : [],
    ports: ports.ranges,
    namedPorts: [...ports.sets, ...services.namedPorts],
    notPorts: notPorts.ranges,
    notNamedPorts: notPorts.sets,
  };
}

/**
 * What stands behind a service: where packets go, its addresses with the ports that it serves there; where they come from,
 * the addresses alone (calico.md §1.9). One that there is not matches nothing.
 */
function compileServices(
  { services }: EntityRule,
  { need, namespace, isDestination }: SideContext,
): Pick<EntityMatch, "sets" | "namedPorts"> {
  if (!services) return { sets: [], namedPorts: [] };
  const its = services.namespace ?? namespace;
  if (its === undefined) throw new CompileError(`service ${services.name} needs a namespace`);
  const service = `${its}/${services.name}`;
  return isDestination
    ? { sets: [], namedPorts: [need(behindService(service, "every"))] }
    : { sets: [need(behindService(service))], namedPorts: [] };
}

const nodesOf = (nodeSelector: string): SetSpec => ({
  among: "nodes",
  selector: parseSelector(nodeSelector),
});

const prefixes = (nets: readonly string[] | undefined): Prefix[] =>
  (nets ?? []).map((net) => parsePrefix(net, { mask: true }));

/**
 * Numbers become ranges. A name becomes the set of that port: on the policy's own side of the packet that of this node's endpoints,
 * which all policies that use the name share; on the other side that of what the side's selector means, or of every endpoint.
 */
function compilePorts(
  ports: EntityRule["ports"],
  { need, protocol, isLocal, isDestination, whose }: SideContext & { readonly whose: Selector },
): { ranges: PortRange[]; sets: string[] } {
  const ranges: PortRange[] = [];
  const sets: string[] = [];
  const among: SetSpec = isLocal(isDestination)
    ? { among: "local", selector: { kind: "all" } }
    : { selector: whose };
  for (const text of ports ?? []) {
    const port = parsePort(text);
    const named = protocol === undefined ? undefined : PORT_PROTOCOLS[protocol];
    if (!port || named === undefined) throw new CompileError(`port ${text} needs protocol TCP, UDP or SCTP`);
    if (port.kind === "range") ranges.push({ first: port.low, last: port.high });
    else sets.push(need({ ...among, port: { name: port.name, protocol: named } }));
  }
  return { ranges, sets };
}
