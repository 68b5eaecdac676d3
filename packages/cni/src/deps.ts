import type { WorkloadEndpoint } from "@margay/api";
import type { Collection } from "@margay/datastore";
import type { Ipam } from "@margay/ipam";
import type { Address, Family, Prefix } from "@margay/net";
import type { Invocation } from "./invocation.ts";
import type { Owner } from "./owner.ts";

/** What has to be made for one pod interface. */
export interface Wiring {
  readonly hostInterface: string;
  /** The host end bears it. */
  readonly owner: Owner;
  /** Path of the pod's network namespace. */
  readonly netns: string;
  readonly ifname: string;
  readonly addresses: readonly Address[];
  /** Bytes. */
  readonly mtu: number;
  /** Of the pod's end. */
  readonly mac: string;
  /** Kernel settings that the node's end gets besides, by name. */
  readonly settings?: ReadonlyMap<string, string>;
  /** The interface group that the node's end is made in, where that is known. */
  readonly group?: number | undefined;
}

/** How many addresses at either end of a block. */
export interface Ends {
  readonly first: number;
  readonly last: number;
}

/** An address that this node's IPAM blocks hold for a container here. */
export interface HeldHere {
  readonly address: Address;
  readonly handle: string;
  readonly containerId: string | undefined;
}

/** The world as ADD and DEL see it. The agent fills it in once; tests fake it here and nowhere else. */
export interface CniDeps {
  readonly node: string;
  readonly now: () => Date;
  readonly ipam: Pick<Ipam, "assignWith" | "release">;
  /** All that IPAM holds for containers of this node. */
  readonly held: () => Iterable<HeldHere>;
  /** The IPAM block that an address of this node is in, and how many of its ends are the host's. */
  readonly blockOf: (address: Address) => { readonly prefix: Prefix; readonly reserved: Ends } | undefined;
  /** This node's, for an IPAM plugin that uses them. */
  readonly podCidrs: () => readonly string[];
  readonly endpoints: Pick<Collection<WorkloadEndpoint>, "get" | "create" | "apply" | "delete">;
  /** Makes the veth and all in the pod. Whatever had the name before is replaced. */
  readonly wire: (wiring: Wiring) => Promise<void>;
  /** Removes the pod's veth, by its host end. Gone already is success. */
  readonly unwire: (hostInterface: string) => Promise<void>;
  /** Removes the pod's veth from inside. A namespace or interface gone already is success. */
  readonly unwireInside: (at: { netns: string; ifname: string }) => Promise<void>;
  /**
   * Told of an endpoint that is being written, and again of one that will not be (without a value), so that its rules can be
   * made meanwhile. Absent: they are made once it is written.
   */
  readonly expect?: (key: string, value: string | undefined) => void;
  /**
   * Resolves when the endpoint with this datastore key has its chains and routes; rejects after a bounded
   * wait.
   */
  readonly ready: (key: string) => Promise<void>;
  /** This node's endpoints by datastore key, as last seen, with their resourceVersions. */
  readonly localEndpoints: () => ReadonlyMap<string, WorkloadEndpoint>;
  /** Whose the interface of that name is; undefined when there is none, or it is nobody's we know. */
  readonly ownerOf: (hostInterface: string) => Promise<Owner | undefined>;
  /** Every interface of the node that bears an owner. */
  readonly owned: () => Promise<readonly { readonly hostInterface: string; readonly owner: Owner }[]>;
  /** What of a wiring is not there, each with what and where. */
  readonly inspect: (wiring: Omit<Wiring, "mtu" | "mac">) => Promise<readonly string[]>;
  /** What of the rules and routes of the endpoint with this key is not in the kernel. */
  readonly missing: (key: string) => Promise<readonly string[]>;
  /** Families that enabled pools exist for (of those open to `namespace`): what a pod gets unless the configuration says otherwise. */
  readonly families: (namespace?: string) => readonly Family[];
  /** FelixConfiguration.interfacePrefix, its first. */
  readonly interfacePrefix: () => string;
  /** For pods whose configuration names none; bytes. */
  readonly mtu: () => number;
  /** Fills in what somebody else knows of the pod, before ADD and CHECK. Throws CniError 11 when it cannot be known now. */
  readonly describe?: (invocation: Invocation) => Promise<Invocation>;
  /** Why no call can be served now (first sync not done, datastore locked), if so. */
  readonly notReady?: () => string | undefined;
  /** Why an ADD would fail now, and whether pods already there suffer too, as far as is known. */
  readonly trouble?: () => { readonly why: string; readonly limited: boolean } | undefined;
}
