import type { Family } from "@margay/net";
import { type Backend, toolName } from "./backend.ts";
import { IptablesError } from "./error.ts";
import { markOf } from "./rule.ts";
import { parseSave, type SavedChain } from "./save.ts";
import { run } from "./tool.ts";
import { splitWords } from "./words.ts";

/** Whose rules are looked for. */
export interface RefusingOptions {
  readonly family: Family;
  readonly backend: Backend;
  /** What bears it is ours, and not meant. */
  readonly prefix: string;
  readonly namespace?: string;
}

/** A packet that reaches one of these goes on. All others are taken to end it, be they unknown to us. */
const HARMLESS: ReadonlySet<string> = new Set([
  ...["ACCEPT", "RETURN", "LOG", "NFLOG", "AUDIT", "TRACE", "MARK", "CONNMARK"],
]);
/**
 * Chains of kubelet and kube-proxy in table `filter` (pkg/kubelet and pkg/proxy of Kubernetes 1.34). What they refuse is no policy's matter and
 * is meant to be refused: packets to 127.0.0.0/8 from elsewhere, Services without endpoints, those whom `loadBalancerSourceRanges` leaves
 * out, what conntrack calls invalid. Others' chains begin with KUBE- too, those of kube-router, and do count.
 */
const OF_KUBERNETES: ReadonlySet<string> = new Set(
  [
    ...["FIREWALL", "FORWARD", "SERVICES", "EXTERNAL-SERVICES", "NODEPORTS", "PROXY-FIREWALL"],
    ...["NODE-PORT", "SOURCE-RANGES-FIREWALL", "IPVS-FILTER", "IPVS-OUT-FILTER"],
    ...["IPTABLES-HINT", "KUBELET-CANARY", "PROXY-CANARY"],
  ].map((name) => `KUBE-${name}`),
);

/** Whether what a chain of `filter` holds can refuse nothing that is ours to allow. */
export const isOfKubernetes = (chain: string): boolean => OF_KUBERNETES.has(chain);

/**
 * Names the first rule or policy of others in iptables' table `filter` that may refuse a packet which another table has let
 * pass; undefined where there is none, no such tool, or a table that only nft can read. Asking the legacy tool makes the kernel
 * load the table: ask where there is one.
 */
export async function othersRefusing(options: RefusingOptions): Promise<string | undefined> {
  const { family, backend, prefix, namespace } = options;
  const job = { tool: toolName(family, backend, "save"), args: ["-t", "filter"], namespace };
  const text = await run(job).catch((error: unknown) => {
    if (error instanceof IptablesError && error.code === "missing-tool") return "";
    throw error;
  });
  const found = refusing(parseSave(text, markOf(prefix)), prefix);
  return found && `iptables-${backend}, IPv${family}, ${found}`;
}

/** The same of what iptables-save printed of that table (pure). */
export function refusing(chains: ReadonlyMap<string, SavedChain>, prefix: string): string | undefined {
  const seen = new Set<string>();
  const inChain = (name: string): string | undefined => {
    if (seen.has(name) || name.startsWith(prefix) || isOfKubernetes(name)) return undefined;
    seen.add(name);
    for (const { spec, ours } of chains.get(`filter/${name}`)?.rules ?? []) {
      if (ours) continue;
      const target = targetOf(spec);
      if (target === undefined || HARMLESS.has(target)) continue;
      if (!chains.has(`filter/${target}`)) return `-A ${name} ${spec}`;
      const below = inChain(target);
      if (below) return below;
    }
    return undefined;
  };
  for (const [key, { builtin, policy }] of chains) {
    const name = key.slice(key.indexOf("/") + 1);
    if (!builtin) continue;
    if (policy !== "ACCEPT") return `policy ${policy} of ${name}`;
    const found = inChain(name);
    if (found) return found;
  }
  return undefined;
}

/** Where a rule sends what it matches; undefined where it only counts. */
function targetOf(spec: string): string | undefined {
  const words = splitWords(spec);
  const at = words.findIndex((word) => word === "-j" || word === "-g");
  return at < 0 ? undefined : words[at + 1];
}
