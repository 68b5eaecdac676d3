import { expect, test } from "@jest/globals";
import { Registry } from "prom-client";
import { agentMetrics } from "./metrics.ts";

test("how near the limit of blocks is follows what the node has, up and down", async () => {
  const registry = new Registry();
  const { blockLimitFrom } = agentMetrics(registry);
  let ratio = 0.75;
  const shown = async () => {
    const text = await registry.getSingleMetricAsString("margay_ipam_block_limit_ratio");
    return text.split("\n").at(-1);
  };
  expect(await shown()).toBe("margay_ipam_block_limit_ratio 0");
  blockLimitFrom(() => ratio);
  expect(await shown()).toBe("margay_ipam_block_limit_ratio 0.75");
  ratio = 0.25;
  expect(await shown()).toBe("margay_ipam_block_limit_ratio 0.25");
});
