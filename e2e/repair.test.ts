import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "@jest/globals";
import { unstarved } from "./testing/unstarved.ts";

/** Issue 4: what others do to our rules is repaired within a second, not counted in which there was no processor for it. Needs no lab; here, where nothing else runs beside it. */
const WITHIN_MS = 1000;

const SCRIPT = fileURLToPath(new URL("../packages/agent/src/rulesets/testing/repair.ts", import.meta.url));

interface Report {
  readonly mistaken: readonly string[];
  readonly rows: readonly {
    readonly what: string;
    readonly afterMs?: number;
    readonly waitedMs: number;
    readonly told: readonly string[];
    readonly foreignStays: boolean;
  }[];
}

function repaired(backend: string): Report {
  const node = [process.execPath, "--conditions=margay-source", "--no-warnings", SCRIPT, backend];
  const options = { encoding: "utf8", timeout: 880_000 } as const;
  return JSON.parse(execFileSync("unshare", ["-Urnm", "--kill-child", ...node], options)) as Report;
}

const FAMILIES = ["IPv4", "IPv6"] as const;
const HOOKS = {
  raw: ["PREROUTING", "OUTPUT"],
  mangle: ["PREROUTING", "FORWARD"],
  filter: ["FORWARD", "INPUT", "OUTPUT"],
  nat: ["PREROUTING", "OUTPUT", "POSTROUTING"],
} as const;
type Table = keyof typeof HOOKS;
const TABLES = Object.keys(HOOKS) as Table[];

const hooksOf = (table: Table, family: string) =>
  HOOKS[table].map((chain) => `hook in ${table}/${chain} (${family})`);
const allHooks = TABLES.flatMap((table) => FAMILIES.flatMap((family) => hooksOf(table, family)));
const flushed = (backend: string) =>
  TABLES.flatMap((table) =>
    FAMILIES.map((family) => {
      const tool = family === "IPv4" ? backend : backend.replace("ip", "ip6");
      return [`${table} flushed by ${tool}`, hooksOf(table, family)] as const;
    }),
  );
const FORWARD = ["chain filter/margay-forward (IPv4)"];
const SET = [expect.stringMatching(/^set margay4-s-/)];

const iptables = (backend: string, more: Record<string, readonly unknown[]>) => ({
  "our chain flushed": FORWARD,
  ...Object.fromEntries(flushed(backend)),
  "our hooks deleted": allHooks,
  "rules inserted before our hooks": allHooks,
  ...more,
  "a set of ours flushed": SET,
  "a member taken from a set of ours": SET,
  "a member put into a set of ours": SET,
  "all sets flushed": ["set margay4-all-pools", "set margay6-all-pools", ...SET],
  "all rules and sets destroyed": [...allHooks, ...FORWARD, "set margay4-all-hosts", ...SET],
});

test.each<[backend: string, expected: Record<string, readonly unknown[]>]>([
  [
    "nftables",
    {
      "our chain flushed": ["chain filter-forward (IPv4)"],
      "our hooks flushed": TABLES.flatMap((table) =>
        FAMILIES.flatMap((family) => HOOKS[table].map((chain) => `chain ${table}-${chain} (${family})`)),
      ),
      "a hook deleted": ["chain raw-PREROUTING (IPv4)"],
      "a rule put into our chain": ["chain filter-from-cohort (IPv4)"],
      "a rule inserted before ours in a hook": ["chain filter-FORWARD (IPv6)"],
      "an element taken from our map": ["map filter-from-cohort (IPv4)"],
      "an element taken from a set of ours": ["set pod-addresses (IPv4)"],
      "an interface put into another group": [],
      "a set of ours flushed": [expect.stringMatching(/^set s-.* \(IPv4\)$/)],
      "everything flushed": ["chain filter-FORWARD (IPv4)", "chain filter-FORWARD (IPv6)"],
      "our IPv4 table deleted": ["chain filter-FORWARD (IPv4)", "map filter-to-cohort (IPv4)"],
      "our IPv6 table deleted": ["chain filter-FORWARD (IPv6)", "map filter-to-cohort (IPv6)"],
    },
  ],
  ["iptables-nft", iptables("iptables-nft", { "a rule put into our chain": FORWARD })],
  // A rule put into our chain looks from outside like one put into anybody's: seen at the next refresh.
  ["iptables-legacy", iptables("iptables-legacy", {})],
])(
  "%s: what others do to our rules is undone within a second and named, what they do for themselves stays",
  (backend, expected) => {
    const { mistaken, rows } = repaired(backend);
    expect(mistaken).toEqual([]);
    expect(rows.map(({ what }) => what)).toEqual(Object.keys(expected));
    for (const { what, afterMs = Number.POSITIVE_INFINITY, waitedMs, told, foreignStays } of rows) {
      expect([what, unstarved(afterMs, waitedMs) < WITHIN_MS ? "in time" : afterMs]).toEqual([
        what,
        "in time",
      ]);
      expect({ what, told }).toEqual({ what, told: expect.arrayContaining([...(expected[what] ?? [])]) });
      expect({ what, foreignStays }).toEqual({ what, foreignStays: true });
    }
  },
);
