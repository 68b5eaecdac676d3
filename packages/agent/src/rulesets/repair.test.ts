import { expect, test } from "@jest/globals";
import { repaired } from "./testing/probed.ts";

/** On a busy machine the tools alone take their time: what is promised is a second on a quiet one. */
const PATIENCE_MS = 3000;

const HOOK = "hook in filter/FORWARD (IPv4)";
const CHAIN = "chain filter/margay-forward (IPv4)";

test.each<[backend: string, expected: Record<string, string>]>([
  [
    "nftables",
    {
      "our chain flushed": "chain filter-forward (IPv4)",
      "a rule put into our chain": "chain filter-fw-calia (IPv4)",
      "an element taken from our map": "map filter-from-wl (IPv4)",
      "everything flushed": "chain filter-FORWARD (IPv4)",
      "our table deleted": "map filter-to-wl (IPv6)",
    },
  ],
  [
    "iptables-nft",
    {
      "our chain flushed": CHAIN,
      "our hook deleted": HOOK,
      "everything flushed": HOOK,
      "a rule inserted before our hook": HOOK,
      "a rule put into our chain": CHAIN,
    },
  ],
  [
    "iptables-legacy", // a rule put into our chain looks from outside like one put into anybody's: seen at the next refresh
    {
      "our chain flushed": CHAIN,
      "our hook deleted": HOOK,
      "everything flushed": HOOK,
      "a rule inserted before our hook": HOOK,
    },
  ],
])(
  "%s: what others do to our rules is undone and named, what they do for themselves stays",
  (backend, expected) => {
    const { mistaken, rows } = repaired(backend);
    expect(mistaken).toEqual([]);
    expect(rows.map(({ what }) => what)).toEqual(Object.keys(expected));
    for (const { what, afterMs, told, foreignStays } of rows) {
      expect(afterMs ?? Number.POSITIVE_INFINITY).toBeLessThan(PATIENCE_MS);
      expect(told).toContain(expected[what]);
      expect([what, foreignStays]).toEqual([what, true]);
    }
  },
  120_000,
);
