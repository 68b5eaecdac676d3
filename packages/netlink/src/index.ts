export type { InterfaceAddress, ListedAddress } from "./address.ts";
export * from "./addresses.ts";
export {
  type Connection,
  connectionsOf,
  deleteConnections,
  forgetConnections,
  markConnections,
  type Tuple,
} from "./conntrack.ts";
export { NetlinkError } from "./error.ts";
export type { Link, LinkChange, Veth } from "./link.ts";
export {
  createBridge,
  createVeth,
  deleteLink,
  deleteLinks,
  linkByName,
  listLinks,
  setLink,
  setMaster,
} from "./links.ts";
export { deleteNamespace, inNamespace, newNamespace } from "./namespace.ts";
export type { ListedNeighbour, Neighbour } from "./neighbour.ts";
export { Netlink, type NetlinkOptions, type Notification } from "./netlink.ts";
export { formatRoute, mainTable, type Nexthop, type Route, sameRoute } from "./route.ts";
export { type RouteTargetOptions, routeTarget } from "./route-target.ts";
export * from "./routes.ts";
export { readSysctl, sysctl } from "./sysctl.ts";
export { closeSocket, md5KeyLimit, type SocketOptions, setHops, socketIn, tcpMd5 } from "./tcp.ts";
