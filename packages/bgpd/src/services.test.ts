import { describe, expect, test } from "@jest/globals";
import { type EndpointSlice, parse, type Service, type ServiceSpec } from "@margay/api";
import { formatPrefix } from "@margay/net";
import { type ServiceInputs, serviceRoutes } from "./services.ts";

const settings: ServiceInputs["settings"] = {
  serviceClusterIPs: [{ cidr: "10.96.0.0/16" }, { cidr: "fd00:10:96::/112" }],
  serviceExternalIPs: [{ cidr: "192.0.2.0/24" }, { cidr: "198.51.100.7/32" }],
  serviceLoadBalancerIPs: [{ cidr: "203.0.113.0/24" }],
  serviceLoadBalancerAggregation: "Enabled",
};
const document = (kind: string, name: string, spec: object) =>
  parse({ apiVersion: "margay.dev/v1", kind, metadata: { name, namespace: "shop" }, spec }).resource;
const service = (spec: Partial<ServiceSpec>) => document("Service", "web", spec) as Service;
const slice = (nodeName: string, ready: boolean) =>
  document("EndpointSlice", `web-${nodeName}`, {
    ...{ service: "web", endpoints: [{ addresses: ["10.244.0.9"], nodeName, ready }] },
  }) as EndpointSlice;

const announced = (inputs: Partial<ServiceInputs>) =>
  serviceRoutes({ node: "n1", labels: {}, settings, services: [], slices: [], ...inputs })
    .announced.map(formatPrefix)
    .sort();

const WHOLES = ["10.96.0.0/16", "192.0.2.0/24", "203.0.113.0/24", "fd00:10:96::/112"];

describe("each node announces", () => {
  test.each<[string, Partial<ServiceInputs>, string[]]>([
    ["the ranges, whoever stands behind them; a range of one address waits for its service", {}, []],
    [
      "nothing else for a service of policy Cluster",
      { services: [service({ clusterIPs: ["10.96.0.20"], loadBalancerIPs: ["203.0.113.9"] })] },
      [],
    ],
    [
      "Local: hosts of all its addresses where an endpoint is ready",
      {
        services: [
          service({
            ...{ externalTrafficPolicy: "Local", clusterIPs: ["10.96.0.20", "fd00:10:96::20"] },
            ...{ externalIPs: ["192.0.2.9"], loadBalancerIPs: ["203.0.113.9"] },
          }),
        ],
        slices: [slice("n1", true)],
      },
      ["10.96.0.20/32", "192.0.2.9/32", "203.0.113.9/32", "fd00:10:96::20/128"],
    ],
    [
      "Local: none where the endpoint is not ready, as a terminating one",
      {
        services: [service({ externalTrafficPolicy: "Local", loadBalancerIPs: ["203.0.113.9"] })],
        slices: [slice("n1", false)],
      },
      [],
    ],
    [
      "Local: none where only other nodes have endpoints",
      {
        services: [service({ externalTrafficPolicy: "Local", loadBalancerIPs: ["203.0.113.9"] })],
        slices: [slice("n2", true)],
      },
      [],
    ],
    [
      "no address outside the configured ranges",
      {
        services: [service({ externalTrafficPolicy: "Local", loadBalancerIPs: ["8.8.8.8"] })],
        slices: [slice("n1", true)],
      },
      [],
    ],
    [
      "a range of one address for the service that has it, once anybody is ready",
      { services: [service({ externalIPs: ["198.51.100.7"] })] },
      ["198.51.100.7/32"],
    ],
    ["and not while nobody is", { services: [service({ externalIPs: ["198.51.100.7"], ready: false })] }, []],
  ])("%s", (_why, inputs, more) => expect(announced(inputs)).toEqual([...WHOLES, ...more].sort()));

  test("without aggregation each load balancer's address alone, once anybody is ready", () => {
    const each = { ...settings, serviceLoadBalancerAggregation: "Disabled" as const };
    const ready = service({ loadBalancerIPs: ["203.0.113.9"] });
    const empty = service({ loadBalancerIPs: ["203.0.113.10"], ready: false });
    expect(announced({ settings: each, services: [ready, empty] })).toEqual(
      ["10.96.0.0/16", "192.0.2.0/24", "203.0.113.9/32", "fd00:10:96::/112"].sort(),
    );
  });

  test("a node that is excluded from external load balancers announces none", () => {
    const labels = { "node.kubernetes.io/exclude-from-external-load-balancers": "" };
    const local = service({ externalTrafficPolicy: "Local", loadBalancerIPs: ["203.0.113.9"] });
    expect(announced({ labels, services: [local], slices: [slice("n1", true)] })).toEqual([]);
  });
});
