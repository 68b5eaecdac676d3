import { release } from "node:os";
import type { FelixSettings } from "@margay/api";
import { type Backend, detectBackend, Iptables, IptablesError, othersRefusing } from "@margay/iptables";
import { legacyTables } from "@margay/netlink";
import { Nftables } from "@margay/nftables";
import { IptablesRuleset } from "./iptables.ts";
import { NftablesRuleset, TABLE } from "./nftables.ts";
import type { OnRepaired, Ruleset, RulesetKind } from "./ruleset.ts";

export type NftablesMode = FelixSettings["nftablesMode"];

const FAMILIES = [4, 6] as const;
const PREFIX = "margay-";
/** `Auto` takes nftables from the oldest Linux on that we have tried it on. */
const OLDEST_TRIED = [6, 1] as const;

/** Where rules are written, and the reason, which the log gives. */
export interface Choice {
  readonly kind: RulesetKind;
  readonly because: string;
}

/**
 * What the settings choose on this host. `Auto` is nftables unless others keep rules in iptables that may refuse packets:
 * the kernel drops what any table drops, so there our accepting must come first in theirs. Docker, ufw and libvirt keep such
 * rules; kube-proxy's are meant to hold. Who names a backend of iptables gets it.
 */
export async function choose({
  nftablesMode,
  iptablesBackend,
}: Pick<FelixSettings, "nftablesMode" | "iptablesBackend">): Promise<Choice> {
  if (nftablesMode === "Enabled") return { kind: "nftables", because: "nftablesMode is Enabled" };
  const disabled = nftablesMode === "Disabled" && "nftablesMode is Disabled";
  if (iptablesBackend !== "Auto") {
    const kind = iptablesBackend === "NFT" ? "iptables-nft" : "iptables-legacy";
    return { kind, because: `iptablesBackend is ${iptablesBackend}` };
  }
  const because = disabled || whyOld();
  if (because) return { kind: `iptables-${await detectBackend()}`, because };
  const refusing = await whoRefuses();
  if (!refusing) return { kind: "nftables", because: "no rule of others in iptables refuses anything" };
  const { backend, found } = refusing;
  return { kind: `iptables-${backend}`, because: `a rule of others may refuse packets (${found})` };
}

function whyOld(): string | undefined {
  const [major = 0, minor = 0] = release().split(".").map(Number);
  const isOld = major < OLDEST_TRIED[0] || (major === OLDEST_TRIED[0] && minor < OLDEST_TRIED[1]);
  return isOld ? `Linux ${release()} is older than ${OLDEST_TRIED.join(".")}` : undefined;
}

/**
 * The backend where our hook must stand before theirs, and one of their rules. Where both have such rules, neither helps against the other's,
 * and it is the one that the rest of the host uses. Legacy tables are asked for only where they are: the tool would make the kernel load them.
 */
async function whoRefuses(): Promise<{ readonly backend: Backend; readonly found: string } | undefined> {
  const all = new Map<Backend, string>();
  for (const family of FAMILIES) {
    const hasLegacy = legacyTables(family).includes("filter");
    for (const backend of hasLegacy ? (["nft", "legacy"] as const) : (["nft"] as const)) {
      const found = all.has(backend) ? undefined : await othersRefusing({ family, backend, prefix: PREFIX });
      if (found) all.set(backend, found);
    }
  }
  const [first] = all;
  if (!first) return undefined;
  const backend = all.size > 1 ? await detectBackend() : first[0];
  return { backend, found: all.get(backend) ?? first[1] };
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
