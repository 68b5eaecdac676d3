import { daemonFlags, runDaemon } from "@margay/daemon";
import type { CommandModule, Options } from "yargs";
import { type ControllersOptions, startControllers } from "./start.ts";

const FLAGS = {
  node: {
    type: "string",
    defaultDescription: "host name in lower case",
    describe: "This replica's name in the Lease: its pod's",
  },
  "health-port": {
    type: "number",
    default: 9097,
    describe: "Port of /healthz, /readyz and /metrics; 0 takes any free one",
  },
  kubeconfig: {
    type: "string",
    describe: "How to reach the API server; the pod's service account if absent",
  },
  "leader-elect-namespace": {
    type: "string",
    defaultDescription: "the pod's own",
    describe: "Namespace of the Lease by which one replica leads",
  },
  "route-reflector-label": {
    type: "string",
    default: "margay.dev/route-reflector",
    describe: "Label of nodes that are route reflectors; its value is their cluster ID, or anything",
  },
  "load-balancer-class": {
    type: "string",
    default: "margay.dev/load-balancer",
    describe: "Services of type LoadBalancer with this class, or none, get addresses from pools for that use",
  },
  "leak-grace-period": {
    type: "number",
    default: 900,
    describe: "Seconds that a pod must have been gone before what it held is freed",
  },
  "auto-host-endpoints": {
    type: "boolean",
    default: false,
    describe:
      "A HostEndpoint <node>-auto-hep for each node, on every interface, with the node's labels; false removes them",
  },
} as const satisfies Record<string, Options>;

/** `margay controllers`. */
export const command: CommandModule<object, ControllersOptions> = {
  command: "controllers",
  describe: "daemon: Kubernetes objects into the datastore",
  builder: (yargs) =>
    daemonFlags(yargs, FLAGS).usage(
      "$0 controllers\n\nRuns in the cluster, with two replicas of which one leads. Brings policies, namespaces, service accounts, nodes, pod " +
        "labels, endpoint slices and Margay's own kinds into the datastore, gives load balancers addresses, frees what deleted nodes and pods held, and says in " +
        "status and Events what it refused. Ending it leaves everything in force.",
    ),
  handler: async (options) => {
    process.exitCode = await runDaemon({ name: "controllers", options, start: startControllers });
  },
};
