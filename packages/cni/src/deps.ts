import type { WorkloadEndpoint } from "@margay/api";
import type { Collection } from "@margay/datastore";
import type { Ipam } from "@margay/ipam";
import type { Address, Family } from "@margay/net";

/** What has to be made for one pod interface. */
export interface Wiring {
  readonly hostInterface: string;
  /** Path of the pod's network namespace. */
  readonly netns: string;
  readonly ifname: string;
  readonly addresses: readonly Address[];
  /** Bytes. */
  readonly mtu: number;
  /** Of the pod's end; the kernel picks one when absent. */
  readonly mac?: string;
}

/** The world as ADD and DEL see it. The agent fills it in once; tests fake it here and nowhere else. */
export interface CniDeps {
  readonly node: string;
  readonly now: () => Date;
  readonly ipam: Pick<Ipam, "assign" | "release">;
  readonly endpoints: Pick<Collection<WorkloadEndpoint>, "get" | "create" | "apply" | "delete">;
  /**
   * Makes the veth and all in the pod; answers the pod end's MAC. Whatever had the name before is replaced.
   */
  readonly wire: (wiring: Wiring) => Promise<{ mac: string }>;
  /** Removes the pod's veth, by its host end. Gone already is success. */
  readonly unwire: (hostInterface: string) => Promise<void>;
  /** Removes the pod's veth from inside. A namespace or interface gone already is success. */
  readonly unwireInside: (at: { netns: string; ifname: string }) => Promise<void>;
  /**
   * Resolves when the endpoint with this datastore key has its chains and routes; rejects after a bounded
   * wait.
   */
  readonly ready: (key: string) => Promise<void>;
  /** Families that enabled pools exist for: what a pod gets unless the configuration says otherwise. */
  readonly families: () => readonly Family[];
  /** FelixConfiguration.interfacePrefix, its first. */
  readonly interfacePrefix: () => string;
  /** For pods whose configuration names none; bytes. */
  readonly mtu: () => number;
  /** Why no call can be served now (first sync not done, datastore locked), if so. */
  readonly notReady?: () => string | undefined;
}
