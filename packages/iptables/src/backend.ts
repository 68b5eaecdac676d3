import type { Family } from "@margay/net";
import { IptablesError } from "./error.ts";
import { run } from "./tool.ts";

/** `nft`: the iptables-nft-* tools; `legacy`: iptables-legacy-*. A host must not use both at once. */
export type Backend = "nft" | "legacy";

/** `iptables-nft-restore`, `ip6tables-legacy-save` and the like. */
export const toolName = (family: Family, backend: Backend, verb: "restore" | "save"): string =>
  `${family === 4 ? "iptables" : "ip6tables"}-${backend}-${verb}`;

/** What `chooseBackend` weighs: the text of both backends' iptables-save (empty if missing), and `iptables -V`. */
export interface BackendEvidence {
  readonly nft: string;
  readonly legacy: string;
  readonly version: string;
}

/**
 * The backend that the rest of the host uses, judged as Kubernetes' own wrapper does: the one with kubelet's
 * canary chains; else the one with more rules; else what plain `iptables` is; else nft (pure).
 */
export function chooseBackend({ nft, legacy, version }: BackendEvidence): Backend {
  const canary = /^:KUBE-(IPTABLES-HINT|KUBELET-CANARY) /m;
  if (canary.test(nft)) return "nft";
  if (canary.test(legacy)) return "legacy";
  const rules = (text: string) => text.split("\n").filter((line) => line.startsWith("-A")).length;
  const lead = rules(nft) - rules(legacy);
  if (lead !== 0) return lead > 0 ? "nft" : "legacy";
  return version.includes("legacy") ? "legacy" : "nft";
}

/** Looks at a namespace (our own by default) and chooses. A tool that is not there counts as no rules. */
export async function detectBackend(namespace?: string): Promise<Backend> {
  const look = (tool: string, args: readonly string[]) => run({ tool, args, namespace }).catch(absent);
  const both = (backend: Backend) =>
    Promise.all([look(toolName(4, backend, "save"), []), look(toolName(6, backend, "save"), [])]);
  const [nft, legacy, version] = await Promise.all([both("nft"), both("legacy"), look("iptables", ["-V"])]);
  return chooseBackend({ nft: nft.join(""), legacy: legacy.join(""), version });
}

function absent(error: unknown): string {
  if (error instanceof IptablesError && error.code === "missing-tool") return "";
  // In a user namespace made by a user the kernel hides which legacy tables there are.
  if (error instanceof IptablesError && /_tables_names: Permission denied/.test(error.message)) return "";
  throw error;
}
