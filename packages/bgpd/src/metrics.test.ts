import { expect, test } from "@jest/globals";
import { Registry } from "prom-client";
import type { WantedPeer } from "./config.ts";
import type { Engine } from "./engine.ts";
import { Latency } from "./latency.ts";
import { bgpdMetrics } from "./metrics.ts";
import { to } from "./testing/speakers.ts";

const [key, feeder] = to(1, 2);

/** A registry of an engine with one peer, which is gone after `leave`. */
function scene() {
  const registry = new Registry();
  const peers = new Map([[key, { wanted: feeder }]]);
  const engine = { speaker: { peers, onAdvertised: (_s: number, _from: WantedPeer) => {} } };
  bgpdMetrics(registry, engine as unknown as Engine); // all that this histogram asks for
  const buckets = async () => {
    const metric = registry.getSingleMetric("margay_bgp_update_to_advertise_seconds");
    const { values = [] } = (await metric?.get()) ?? {};
    // A histogram's values say which of its series they are of, whatever the type says.
    return (values as ((typeof values)[number] & { metricName: string })[]).map((v) =>
      [v.metricName.replace(/.*_/, ""), v.labels.le ?? "", v.value].join(" ").replace("  ", " "),
    );
  };
  return { engine, buckets, leave: () => peers.clear() };
}

test("from UPDATE to announcement, by a clock: each takes its place among the buckets, the bounds included", async () => {
  const { engine, buckets } = scene();
  const latency = new Latency<WantedPeer>();
  const turn = { changed: true, isUndecided: false, told: true, owes: false };
  // 0.5 ms is the first bound; 0.75 is above it; 2 s, and 6 s, which is beyond the last.
  for (const [heard, told] of [
    [0, 0.5],
    [10, 10.75],
    [1000, 3000],
    [5000, 11_000],
  ] as const) {
    latency.heard(feeder, () => heard);
    for (const [from, ms] of latency.turned(turn, told)) engine.speaker.onAdvertised(ms / 1000, from);
  }
  expect(await buckets()).toEqual([
    "bucket 0.0005 1",
    "bucket 0.001 2",
    "bucket 0.0025 2",
    "bucket 0.005 2",
    "bucket 0.01 2",
    "bucket 0.025 2",
    "bucket 0.05 2",
    "bucket 0.1 2",
    "bucket 0.25 2",
    "bucket 0.5 2",
    "bucket 1 2",
    "bucket 2.5 3",
    "bucket 5 3",
    "bucket +Inf 4",
    "sum 8.00125",
    "count 4",
  ]);
});

test("a peer that is gone takes its histogram along", async () => {
  const { engine, buckets, leave } = scene();
  engine.speaker.onAdvertised(0.01, feeder);
  expect(await buckets()).toContain("count 1");
  leave();
  expect(await buckets()).toEqual([]);
});
