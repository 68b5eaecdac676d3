/** FelixConfiguration of each ruleset. */
export const BACKENDS = {
  nftables: { nftablesMode: "Enabled" },
  "iptables-nft": { nftablesMode: "Disabled", iptablesBackend: "NFT" },
  "iptables-legacy": { nftablesMode: "Disabled", iptablesBackend: "Legacy" },
} as const;
