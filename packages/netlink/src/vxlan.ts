import { type Address, type Family, formatAddress, sameAddress } from "@margay/net";
import { addressOf, attributes, bytesOf, type Encoder, u32 } from "./message.ts";

/** IFLA_VXLAN_*. */
const attribute = { id: 1, local: 4, learning: 7, port: 15, local6: 17 } as const;

/** What a VXLAN device is and cannot become (RFC 7348): another one has to be made instead. */
export interface VxlanSettings {
  /** VNI, 24 bits. */
  readonly id: number;
  /** UDP, of both ends. */
  readonly port: number;
  /** Source of its packets, and their family; absent: as routes say. */
  readonly local?: Address;
  /** False: it sends only as its forwarding database says, and learns nothing from what it receives. */
  readonly learning: boolean;
}

export const sameVxlan = (a: VxlanSettings, b: VxlanSettings): boolean =>
  a.id === b.id &&
  a.port === b.port &&
  a.learning === b.learning &&
  (a.local && b.local ? sameAddress(a.local, b.local) : a.local === b.local);

export const formatVxlan = ({ id, port, local }: VxlanSettings): string =>
  `id ${id} dstport ${port}${local ? ` local ${formatAddress(local)}` : ""}`;

/** IFLA_INFO_DATA. */
export function writeVxlan(e: Encoder, { id, port, local, learning }: VxlanSettings): void {
  e.attributeU32(attribute.id, id)
    .attribute(attribute.learning, (a) => a.u8(learning ? 1 : 0))
    .attribute(attribute.port, (a) => a.u8(port >> 8).u8(port & 0xff)); // in network order
  if (local) e.attributeAddress(localOf(local.family), local);
}

const localOf = (family: Family): number => (family === 4 ? attribute.local : attribute.local6);

/** IFLA_INFO_DATA of a vxlan link. Throws MalformedError. */
export function readVxlan(data: DataView): VxlanSettings {
  const found = attributes(data, 0);
  const [port, local] = [
    found.get(attribute.port),
    found.get(attribute.local) ?? found.get(attribute.local6),
  ];
  const isSet = local && bytesOf(local).some((byte) => byte !== 0);
  return {
    id: u32(found.get(attribute.id)) ?? 0,
    port: port?.byteLength === 2 ? port.getUint16(0) : 0,
    learning: found.get(attribute.learning)?.getUint8(0) === 1,
    ...(isSet && { local: addressOf(local) }),
  };
}
