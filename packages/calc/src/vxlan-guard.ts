import type { FelixSettings } from "@margay/api";
import { type Family, sameAddress } from "@margay/net";
import type { Packet } from "./match.ts";
import type { Host, Pool } from "./model.ts";

/** What says which packets are taken for VXLAN. */
export interface VxlanFacts {
  readonly pools: readonly Pool[];
  readonly hosts: readonly Host[];
  readonly config: Pick<FelixSettings, "vxlanPort" | "allowVXLANPacketsFromWorkloads">;
}

/** Whether nodes take VXLAN packets over this family: a pool of it uses them. */
export const usesVxlan = ({ pools }: Pick<VxlanFacts, "pools">, family: Family): boolean =>
  pools.some(({ cidr, vxlanMode }) => cidr.family === family && vxlanMode !== "Never");

const UDP = 17;

const isVxlan = (facts: Omit<VxlanFacts, "hosts">, packet: Packet): boolean =>
  packet.protocol === UDP &&
  packet.destinationPort === facts.config.vxlanPort &&
  usesVxlan(facts, packet.source.family);

/** Whether a packet of a workload is refused since a node might decapsulate it, past the check of its source. */
export const isForgedByWorkload = (facts: Omit<VxlanFacts, "hosts">, packet: Packet): boolean =>
  !facts.config.allowVXLANPacketsFromWorkloads && isVxlan(facts, packet);

/** Whether a packet for the node itself is refused since only nodes may send it VXLAN. */
export const isForgedFromOutside = (facts: VxlanFacts, packet: Packet): boolean =>
  isVxlan(facts, packet) &&
  !facts.hosts.some(({ addresses }) => addresses.some((address) => sameAddress(address, packet.source)));
