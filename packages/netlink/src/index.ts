export type { InterfaceAddress, ListedAddress } from "./address.ts";
export * from "./addresses.ts";
export { configureLink, type Furnishing } from "./configure.ts";
export {
  type Connection,
  connectionsOf,
  deleteConnections,
  forgetConnections,
  markConnections,
  type Tuple,
} from "./conntrack.ts";
export { NetlinkError } from "./error.ts";
export { checksumOffload, setChecksumOffload } from "./ethtool.ts";
export { type EventOptions, EventSocket } from "./events.ts";
export { deleteForwarding, type Forwarding, listForwarding, setForwarding } from "./forwarding.ts";
export { setSizes } from "./ipset.ts";
export { formatMac, type Link, type LinkChange, macBytes, type Veth, type Vxlan } from "./link.ts";
export {
  createVeth,
  createVxlan,
  DOOMED_GROUP,
  deleteLink,
  deleteLinks,
  linkBesideLoopback,
  linkByName,
  listLinks,
  type NewLink,
  setGroups,
  setLink,
} from "./links.ts";
export { releaseFilePages } from "./memory.ts";
export {
  attributes,
  bytesOf,
  Encoder,
  type Message,
  NETLINK_NETFILTER,
  type Request,
  text,
} from "./message.ts";
export { deleteNamespace, inNamespace, newNamespace } from "./namespace.ts";
export type { ListedNeighbour, Neighbour } from "./neighbour.ts";
export { Netlink, type NetlinkOptions, type Notification } from "./netlink.ts";
export { PacketQueue, type PacketQueueOptions } from "./queue.ts";
export { formatRoute, mainTable, metricOf, type Nexthop, type Route, sameRoute, tableOf } from "./route.ts";
export { type RouteTarget, type RouteTargetOptions, routeTarget } from "./route-target.ts";
export * from "./routes.ts";
export { RequestSocket } from "./socket.ts";
export { readSysctl, sysctl, sysctlName } from "./sysctl.ts";
export {
  allNodesSocket,
  bindAccepted,
  closeSocket,
  md5KeyLimit,
  type SocketOptions,
  sendDatagram,
  sendNow,
  setHops,
  socketIn,
  tcpMd5,
} from "./tcp.ts";
export { formatVxlan, sameVxlan, type VxlanSettings } from "./vxlan.ts";
export { waysTo } from "./way-to.ts";
export { type LegacyTable, legacyTable, legacyTables } from "./xtables.ts";
