import { namespacePath, type Processes } from "@margay/lab";

export type ProxyMode = "iptables" | "nftables";

/** The node's kube-proxy. The lab's namespaces cannot set the machine's conntrack limits, so it is told to leave them. */
export function kubeProxy(options: {
  readonly program: string;
  readonly node: string;
  readonly address: string;
  readonly mode: ProxyMode;
  readonly kubeconfig: string;
}): Parameters<Processes["start"]>[0] {
  const { program, node, address, mode, kubeconfig } = options;
  const flags = {
    kubeconfig,
    "hostname-override": node,
    "proxy-mode": mode,
    "cluster-cidr": "10.244.0.0/16",
    "bind-address": address,
    "metrics-bind-address": "127.0.0.1:10249",
    "conntrack-max-per-core": 0,
    "conntrack-tcp-timeout-established": "0s",
    "conntrack-tcp-timeout-close-wait": "0s",
    "iptables-min-sync-period": "100ms",
  };
  const words = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
  return { name: `${node}/kube-proxy`, command: [program, ...words], namespace: namespacePath(node) };
}
