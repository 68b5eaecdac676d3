import { type IPPool, parseKey } from "@margay/api";
import {
  type CniDeps,
  CniError,
  cniHandler,
  inspect,
  owned,
  ownerOf,
  type Served,
  Spool,
  serveCni,
  spoolOf,
  unwireInside,
  unwirer,
  WiringThread,
} from "@margay/cni";
import { resources, type Store } from "@margay/datastore";
import type { Ipam } from "@margay/ipam";
import { Netlink } from "@margay/netlink";
import { familiesOf } from "./pool-families.ts";
import type { Settings } from "./wanted.ts";

export interface CniServiceOptions {
  readonly socket: string;
  readonly node: string;
  /** Its writes are observed, so that they take effect before the watch brings them. */
  readonly store: Store;
  readonly ipam: Ipam;
  readonly netlink: Netlink;
  readonly pools: () => readonly IPPool[];
  readonly labels: () => Readonly<Record<string, string>>;
  readonly namespaceLabels: (namespace: string) => Readonly<Record<string, string>>;
  readonly interfacePrefix: () => string;
  readonly mtu: () => number;
  /** What the node's end of a new interface needs. */
  readonly settings: (hostInterface: string) => Settings;
  /** The interface group that it is to be made in. */
  readonly groupFor: (hostInterface: string) => number | undefined;
  /** Told when it is there and has them. */
  readonly wired: (hostInterface: string, settings: Settings) => void;
  /** Told before it goes. */
  readonly unwired: (hostInterface: string) => void;
  /** Told of an endpoint that is being written, so that its rules are made meanwhile. */
  readonly expect: NonNullable<CniDeps["expect"]>;
  /** Resolves when the endpoint's rules and routes are in the kernel; throws after `timeoutMs`. */
  readonly ready: (id: string, timeoutMs: number) => Promise<void>;
  /** What of the endpoint is not in the kernel. */
  readonly audit: (id: string) => Promise<readonly string[]>;
  readonly held: CniDeps["held"];
  readonly blockOf: CniDeps["blockOf"];
  readonly podCidrs: CniDeps["podCidrs"];
  readonly localEndpoints: CniDeps["localEndpoints"];
  readonly notReady: () => string | undefined;
  readonly trouble: NonNullable<CniDeps["trouble"]>;
  /** What Kubernetes knows of pods, in a cluster. */
  readonly describe?: CniDeps["describe"];
  readonly onServed: (served: Served) => void;
  readonly onBadCall: (error: unknown) => void;
}

/** How long ADD waits for the kernel; container runtimes give it minutes. */
const READY_MS = 10_000;

/** How often calls that were kept while the agent was away are looked for: 20 us when there are none. */
const DRAIN_MS = 1000;

/** Serves the container runtime's calls with this node's addresses and kernel. */
export async function startCni(options: CniServiceOptions): Promise<{ close(): Promise<void> }> {
  const { netlink, ipam, store, node } = options;
  const wires = new WiringThread((why) => options.onBadCall(new Error(`no thread makes interfaces: ${why}`)));
  const removals = Netlink.open({ inBackground: true }); // it takes 20 ms to remove one, and lets nobody ask meanwhile
  const unwire = unwirer(removals);
  const handle = cniHandler(
    {
      node,
      now: () => new Date(),
      ipam,
      endpoints: resources(store, "WorkloadEndpoint"),
      wire: async (wiring) => {
        const settings = options.settings(wiring.hostInterface);
        await wires.wire({ ...wiring, settings, group: options.groupFor(wiring.hostInterface) });
        options.wired(wiring.hostInterface, settings);
      },
      unwire: (hostInterface) => {
        options.unwired(hostInterface);
        return unwire(hostInterface);
      },
      unwireInside,
      ownerOf: (name) => ownerOf(removals, name),
      owned: () => owned(netlink),
      inspect: (wired) => inspect(netlink, wired),
      expect: options.expect,
      ready: (key) => inForce(options, key),
      missing: (key) => options.audit(idOf(key)),
      held: options.held,
      blockOf: options.blockOf,
      podCidrs: options.podCidrs,
      localEndpoints: options.localEndpoints,
      families: (namespace) =>
        familiesOf(options.pools(), {
          node: options.labels(),
          ...(namespace !== undefined && { namespace: options.namespaceLabels(namespace) }),
        }),
      interfacePrefix: options.interfacePrefix,
      mtu: options.mtu,
      notReady: options.notReady,
      trouble: options.trouble,
      ...(options.describe && { describe: options.describe }),
    },
    options.onServed,
  );
  const { socket, onBadCall } = options;
  // That of a veth keeps the kernel busy for 20 ms, and what is kept is not lost.
  const spool = new Spool({
    ...{ directory: spoolOf(socket), handle, onBadCall, answersFirst: true },
    now: () => performance.now(),
  });
  const server = await serveCni({ socket, handle: spool.handle, onBadCall });
  const timer = setInterval(() => drain(spool, options), DRAIN_MS).unref();
  return {
    async close() {
      clearInterval(timer);
      await server.close();
      removals.close();
      await wires.close();
    },
  };
}

/** Also while running: a relay may just have given up on the agent before. */
function drain(spool: Spool, { notReady, onBadCall }: CniServiceOptions): void {
  if (notReady() === undefined) spool.drain().catch(onBadCall);
}

async function inForce({ ready }: CniServiceOptions, key: string): Promise<void> {
  try {
    await ready(idOf(key), READY_MS);
  } catch (error) {
    throw new CniError("try-again-later", error instanceof Error ? error.message : String(error));
  }
}

/** calc's name of the endpoint with this datastore key. */
function idOf(key: string): string {
  const { namespace, name } = parseKey(key) ?? { name: key };
  return `${namespace}/${name}`;
}
