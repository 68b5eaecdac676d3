import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { WorkloadEndpoint } from "@margay/api";
import { Netlink } from "@margay/netlink";
import { unshared, until } from "@margay/testing";
import { Shaper } from "./shaper.ts";
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

  test("limits that the kernel refuses are all named, and keep no other's from being taken away", async () => {
    for (const name of ["cali3", "cali4", "cali5"]) sh(`ip link add ${name} type veth peer name p${name}`);
    for (const name of ["cali3", "cali4"]) sh(`tc qdisc add dev ${name} clsact`); // where ours would be
    await shapingTarget(nl).put(new Map([["cali5", { receive: plain }]]));
    const endpoints = ["cali3", "cali4"].map(
      (interfaceName) =>
        ({ spec: { interfaceName, qosControls: { egressBandwidth: 1e6 } } }) as WorkloadEndpoint, // all that counts of it
    );
    const told: string[] = [];
    const onError = (error: unknown) => void told.push(String(error));
    const shaper = new Shaper({ netlink: nl, endpoints: () => endpoints, onError, onSlowPeak: () => {} });
    shaper.heedEndpoints();
    await until(() => told.length > 0);
    await shaper.stop();
    expect(told[0]).toMatch(/dev cali3 .*dev cali4 /s);
    expect(sh("tc qdisc show dev cali5")).not.toContain("tbf");
  });

  test("an endpoint whose peak is not above its bandwidth is told once, and anew when it was mended between", async () => {
    const withPeak = (egressPeakrate: number) =>
      ({
        metadata: { namespace: "shop", name: "web" },
        spec: { interfaceName: "cali6", qosControls: { egressBandwidth: 1e6, egressPeakrate } },
      }) as WorkloadEndpoint; // all that counts of it
    let peak = 1e6;
    const told: string[] = [];
    const shaper = new Shaper({
      ...{ netlink: nl, endpoints: () => [withPeak(peak)] },
      onError: () => {},
      onSlowPeak: (endpoint) => void told.push(`${endpoint} ${peak}`),
    });
    for (peak of [1e6, 9e5, 2e6, 1e6]) shaper.heedEndpoints();
    await shaper.stop();
    expect(told).toEqual(["shop/web 1000000", "shop/web 1000000"]);
  });
});
