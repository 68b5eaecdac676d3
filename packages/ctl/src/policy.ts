import { controlGet } from "@margay/daemon";
import { CtlError } from "./error.ts";
import { dump, type Form, type Terminal, table } from "./terminal.ts";

/** A policy or profile in force on a node, as the agent's control socket answers to GET /policies. */
interface PolicyView {
  /** Such as `np/shop/db`. */
  readonly id: string;
  readonly revision?: string;
  /** Why it denies everything. */
  readonly problem?: string;
  /** What of it is in force otherwise than it reads. */
  readonly outdated?: string;
  /** How many endpoints of the node it applies to. */
  readonly endpoints: number;
  /** Its rules count what they match, and decide nothing. */
  readonly staged?: boolean;
  readonly rules: readonly { readonly id: string; readonly action: string }[];
}

/** By rule id, as the agent answers to GET /counters. */
type Counters = Readonly<Record<string, { readonly packets: number; readonly bytes: number }>>;

export interface PolicyRequest {
  readonly runDir: string;
  /** `np/shop/db`, `shop/db` or `db`; all when absent. */
  readonly name?: string | undefined;
  readonly counters: boolean;
  readonly output: Form;
}

/**
 * `margay policy show`: the policies and profiles in force on this node, rule by rule. Throws ControlError when the agent
 * cannot be asked, CtlError `not-found` when no policy in force bears the name.
 */
export async function showPolicy(request: PolicyRequest, terminal: Terminal): Promise<void> {
  const { runDir, name, output } = request;
  const all = (await controlGet(runDir, "agent", "/policies")) as readonly PolicyView[];
  const policies = all.filter(({ id }) => name === undefined || isNamed(id, name));
  if (name !== undefined && policies.length === 0)
    throw new CtlError("not-found", `no policy ${name} applies to a pod of this node; ${known(all)}`);
  const counters = request.counters
    ? ((await controlGet(runDir, "agent", "/counters")) as Counters)
    : undefined;
  const shown = policies.map((policy) => counted(policy, counters));
  const others = name === undefined && counters ? decisions(all, counters) : [];
  if (output !== "table")
    return terminal.print(dump(output, { policies: shown, ...(counters && { others }) }));
  if (shown.length === 0) terminal.warn("no policy applies to a pod of this node");
  else terminal.print(render(shown, counters !== undefined, terminal));
  if (others.length > 0) {
    const rows = others.map(({ id, packets, bytes }) => [id, packets, bytes]);
    terminal.print(`\n${table(terminal, ["OTHER DECISION", "PACKETS", "BYTES"], rows)}`);
  }
}

/** As the agent's control socket answers to GET /domains. */
interface DomainView {
  readonly domain: string;
  readonly addresses: readonly { readonly address: string; readonly seconds: number }[];
}

/** `margay policy domains`: the addresses that DNS told this node of the domains that rules name. Throws ControlError when the agent cannot be asked. */
export async function showDomains(
  { runDir, output }: Pick<PolicyRequest, "runDir" | "output">,
  terminal: Terminal,
): Promise<void> {
  const domains = (await controlGet(runDir, "agent", "/domains")) as readonly DomainView[];
  if (output !== "table") return terminal.print(dump(output, { domains }));
  if (domains.length === 0)
    return terminal.warn("no pod of this node has asked DNS for a domain that a rule names");
  const rows = domains.flatMap(({ domain, addresses }) =>
    addresses.map(({ address, seconds }, i) => [i === 0 ? domain : "", address, seconds]),
  );
  terminal.print(table(terminal, ["DOMAIN", "ADDRESS", "SECONDS LEFT"], rows));
}

const isNamed = (id: string, name: string): boolean => id === name || id.endsWith(`/${name}`);

const known = (all: readonly PolicyView[]): string =>
  all.length === 0 ? "none does" : `in force: ${all.map(({ id }) => id).join(", ")}`;

type Rule = PolicyView["rules"][number] & { readonly packets?: number; readonly bytes?: number };
type Counted = Omit<PolicyView, "rules"> & { readonly rules: readonly Rule[] };

/** A rule that the kernel does not count can match nothing there, or is just being written. */
const counted = (policy: PolicyView, counters: Counters | undefined): Counted => ({
  ...policy,
  rules: policy.rules.map((rule) => ({
    ...rule,
    ...(counters && (counters[rule.id] ?? { packets: 0, bytes: 0 })),
  })),
});

/** Counters of what no rule of a policy decides, such as tier defaults and established connections. */
function decisions(all: readonly PolicyView[], counters: Counters) {
  const ofPolicies = new Set(all.flatMap(({ rules }) => rules.map(({ id }) => id)));
  return Object.entries(counters)
    .filter(([id]) => !ofPolicies.has(id))
    .map(([id, counter]) => ({ id, ...counter }));
}

function render(shown: readonly Counted[], withCounters: boolean, terminal: Terminal): string {
  const head = [
    "POLICY",
    "REVISION",
    "PODS",
    "RULE",
    "ACTION",
    ...(withCounters ? ["PACKETS", "BYTES"] : []),
  ];
  const rows = shown.flatMap(({ id, revision, endpoints, rules, problem, outdated, staged }) => {
    const first = [id, revision, endpoints];
    const lines = rules.map((rule, i) => [
      ...(i === 0 ? first : ["", "", ""]),
      ...[rule.id.split("/").slice(-2).join("/"), staged ? `(${rule.action})` : rule.action],
      ...(withCounters ? [rule.packets, rule.bytes] : []),
    ]);
    const empty = withCounters ? ["", ""] : [];
    if (lines.length === 0) lines.push([...first, "(none)", "", ...empty]);
    const told = problem !== undefined ? `closed: ${problem}` : outdated && `in force: ${outdated}`;
    return told === undefined ? lines : [...lines, ["", "", "", told, "", ...empty]];
  });
  return table(terminal, head, rows);
}
