/** Which addresses of Kubernetes' services a node announces (pure), calico.md §5.6. */
import type { BGPSettings, EndpointSlice, Service } from "@margay/api";
import { contains, formatPrefix, hostPrefix, type Prefix, parseAddress, parsePrefix } from "@margay/net";

export interface ServiceInputs {
  readonly node: string;
  /** The node's. */
  readonly labels: Readonly<Record<string, string>>;
  readonly settings: Pick<
    BGPSettings,
    "serviceClusterIPs" | "serviceExternalIPs" | "serviceLoadBalancerIPs" | "serviceLoadBalancerAggregation"
  >;
  readonly services: readonly Service[];
  /** Those with endpoints on the node; others do not matter. */
  readonly slices: readonly EndpointSlice[];
}

export interface ServiceRoutes {
  /** What the node announces. */
  readonly announced: readonly Prefix[];
  /** What may leave a node, and has no route in the kernel: kube-proxy sees to it before any route is looked up. */
  readonly ranges: readonly Prefix[];
}

/** Kubernetes' own: such a node takes no traffic from outside. */
const EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers";

/**
 * The ranges as wholes from every node, whoever stands behind them; a service with externalTrafficPolicy Local additionally
 * by host routes from nodes with a ready endpoint, which win as the longer prefix. A range of one address belongs to its
 * service and follows it.
 */
export function serviceRoutes(inputs: ServiceInputs): ServiceRoutes {
  const { labels, settings, services } = inputs;
  const of = (list: readonly { readonly cidr: string }[] = []) => list.map(({ cidr }) => parsePrefix(cidr));
  const cluster = of(settings.serviceClusterIPs);
  const external = of(settings.serviceExternalIPs);
  const balancer = of(settings.serviceLoadBalancerIPs);
  const ranges = [...cluster, ...external, ...balancer];
  if (labels[EXCLUDED] !== undefined || ranges.length === 0) return { announced: [], ranges };
  const isEach = settings.serviceLoadBalancerAggregation === "Disabled";
  const wholes = [...cluster, ...external, ...(isEach ? [] : balancer)].filter((range) => !isHost(range));
  const hosts = services.flatMap((service) => {
    const here = isReadyHere(inputs, service);
    const { clusterIPs, externalIPs, loadBalancerIPs, externalTrafficPolicy, ready } = service.spec;
    const isLocal = externalTrafficPolicy === "Local";
    const inside = (texts: readonly string[], list: readonly Prefix[], each: boolean) =>
      texts
        .map((text) => hostPrefix(parseAddress(text)))
        .filter((host) =>
          list.some((range) => contains(range, host) && (isLocal ? here : ready && (each || isHost(range)))),
        );
    return [
      ...inside(clusterIPs, cluster, false),
      ...inside(externalIPs, external, false),
      ...inside(loadBalancerIPs, balancer, isEach),
    ];
  });
  const announced = new Map([...wholes, ...hosts].map((prefix) => [formatPrefix(prefix), prefix]));
  return { announced: [...announced.values()], ranges };
}

const isHost = ({ family, length }: Prefix): boolean => length === (family === 4 ? 32 : 128);

/** An endpoint that is being terminated is not ready: its node is out before it stops answering. */
const isReadyHere = ({ node, slices }: ServiceInputs, { metadata }: Service): boolean =>
  slices.some(
    ({ metadata: { namespace }, spec }) =>
      namespace === metadata.namespace &&
      spec.service === metadata.name &&
      spec.endpoints.some(({ nodeName, ready }) => nodeName === node && ready),
  );
