import { execFileSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { encode, keyOf, parse } from "@margay/api";
import { memoryStore } from "@margay/datastore";
import { unshared, until } from "@margay/testing";
import { startAgent } from "./start.ts";
import { testContext } from "./testing/context.ts";

const sh = (command: string): string => execFileSync("sh", ["-c", command], { encoding: "utf8" });
/** `filter-hi-<interface>` each. */
const chains = (): string[] =>
  sh("nft list table ip margay 2>/dev/null | grep -o 'chain filter-hi-[^ ]*' || true")
    .split("\n")
    .filter(Boolean)
    .sort();

/** Until the host endpoints' chains for what comes in are these. */
async function untilChains(wanted: readonly string[]): Promise<string[]> {
  await until(() => chains().join() === wanted.join()).catch(() => {});
  return chains();
}

unshared(import.meta.url, () => {
  let stop: (() => Promise<void>) | undefined;

  beforeEach(async () => {
    sh(
      "for i in one two; do ip link add $i type veth peer name far-$i; ip link set far-$i up; ip link set $i up; done; ip addr add 192.0.2.1/24 dev one",
    );
    const store = memoryStore();
    for (const document of [
      { kind: "Node", metadata: { name: "n1" }, spec: { bgp: { ipv4Address: "192.0.2.1/24" } } },
      {
        kind: "HostEndpoint",
        metadata: { name: "h" },
        spec: { node: "n1", expectedIPs: ["192.0.2.1", "2001:db8::1"] },
      },
    ]) {
      const { resource } = parse({ apiVersion: "margay.dev/v1", ...document });
      await store.put(keyOf(resource.kind, resource.metadata.name), encode(resource));
    }
    const context = testContext({ store, node: "n1", runDir: mkdtempSync("/run/agent-") });
    ({ stop } = await startAgent(context.daemon));
  });
  afterEach(() => stop?.());

  test("a host endpoint follows its addresses from interface to interface, into both, and away", async () => {
    expect(await untilChains(["chain filter-hi-one"])).toEqual(["chain filter-hi-one"]);
    sh("ip addr add 2001:db8::1/64 dev two nodad");
    expect(await untilChains(["chain filter-hi-one", "chain filter-hi-two"])).toEqual([
      "chain filter-hi-one",
      "chain filter-hi-two",
    ]);
    sh("ip addr del 192.0.2.1/24 dev one");
    expect(await untilChains(["chain filter-hi-two"])).toEqual(["chain filter-hi-two"]);
    sh(
      "ip link set two down; ip link set two name three; ip link set three up; ip addr replace 2001:db8::1/64 dev three nodad",
    );
    expect(await untilChains(["chain filter-hi-three"])).toEqual(["chain filter-hi-three"]);
    sh("ip link del three");
    expect(await untilChains([])).toEqual([]);
  });
});
