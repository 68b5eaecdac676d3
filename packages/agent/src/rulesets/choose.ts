import type { FelixSettings } from "@margay/api";
import { type Backend, detectBackend, Iptables, IptablesError } from "@margay/iptables";
import { legacyTables } from "@margay/netlink";
import { Nftables } from "@margay/nftables";
import { IptablesRuleset } from "./iptables.ts";
import { NftablesRuleset, TABLE } from "./nftables.ts";
import type { OnRepaired, Ruleset, RulesetKind } from "./ruleset.ts";

export type NftablesMode = FelixSettings["nftablesMode"];

const FAMILIES = [4, 6] as const;
const PREFIX = "margay-";
/** The table of kube-proxy in its nftables mode. */
const KUBE_PROXY = "kube-proxy";

/** What the settings choose on this host, which `Auto` looks at. */
export async function chooseKind({
  nftablesMode,
  iptablesBackend,
}: Pick<FelixSettings, "nftablesMode" | "iptablesBackend">): Promise<RulesetKind> {
  if (nftablesMode === "Enabled") return "nftables";
  if (nftablesMode === "Auto" && (await hasTable(KUBE_PROXY))) return "nftables";
  if (iptablesBackend !== "Auto") return iptablesBackend === "NFT" ? "iptables-nft" : "iptables-legacy";
  return `iptables-${await detectBackend()}`;
}

export function rulesetOf(kind: RulesetKind, onRepaired: OnRepaired): Ruleset {
  if (kind === "nftables") return new NftablesRuleset(onRepaired);
  return new IptablesRuleset(backendOf(kind), onRepaired);
}

const backendOf = (kind: "iptables-nft" | "iptables-legacy"): Backend =>
  kind === "iptables-nft" ? "nft" : "legacy";

const KINDS: readonly RulesetKind[] = ["nftables", "iptables-nft", "iptables-legacy"];

/** The rulesets besides the chosen one in which an agent before us left rules: found by a look at the kernel. */
export async function leftRulesets(chosen: RulesetKind): Promise<readonly Ruleset[]> {
  const found: Ruleset[] = [];
  for (const kind of KINDS)
    if (kind !== chosen && (await isThere(kind))) found.push(rulesetOf(kind, () => undefined));
  return found;
}

function isThere(kind: RulesetKind): Promise<boolean> {
  switch (kind) {
    case "nftables":
      return hasTable(TABLE);
    case "iptables-nft":
      return hasChain(({ name }) => name.startsWith(PREFIX));
    case "iptables-legacy":
      return hasLegacyChains();
  }
}

const hasTable = (table: string): Promise<boolean> => hasChain((chain) => chain.table === table);

async function hasChain(
  is: (chain: { readonly table: string; readonly name: string }) => boolean,
): Promise<boolean> {
  const kernel = new Nftables({ table: TABLE });
  try {
    for (const family of FAMILIES) if ((await kernel.chains(family)).some(is)) return true;
    return false;
  } finally {
    kernel.close();
  }
}

/** The tool is asked only where there are legacy tables: it would make the kernel load them. */
async function hasLegacyChains(): Promise<boolean> {
  for (const family of FAMILIES) {
    const tables = legacyTables(family);
    if (tables.length === 0) continue;
    const reader = new Iptables({ family, backend: "legacy", prefix: PREFIX, tables });
    try {
      if ((await reader.chains().list()).size > 0) return true;
    } catch (error) {
      if (!(error instanceof IptablesError) || error.code !== "missing-tool") throw error; // without it nobody wrote them
    }
  }
  return false;
}
