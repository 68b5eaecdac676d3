import { expect, test } from "@jest/globals";
import { NOTHING_WRONG, probed, wrong } from "./testing/probed.ts";

/** With 1,000 updates on each backend: e2e/transactions.test.ts. */
test.each([
  ["nftables", "--updates 200"],
  ["iptables-nft", "--updates 60"],
  ["iptables-legacy", "--updates 30"],
  ["nftables", "--relabel --updates 60"],
  ["iptables-nft", "--relabel --updates 40 --family 6"],
  ["iptables-legacy", "--relabel --updates 20"],
  ["nftables", "--kills 3"],
  ["iptables-nft", "--kills 3"],
])("%s %s: each packet meets the rules before a change or those after it, never others", (backend, what) => {
  const report = probed(`--backend ${backend} ${what} --every-ms 4`);
  expect(wrong(report)).toEqual(NOTHING_WRONG);
  expect(report.allowed.sent).toBeGreaterThan(40);
  expect(report).toMatchObject({ left: [backend], repaired: [] });
});

test.each(["nftables", "iptables-nft", "iptables-legacy"])(
  "%s: nor while another program inserts its rules before ours",
  (backend) => {
    // long enough for the other program's first two rounds, however fast our updates are
    const report = probed(`--backend ${backend} --updates 20 --at-least-ms 2000 --foreign --every-ms 4`);
    expect(wrong(report)).toEqual(NOTHING_WRONG);
    expect(report.allowed.sent).toBeGreaterThan(40);
    const isTold = report.repaired.some((what) => what.startsWith("hook in filter/FORWARD"));
    expect(isTold).toBe(backend !== "nftables"); // a table of our own has nobody's rules before ours
  },
);

/** For ten minutes: `transactions.ts --switches 1 --at-least-ms 600000` under `unshare -Urnm`. */
test("20 moves from one backend to another, each with other policies, lose no packet of an established connection and let nothing through", () => {
  const report = probed("--backend nftables --switches 20 --every-ms 4");
  expect(wrong(report)).toEqual(NOTHING_WRONG);
  expect(report.allowed.sent).toBeGreaterThan(100);
  expect(report.moves).toBe(20);
  expect(report.left).toEqual(["iptables-legacy"]); // the twentieth
});
