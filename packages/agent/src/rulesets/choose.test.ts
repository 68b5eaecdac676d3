import { execFileSync } from "node:child_process";
import { afterEach, expect, test } from "@jest/globals";
import { legacyTables } from "@margay/netlink";
import { noRules, unshared } from "@margay/testing";
import { choose } from "./choose.ts";

const sh = (script: string): string =>
  execFileSync("sh", ["-ec", `PATH=$PATH:/usr/sbin:/sbin; ${script}`], { encoding: "utf8" });
const AUTO = { nftablesMode: "Auto", iptablesBackend: "Auto" } as const;
const DOCKER = "iptables-nft -P FORWARD DROP";

/** Which packet filter an agent takes on a host as others have left it: a real kernel, the others' own tools. */
unshared(import.meta.url, () => {
  afterEach(async () => {
    sh("for t in iptables-nft ip6tables-nft; do $t -P FORWARD ACCEPT; done");
    await noRules();
  });

  test.each<[why: string, script: string, kind: string, because?: string]>([
    ["nobody is here", "true", "nftables"],
    [
      "others translate and let pass",
      "iptables-nft -t nat -A POSTROUTING -j MASQUERADE; iptables-nft -A FORWARD -j ACCEPT",
      "nftables",
    ],
    ["Docker or ufw", DOCKER, "iptables-nft", "iptables-nft, IPv4, policy DROP of FORWARD"],
    [
      "kube-proxy refuses by iptables what has no endpoint",
      "iptables-nft -N KUBE-SERVICES; iptables-nft -A FORWARD -j KUBE-SERVICES; iptables-nft -A KUBE-SERVICES -d 10.96.0.9 -j REJECT",
      "nftables",
    ],
    ["in IPv6 alone", "ip6tables-nft -A FORWARD -j REJECT", "iptables-nft", "IPv6, -A FORWARD -j REJECT"],
    [
      "a table of nft's own, which drops for itself",
      "nft 'add table ip x; add chain ip x y { type filter hook forward priority 0; policy drop; }'; nft delete table ip x",
      "nftables",
    ],
    [
      "a table filter that only nft reads: nobody of iptables' can be there",
      "nft 'add table ip filter; add chain ip filter f { type filter hook forward priority 0; }; add rule ip filter f ip saddr . tcp dport { 10.0.0.1 . 80 } drop'",
      "nftables",
    ],
  ])("Auto, where %s", async (_why, script, kind, because = "no rule of others") => {
    sh(script);
    const choice = await choose(AUTO);
    expect(choice).toEqual({ kind, because: expect.stringContaining(because) });
  });

  test("Auto, where others refuse by legacy iptables", async () => {
    sh("iptables-legacy -A FORWARD -j DROP");
    const isHidden = legacyTables(4).length === 0; // not root outside: the kernel does not name the tables
    expect((await choose(AUTO)).kind).toBe(isHidden ? "nftables" : "iptables-legacy");
    sh("iptables-legacy -F FORWARD");
  });

  test.each([
    [{ ...AUTO, nftablesMode: "Enabled" }, DOCKER, "nftables", "nftablesMode is Enabled"],
    [{ ...AUTO, nftablesMode: "Disabled" }, "true", "iptables-nft", "nftablesMode is Disabled"],
    [{ ...AUTO, iptablesBackend: "NFT" }, "true", "iptables-nft", "iptablesBackend is NFT"],
    [{ ...AUTO, iptablesBackend: "Legacy" }, "true", "iptables-legacy", "iptablesBackend is Legacy"],
    [{ nftablesMode: "Enabled", iptablesBackend: "Legacy" }, "true", "nftables", "nftablesMode is Enabled"],
  ] as const)(
    "what is set goes before what is found: %j after %s",
    async (settings, script, kind, because) => {
      sh(script);
      expect(await choose(settings)).toEqual({ kind, because });
    },
  );
});
