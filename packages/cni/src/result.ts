import { type Address, formatAddress, width } from "@margay/net";
import type { PreviousResult } from "./configuration.ts";
import { CNI_CODES, type CniError } from "./errors.ts";
import type { Reply } from "./frame.ts";
import type { CniVersion } from "./invocation.ts";

/** The pod's gateways: the same in every pod, never on any wire; the host end's MAC answers for them. */
export const GATEWAY = { 4: "169.254.1.1", 6: "fe80::ecee:eeff:feee:eeee" } as const;

/** What ADD made. */
export interface Attachment {
  readonly cniVersion: CniVersion;
  readonly hostInterface: { readonly name: string; readonly mac: string };
  readonly podInterface: { readonly name: string; readonly mac: string; readonly netns: string };
  readonly mtu: number;
  readonly addresses: readonly Address[];
  readonly dns?: object;
  /** What plugins before us in the list made: it stays, ours comes after it. */
  readonly before?: PreviousResult;
}

/** An address as another plugin is to configure it. */
export interface IpamAddress {
  readonly address: Address;
  /** Of the prefix. */
  readonly length: number;
  readonly gateway?: Address;
}

const host = (address: Address): string => `${formatAddress(address)}/${width(address.family)}`;

/** The result of ADD in the shape of the version asked for (CNI specification, "ADD Success"). */
export function formatResult(made: Attachment): Reply {
  const { cniVersion, hostInterface, podInterface, mtu, addresses, dns = {}, before } = made;
  const mtuOf = cniVersion === "1.1.0" ? { mtu } : {};
  const { name, mac, netns: sandbox } = podInterface;
  const { interfaces = [], ips = [], routes = [] } = before ?? {};
  return success({
    ...before,
    cniVersion,
    interfaces: [...interfaces, { ...hostInterface, ...mtuOf }, { name, mac, ...mtuOf, sandbox }],
    ips: [
      ...ips,
      ...addresses.map((address) => ({
        ...versioned(cniVersion, address),
        address: host(address),
        interface: interfaces.length + 1,
      })),
    ],
    routes: [...routes, ...defaultRoutes(addresses)],
    dns: Object.keys(dns).length > 0 ? dns : (before?.dns ?? {}),
  });
}

/** The result of ADD as margay-ipam: addresses only, for the plugin that called it. */
export const formatIpamResult = (
  cniVersion: CniVersion,
  { ips, routes }: { ips: readonly IpamAddress[]; routes: readonly object[] },
): Reply =>
  success({
    cniVersion,
    ips: ips.map(({ address, length, gateway }) => ({
      ...versioned(cniVersion, address),
      address: `${formatAddress(address)}/${length}`,
      ...(gateway && { gateway: formatAddress(gateway) }),
    })),
    ...(routes.length > 0 && { routes }),
    dns: {},
  });

/** Versions before 1.0.0 say the family of each address. */
const versioned = (cniVersion: CniVersion, { family }: Address) =>
  cniVersion.startsWith("0.") ? { version: `${family}` } : {};

const defaultRoutes = (addresses: readonly Address[]) =>
  addresses.map(({ family }) => ({ dst: family === 4 ? "0.0.0.0/0" : "::/0", gw: GATEWAY[family] }));

/** A success that says nothing: DEL, CHECK, GC, STATUS. */
export const DONE: Reply = { exitCode: 0, stdout: "" };

const success = (document: object): Reply => ({ exitCode: 0, stdout: `${JSON.stringify(document)}\n` });

/** A failure (CNI specification, "Error"). */
export function formatError(cniVersion: string, { code, message, details }: CniError): Reply {
  const document = { cniVersion, code: CNI_CODES[code], msg: message, ...(details && { details }) };
  return { exitCode: 1, stdout: `${JSON.stringify(document)}\n` };
}
