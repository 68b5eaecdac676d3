import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { type AnyResource, keyOf, parse } from "@margay/api";
import { Calc, type NodeState } from "@margay/calc";
import { parseAddress } from "@margay/net";

/** Three pods of one node, as network namespaces beside the one that we are in (root, in `unshare -Urnm`). */
export const PODS = ["a", "b", "c"] as const;
export type Pod = (typeof PODS)[number];

export const address = (pod: Pod, family: 4 | 6): string =>
  `${family === 4 ? "10.244.0." : "fd00::"}${PODS.indexOf(pod) + 1}`;
export const mac = (pod: Pod): string => `02:00:00:00:00:0${PODS.indexOf(pod) + 1}`;

export const run = (text: string): string => {
  const [command = "", ...words] = text.split(" ");
  return execFileSync(command, words, { encoding: "utf8" });
};

/**
 * No duplicate address detection on devices that are made from here on in a namespace (without a name: where we are). A link-local
 * address is tentative for up to two seconds with it, and no neighbour is solicited from such an address: first packets were lost.
 */
export function withoutDad(namespace?: string): void {
  const there = namespace === undefined ? "" : `ip netns exec ${namespace} `;
  run(`${there}sysctl -qw net.ipv6.conf.default.accept_dad=0`);
}

/** Makes of the namespace that we are in a node with its three pods. */
export function asNode({ routes }: { readonly routes: boolean }): void {
  run("mount -t tmpfs tmpfs /run");
  run("ip link set lo up");
  withoutDad();
  for (const path of ["ipv4/ip_forward", "ipv6/conf/all/forwarding"])
    writeFileSync(`/proc/sys/net/${path}`, "1");
  for (const pod of PODS) wire(pod, { routes });
}

/** Makes the pod and its interface. The routes to it may be somebody else's to make. */
export function wire(pod: Pod, { routes }: { readonly routes: boolean }): void {
  run(`ip netns add ${pod}`);
  withoutDad(pod);
  run(`ip link add cali${pod} type veth peer name eth0 netns ${pod} address ${mac(pod)}`);
  run(`ip link set cali${pod} address ee:ee:ee:ee:ee:ee up`);
  for (const device of ["lo", "eth0"]) run(`ip -n ${pod} link set ${device} up`);
  for (const [family, gateway] of [
    [4, "169.254.1.1"],
    [6, "fe80::ecee:eeff:feee:eeee"],
  ] as const) {
    const ip = address(pod, family);
    run(
      `ip -n ${pod} -${family} addr add ${ip}/${family === 4 ? 32 : 128} dev eth0${family === 6 ? " nodad" : ""}`,
    );
    run(`ip -n ${pod} neigh add ${gateway} lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent`);
    run(`ip -n ${pod} -${family} route add default via ${gateway} dev eth0 onlink`);
    if (routes) run(`ip -${family} route add ${ip} dev cali${pod}`);
    run(`ip neigh add ${ip} lladdr ${mac(pod)} dev cali${pod} nud permanent`);
  }
}

/** A resource of namespace x, if its kind has one. */
export const resource = (kind: string, name: string, spec: object, labels: object = {}): AnyResource => {
  const namespace = ["WorkloadEndpoint", "NetworkPolicy"].includes(kind) ? { namespace: "x" } : {};
  return parse({ apiVersion: "margay.dev/v1", kind, metadata: { name, labels, ...namespace }, spec })
    .resource;
};

export const endpoint = (pod: Pod, labels: object = {}): AnyResource =>
  resource(
    "WorkloadEndpoint",
    pod,
    {
      ...{ orchestrator: "k8s", node: "n1", pod, endpoint: "eth0", profiles: ["kns.x"] },
      ...{
        interfaceName: `cali${pod}`,
        mac: mac(pod),
        ipNetworks: [`${address(pod, 4)}/32`, `${address(pod, 6)}/128`],
      },
      ports: [{ name: "web", protocol: "TCP", port: 8080 }],
    },
    { app: pod, ...labels },
  );

/** The pods, with a profile that allows everything. */
export const base = (): readonly AnyResource[] => [
  resource("Profile", "kns.x", { ingress: [{ action: "Allow" }], egress: [{ action: "Allow" }] }),
  ...PODS.map((pod) => endpoint(pod)),
];

export const updateOf = (value: AnyResource) => ({
  key: keyOf(value.kind, value.metadata.name, value.metadata.namespace),
  value,
});

/** The state with all pods, whose profile allows everything unless `resources` say otherwise. DNS has told that `a.example` is a, and so on. */
export function stateWith(resources: readonly AnyResource[]): NodeState {
  const calc = new Calc("n1");
  for (const pod of PODS)
    calc.setDomain(`${pod}.example`, [parseAddress(address(pod, 4)), parseAddress(address(pod, 6))]);
  calc.apply([...base(), ...resources].map(updateOf));
  return calc.state();
}
