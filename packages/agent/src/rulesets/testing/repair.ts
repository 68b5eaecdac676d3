import { execFileSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { asNode, base, resource } from "../../render/testing/pods.ts";
import { BACKENDS } from "./backends.ts";
import { Keeper } from "./processes.ts";

/**
 * Run under `unshare -Urnm` with a backend's name: what is done to the rules by others, how long it takes until they are as they
 * were, and what was told of it. Prints JSON: one entry for each row.
 */
export interface Report {
  /** Changes by others that were seen while only we wrote. */
  readonly mistaken: readonly string[];
  readonly rows: readonly Repaired[];
}

export interface Repaired {
  readonly what: string;
  /** Undefined: not within 5 s. */
  readonly afterMs: number | undefined;
  readonly told: readonly string[];
  readonly foreignStays: boolean;
}

const sh = (script: string): string =>
  execFileSync("sh", ["-ec", `PATH=$PATH:/usr/sbin:/sbin; ${script}`], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
const backend = process.argv[2] as keyof typeof BACKENDS; // a wrong one has no tool
const tool = backend === "nftables" ? "nft" : backend;

/** Scripts that do harm; `foreign` marks what they add for themselves and is to stay. */
const HARM: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  nftables: {
    "our chain flushed": "nft flush chain ip margay filter-forward",
    "a rule put into our chain": "nft insert rule ip margay filter-fw-calia accept",
    "an element taken from our map": "nft delete element ip margay filter-from-wl '{ calia }'",
    "everything flushed": "nft flush ruleset",
    "our table deleted": "nft delete table ip6 margay",
  },
  iptables: {
    "our chain flushed": `${tool} -F margay-forward`,
    "our hook deleted": `${tool} -S FORWARD | sed -n 's/^-A/-D/p' | xargs -L1 ${tool}`,
    "everything flushed": `${tool} -F`,
    "a rule inserted before our hook": `${tool} -I FORWARD -s 192.0.2.1 -m comment --comment foreign -j ACCEPT`,
    // Legacy tables do not tell: from outside it looks like a rule put into anybody's chain.
    ...(backend === "iptables-nft" && { "a rule put into our chain": `${tool} -I margay-forward -j ACCEPT` }),
  },
};

/** Without counters and handles. */
const rules = (): string =>
  sh(backend === "nftables" ? "nft -s list ruleset" : `${tool}-save; ip6${tool.slice(2)}-save`)
    .replace(/^#.*\n/gm, "")
    .replace(/\[\d+:\d+\]/g, "");
const ours = (): string =>
  rules()
    .split("\n")
    .filter((line) => !line.includes("foreign"))
    .join("\n");

async function main(): Promise<void> {
  asNode({ routes: false });
  const keeper = new Keeper();
  await keeper.order({ put: [...base(), resource("FelixConfiguration", "default", BACKENDS[backend])] });
  for (let n = 0; n < 20; n++) {
    const policy = resource("NetworkPolicy", "p", {
      order: n,
      ingress: [{ action: n % 2 ? "Allow" : "Deny" }],
    });
    await keeper.order(n % 5 === 4 ? { remove: [policy] } : { put: [policy] });
  }
  await sleep(500);
  await keeper.order({}); // reads what it said meanwhile
  const mistaken = keeper.changed.filter((why) => why.includes("by others"));
  const rows: Repaired[] = [];
  for (const [what, script] of Object.entries(HARM[backend === "nftables" ? backend : "iptables"] ?? {})) {
    await sleep(700); // the last one's repair has been looked at
    const before = ours();
    const startedAt = performance.now();
    sh(script);
    let afterMs: number | undefined;
    while (afterMs === undefined && performance.now() - startedAt < 5000) {
      await sleep(20);
      const isFirst = backend === "nftables" || sh(`${tool} -S FORWARD`).split("\n")[1]?.includes("margay");
      if (isFirst && ours() === before) afterMs = Math.round(performance.now() - startedAt);
    }
    await keeper.order({}); // reads what it said meanwhile
    const told = keeper.repaired.splice(0);
    rows.push({
      what,
      afterMs,
      told,
      foreignStays: !script.includes("foreign") || rules().includes("foreign"),
    });
  }
  await keeper.stop();
  process.stdout.write(`${JSON.stringify({ mistaken, rows } satisfies Report)}\n`);
}

await main();
