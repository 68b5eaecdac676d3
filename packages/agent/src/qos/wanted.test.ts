import { describe, expect, test } from "@jest/globals";
import { parse, type WorkloadEndpoint } from "@margay/api";
import { type Bucket, wantedShaping } from "./wanted.ts";

describe("a pod's limits as buckets", () => {
  const MEGA = 1e6;
  test.each<[why: string, qosControls: object, receive: Bucket | undefined]>([
    ["no bandwidth, no bucket", { ingressPacketRate: 5 }, undefined],
    ["a tenth of a second's burst", { ingressBandwidth: 80 * MEGA }, { rate: 80 * MEGA, burst: MEGA }],
    [
      "room for the largest packet",
      { ingressBandwidth: MEGA, ingressBurst: 8000 },
      { rate: MEGA, burst: 65_536 },
    ],
    [
      "a burst's own rate",
      { ingressBandwidth: MEGA, ingressPeakrate: 2 * MEGA, ingressMinburst: 3000 },
      { rate: MEGA, burst: 65_536, peak: { rate: 2 * MEGA, burst: 3000 } },
    ],
    ["no more than 32 bits have", { ingressBandwidth: 1e15 }, { rate: 1e15, burst: 4_294_967_295 }],
    ["no longer than the kernel's clock", { ingressBandwidth: 1000 }, { rate: 1000, burst: 34_250 }],
    [
      "no more than the bandwidth: the kernel refuses that, and it limits nothing",
      { ingressBandwidth: MEGA, ingressPeakrate: MEGA },
      { rate: MEGA, burst: 65_536 },
    ],
  ])("%s", (_why, qosControls, receive) => {
    const spec = { orchestrator: "k8s", node: "n1", endpoint: "eth0", interfaceName: "cali1", qosControls };
    const metadata = { name: "n1-k8s-x-eth0", namespace: "shop" };
    const { resource } = parse({ apiVersion: "margay.dev/v1", kind: "WorkloadEndpoint", metadata, spec });
    const found = wantedShaping([resource as WorkloadEndpoint]).get("cali1"); // just parsed as one
    expect(found?.receive).toEqual(receive);
  });
});
