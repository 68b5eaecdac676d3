import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { WorkloadEndpoint } from "@margay/api";
import { Netlink } from "@margay/netlink";
import { unshared } from "@margay/testing";
import { shapingTarget } from "./shaping-target.ts";
import { type Bucket, wantedShaping } from "./wanted.ts";

unshared(import.meta.url, () => {
  const sh = (command: string) => execFileSync("sh", ["-c", command], { encoding: "utf8" });
  let nl: Netlink;
  beforeAll(() => {
    nl = Netlink.open();
    for (const name of ["cali1", "cali2"])
      sh(`ip link add ${name} type veth peer name p${name} && ip link set ${name} up`);
  });
  afterAll(() => nl.close());

  const plain: Bucket = { rate: 10e6, burst: 125_000 };
  const peaked: Bucket = { ...plain, peak: { rate: 20e6, burst: 65_536 } };

  test("what was put is found again, and is the same: a burst's rate, too", async () => {
    const target = shapingTarget(nl);
    const wanted = { receive: peaked, send: plain };
    await target.put(new Map([["cali1", wanted]]));
    const found = (await target.list()).get("cali1");
    expect(found && target.same?.(found, wanted)).toBe(true);
    const other = { ...wanted, receive: { ...plain, peak: { rate: 40e6, burst: 65_536 } } };
    expect(found && target.same?.(found, other)).toBe(false);
    await target.remove(["cali1"]);
    expect(await target.list()).toEqual(new Map());
  });

  test.each([1000, 1e5, 1e9, 1e12, 1e15])(
    "the largest burst of %i bit/s is taken, and found again",
    async (rate) => {
      const target = shapingTarget(nl);
      const endpoint = {
        interfaceName: "cali1",
        qosControls: { ingressBandwidth: rate, ingressBurst: 2 ** 35 },
      };
      const wanted = wantedShaping([{ spec: endpoint } as WorkloadEndpoint]); // all that counts of it
      await target.put(wanted);
      const found = (await target.list()).get("cali1");
      expect(found && target.same?.(found, wanted.get("cali1")!)).toBe(true); // it was asked for
    },
  );

  test("one pod's limit that the kernel refuses keeps no other's from being set", async () => {
    const target = shapingTarget(nl);
    const refused = { receive: { ...plain, peak: { rate: 1e6, burst: 65_536 } } };
    const wanted = new Map([
      ["cali1", refused],
      ["cali2", { receive: plain }],
    ]);
    await expect(target.put(wanted)).rejects.toThrow("Invalid argument");
    expect(sh("tc qdisc show dev cali2")).toMatch(/^qdisc tbf 4d: root .* rate 10Mbit/);
  });
});
