import { type AdminPolicy, type AdminRule, egressPeer, ingressPeer } from "./admin-policy.ts";

/**
 * Peers of a later version, of which no field is known. "Fail closed" has a meaning for these in each version of network-policy-api: a rule
 * to accept matches no traffic, one to deny or to pass denies all. The policy's other rules stand.
 */
type Fields = Readonly<Record<string, unknown>>;

const PEERS = {
  ingress: { field: "from", known: Object.keys(ingressPeer.shape) },
  egress: { field: "to", known: Object.keys(egressPeer.shape) },
} as const;
type Direction = keyof typeof PEERS;

/** The spec without the rules that name such peers; undefined if none does. */
export function withoutUnknownPeers(spec: Fields): Fields | undefined {
  const left = (direction: Direction) =>
    rulesIn(spec[direction]).filter((rule) => !isUnknown(rule, direction));
  const [ingress, egress] = [left("ingress"), left("egress")];
  const isWhole =
    ingress.length === rulesIn(spec.ingress).length && egress.length === rulesIn(spec.egress).length;
  return isWhole ? undefined : { ...spec, ingress, egress };
}

/** The policy that was read of it, and in their places what stands for the rules that were left out. */
export function withClosedRules(spec: Fields, known: AdminPolicy): AdminPolicy {
  const rules = (direction: Direction): AdminRule[] => {
    const left = [...known[direction]];
    return rulesIn(spec[direction]).flatMap((rule) =>
      isUnknown(rule, direction) ? standIn(rule as Fields) : left.splice(0, 1),
    );
  };
  return { ...known, ingress: rules("ingress"), egress: rules("egress") };
}

const standIn = ({ action, name }: Fields): AdminRule[] =>
  action === "Accept" || action === "Allow"
    ? []
    : [{ action: "Deny", ...(typeof name === "string" && { name }) }];

const rulesIn = (rules: unknown): readonly unknown[] => (Array.isArray(rules) ? rules : []);

function isUnknown(rule: unknown, direction: Direction): boolean {
  const { field, known } = PEERS[direction];
  const peers = (rule as Fields | undefined)?.[field];
  return Array.isArray(peers) && peers.some((peer) => isObject(peer) && !known.some((name) => name in peer));
}

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;
