import { execSync } from "node:child_process";
import { afterAll, expect, test } from "@jest/globals";
import { parse } from "@margay/api";
import { Calc } from "@margay/calc";
import { Netlink } from "@margay/netlink";
import { unshared } from "@margay/testing";
import { auditNetwork } from "./audit.ts";

const ENDPOINT = {
  ...{ apiVersion: "margay.dev/v1", kind: "WorkloadEndpoint", metadata: { name: "a", namespace: "default" } },
  spec: {
    ...{ orchestrator: "k8s", node: "n1", endpoint: "eth0", interfaceName: "calia" },
    ipNetworks: ["10.244.0.1/32", "fd00::1/128"],
  },
};

unshared(import.meta.url, () => {
  const netlink = Netlink.open();
  afterAll(() => netlink.close());

  test("each route of a workload that is gone, or leads elsewhere, is named", async () => {
    const calc = new Calc("n1");
    calc.apply([{ key: "/margay/v1/workloadendpoints/default/a", value: parse(ENDPOINT).resource }]);
    const state = calc.state();
    const audit = async () =>
      (await auditNetwork(netlink, state.endpoints[0]!, state)).filter((what) => what.startsWith("route")); // it has one
    execSync("ip link add calia type veth peer name veth9 && ip link set calia up && ip link set veth9 up");
    const FOUR = "route 10.244.0.1/32 dev calia on the node: gone";
    const SIX = "route fd00::1/128 dev calia on the node: gone";
    expect(await audit()).toEqual([FOUR, SIX]);
    execSync(
      "ip route add 10.244.0.1 dev calia scope link proto 142 && ip route add fd00::1 dev calia proto 142",
    );
    expect(await audit()).toEqual([]);
    execSync("ip route replace 10.244.0.1 dev veth9 scope link proto 142 && ip route del fd00::1");
    expect(await audit()).toEqual([FOUR, SIX]);
  });
});
