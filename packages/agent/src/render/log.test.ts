import { expect, test } from "@jest/globals";
import { effective } from "@margay/api";
import { renderConfig } from "./config.ts";
import { logTarget } from "./log.ts";

const NP = { id: "np/shop/db", tier: "default" };
const GNP = { id: "gnp/guard", tier: "security" };
const PROFILE = { id: "profile/kns.shop" };

test.each<[why: string, logPrefix: string, policy: typeof GNP | typeof PROFILE, prefix: string]>([
  ["as it is", "drops", NP, "drops: "],
  ["each specifier", "%t|%k|%n|%p", NP, "default|np|db|shop/db: "],
  ["no namespace", "%t %k %p", GNP, "security gnp guard: "],
  ["a profile is in no tier", "%t %k %n", PROFILE, "profile profile kns.shop: "],
  ["what is no specifier", "100% %x %", GNP, "100% %x %: "],
  ["twice", "%n%n", GNP, "guardguard: "],
  ["29 bytes and no more, the end kept", "a".repeat(40), NP, `${"a".repeat(27)}: `],
  [
    "what was put in is bounded as well",
    "%p",
    { id: `np/${"n".repeat(60)}/p`, tier: "t" },
    `${"n".repeat(27)}: `,
  ],
  ["whole characters", `${"a".repeat(26)}é`, NP, `${"a".repeat(26)}: `],
])("a log prefix: %s", (_why, logPrefix, policy, prefix) => {
  const config = renderConfig({ ...effective("FelixConfiguration", [], "n1"), logPrefix });
  expect(logTarget(policy, config)).toEqual(["-j", "LOG", "--log-prefix", prefix, "--log-level", "5"]);
});

test("nftables takes 127", () => {
  const felix = { ...effective("FelixConfiguration", [], "n1"), logPrefix: "%p" };
  const policy = { id: `np/${"n".repeat(200)}/p`, tier: "t" };
  const [, , , prefix] = logTarget(policy, { ...renderConfig(felix), logPrefixAtMost: 127 });
  expect(prefix).toBe(`${"n".repeat(125)}: `);
});
