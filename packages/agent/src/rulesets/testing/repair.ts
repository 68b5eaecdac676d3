import { execFileSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import type { AnyResource } from "@margay/api";
import { waitedMs } from "@margay/testing";
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
  /** From the end of the harm until all is as it was; undefined: not within 10 s. */
  readonly afterMs: number | undefined;
  /** How much of that somebody on this machine waited for a processor. */
  readonly waitedMs: number;
  readonly told: readonly string[];
  /** What others have, as the harm left it, is there. */
  readonly foreignStays: boolean;
}

const sh = (script: string): string =>
  execFileSync("sh", ["-ec", `PATH=$PATH:/usr/sbin:/sbin; ${script}`], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
const backend = process.argv[2] as keyof typeof BACKENDS; // a wrong one has no tool
const isNft = backend === "nftables";
const [tool, tool6] = [backend, `ip6${backend.slice(2)}`];
const PATIENCE_MS = 10_000;

/** Policies and settings with which every one of our hooks is there, in both families; and sets that nothing names but rules. */
const ALL_HOOKS: readonly AnyResource[] = [
  ...["10.244.0.0/16", "fd00::/64"].map((cidr, i) =>
    resource("IPPool", `p${i}`, { cidr, natOutgoing: true }),
  ),
  resource(
    "WorkloadEndpoint",
    "c",
    {
      ...{ orchestrator: "k8s", node: "n1", pod: "c", endpoint: "eth0", profiles: ["kns.x"] },
      ...{ interfaceName: "calic", ipNetworks: ["10.244.0.3/32", "fd00::3/128"] },
      ipNATs: [
        { internalIP: "10.244.0.3", externalIP: "192.0.2.3" },
        { internalIP: "fd00::3", externalIP: "2001:db8::3" },
      ],
      qosControls: { dscp: 46 },
    },
    { app: "c" },
  ),
  resource("FelixConfiguration", "default", { ...BACKENDS[backend], floatingIPs: "Enabled" }),
  resource("HostEndpoint", "h", { node: "n1", interfaceName: "eth9" }, { role: "host" }),
  ...[
    { doNotTrack: true, types: ["Ingress", "Egress"], egress: [{ action: "Allow" }] },
    { preDNAT: true, types: ["Ingress"] },
  ].map((spec, i) =>
    resource("GlobalNetworkPolicy", `h${i}`, {
      ...{ selector: "role == 'host'", applyOnForward: true, ingress: [{ action: "Allow" }], ...spec },
    }),
  ),
  resource("NetworkPolicy", "q", {
    ...{ selector: "app == 'a'", types: ["Ingress"] },
    ingress: [{ action: "Allow", source: { selector: "app in { 'b', 'c' }" } }],
  }),
];

const BUILTINS = {
  raw: ["PREROUTING", "OUTPUT"],
  mangle: ["PREROUTING", "FORWARD"],
  filter: ["FORWARD", "INPUT", "OUTPUT"],
  nat: ["PREROUTING", "OUTPUT", "POSTROUTING"],
} as const;
const TABLES = Object.keys(BUILTINS) as (keyof typeof BUILTINS)[];
/** The script, with $t, $c and $i as the table, chain and tool of each hook of ours. */
const forHooks = (script: string): string =>
  TABLES.map(
    (t) =>
      `t=${t}; for c in ${BUILTINS[t].join(" ")}; do for i in ${tool} ${tool6}; do ${script}; done; done`,
  ).join("; ");
const OUR_SET = "$(ipset save | sed -n 's/^add \\(margay4-s[^ ]*\\) 10.244.0.2$/\\1/p' | head -n1)";
const WITHOUT_RULES = TABLES.flatMap((t) =>
  [tool, tool6].map((i) => `${i} -t ${t} -F; ${i} -t ${t} -X`),
).join("; ");

const GROUPS = "ip -o link show | sed -n 's/^[0-9]*: \\(cali[^@:]*\\).* \\(group [0-9]*\\) .*/\\1 \\2/p'";

/** Scripts that do harm; `foreign` marks what others have for themselves. */
const HARM: Readonly<Record<string, string>> = isNft
  ? {
      "our chain flushed": "nft flush chain ip margay filter-forward",
      "our hooks flushed": ["ip", "ip6"]
        .flatMap((f) =>
          TABLES.flatMap((t) => BUILTINS[t].map((c) => `nft flush chain ${f} margay ${t}-${c}`)),
        )
        .join("; "),
      "a hook deleted": "nft flush chain ip margay raw-PREROUTING; nft delete chain ip margay raw-PREROUTING",
      "a rule put into our chain": "nft insert rule ip margay filter-from-cohort accept",
      "a rule inserted before ours in a hook": "nft insert rule ip6 margay filter-FORWARD accept",
      "an element taken from our map": `nft delete element ip margay filter-from-cohort "{ $(${GROUPS} | sed -n 's/^calia group //p') }"`,
      "an element taken from a set of ours":
        "nft delete element ip margay pod-addresses '{ 10.244.0.1 . calia }'",
      "an interface put into another group": "ip link set calia group 0",
      "a set of ours flushed":
        "nft flush set ip margay $(nft list sets ip | sed -n 's/.*set \\(s-[^ ]*\\) {/\\1/p' | head -n1)",
      "everything flushed": "nft flush ruleset",
      "our IPv4 table deleted": "nft delete table ip margay",
      "our IPv6 table deleted": "nft delete table ip6 margay",
    }
  : {
      "our chain flushed": `${tool} -F margay-forward`,
      ...Object.fromEntries(
        TABLES.flatMap((t) => [tool, tool6].map((i) => [`${t} flushed by ${i}`, `${i} -t ${t} -F`])),
      ),
      "our hooks deleted": forHooks("$i -t $t -S $c | sed -n '/margay/s/^-A/-D/p' | xargs -L1 $i -t $t"),
      "rules inserted before our hooks": forHooks(
        "$i -t $t -I $c -p udp --sport 9 -m comment --comment foreign -j ACCEPT",
      ),
      // Legacy tables do not tell: from outside it looks like a rule put into anybody's chain.
      ...(backend === "iptables-nft" && {
        "a rule put into our chain": `${tool} -I margay-forward -j ACCEPT`,
      }),
      "a set of ours flushed": `ipset flush ${OUR_SET}`,
      "a member taken from a set of ours": `ipset del ${OUR_SET} 10.244.0.2`,
      "a member put into a set of ours": `ipset add ${OUR_SET} 192.0.2.1`,
      "all sets flushed": "ipset flush",
      "all rules and sets destroyed": `${WITHOUT_RULES}; ipset destroy`,
    };

/** What others have of their own before we begin. */
const FOREIGN = isNft
  ? "nft add table inet foreign; nft add chain inet foreign foreign '{ type filter hook forward priority -300; }'; nft add rule inet foreign foreign counter"
  : `${forHooks("$i -t $t -A $c -p udp --sport 8 -m comment --comment foreign")}; ${tool} -N foreign; ipset create foreign hash:ip; ipset add foreign 192.0.2.9`;

/** Without counters, handles and what a set is hashed by. Of nftables, chain by chain, as they may be made in another order. */
const lines = (): string[] =>
  isNft
    ? `${sh("nft -s list ruleset")}table ${sh(GROUPS)}`
        .replace(/^\}?\n/gm, "")
        .replace(/\n+$/gm, "") // behind all but the last of a table
        .split(/\n(?=table|\t\w+ \S+ \{)/)
        .sort()
    : sh(`${tool}-save; ${tool6}-save; ipset save | sort`)
        .replace(/^#.*\n/gm, "")
        .replace(/\[\d+:\d+\]| initval \S+| hashsize \d+/g, "")
        .split("\n");
const isTheirs = (line: string): boolean => line.includes("foreign");
const text = (is: (line: string) => boolean): string => lines().filter(is).join("\n");
const ours = (): string => text((line) => !isTheirs(line));

/** No builtin chain of iptables has a rule of others before ours. */
function isFirst(): boolean {
  const first = new Map<string, string>();
  let [tables, table] = [0, ""];
  for (const line of lines()) {
    if (line.startsWith("*")) table = `${line}${tables++}`;
    const chain = /^-A ([A-Z]+) /.exec(line)?.[1];
    const key = `${table} ${chain}`;
    if (chain && !first.has(key)) first.set(key, line);
  }
  return [...first].every(([key, line]) => line.includes("margay") || !isHooked(key));
}

const isHooked = (key: string): boolean =>
  TABLES.some((t) => key.startsWith(`*${t}`) && BUILTINS[t].some((c) => key.endsWith(` ${c}`)));

async function repaired(before: string): Promise<Pick<Repaired, "afterMs" | "waitedMs">> {
  const [startedAt, waited] = [performance.now(), waitedMs()];
  const isRepaired = () => ours() === before && (isNft || isFirst());
  const soFar = () => Math.round(performance.now() - startedAt);
  let afterMs: number | undefined;
  while (afterMs === undefined && soFar() < PATIENCE_MS) {
    await sleep(20);
    if (isRepaired()) afterMs = soFar();
  }
  return { afterMs, waitedMs: Math.round(waitedMs() - waited) };
}

async function main(): Promise<void> {
  asNode({ routes: false });
  sh(FOREIGN);
  const keeper = new Keeper();
  await keeper.order({ put: [...base(), ...ALL_HOOKS] });
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
  for (const [what, script] of Object.entries(HARM)) {
    await sleep(400); // the last one's repair has been looked at
    await keeper.order({});
    keeper.repaired.splice(0);
    const before = ours();
    keeper.meanwhile(() => sh(script)); // what is put back between two commands would be in the way of the second
    const theirs = text(isTheirs);
    const times = await repaired(before);
    const foreignStays = text(isTheirs) === theirs;
    await keeper.order({});
    rows.push({ what, ...times, told: keeper.repaired.splice(0), foreignStays });
  }
  await keeper.stop();
  process.stdout.write(`${JSON.stringify({ mistaken, rows } satisfies Report)}\n`);
}

await main();
