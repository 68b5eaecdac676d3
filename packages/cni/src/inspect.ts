import { type Address, formatAddress, parseAddress, sameAddress, samePrefix } from "@margay/net";
import {
  formatRoute,
  type Link,
  type ListedNeighbour,
  linkByName,
  listAddresses,
  listLinks,
  listNeighbours,
  listRoutes,
  type Netlink,
} from "@margay/netlink";
import type { Wiring } from "./deps.ts";
import { aliasOf, type Owner, ownerOfAlias } from "./owner.ts";
import { GATEWAY } from "./result.ts";
import { HOST_MAC, openPod, routesVia } from "./wire.ts";

type Wired = Omit<Wiring, "mtu" | "mac">;

/** What of a pod's wiring is not there: `wire` makes all of it. Empty when nothing is missing. */
export async function inspect(nl: Netlink, wired: Wired): Promise<string[]> {
  const pod = openPod(wired.netns);
  if (!pod) return [...(await hostProblems(nl, wired, undefined)), `network namespace ${wired.netns}: gone`];
  try {
    const inside = await linkByName(pod, wired.ifname);
    return [...(await hostProblems(nl, wired, inside)), ...(await podProblems(pod, wired, inside))];
  } finally {
    pod.close();
  }
}

/** Whose the interface of that name is; undefined when there is none, or it bears no mark of ours. */
export const ownerOf = async (nl: Netlink, hostInterface: string): Promise<Owner | undefined> =>
  ownerOfAlias((await linkByName(nl, hostInterface))?.alias);

/** Every interface that bears our mark. */
export async function owned(nl: Netlink): Promise<{ hostInterface: string; owner: Owner }[]> {
  return (await listLinks(nl)).flatMap(({ name, alias }) => {
    const owner = ownerOfAlias(alias);
    return owner ? [{ hostInterface: name, owner }] : [];
  });
}

async function hostProblems(
  nl: Netlink,
  { hostInterface, owner, addresses }: Wired,
  inside: Link | undefined,
) {
  const link = await linkByName(nl, hostInterface);
  const on = `on the node`;
  if (!link) return [`link ${hostInterface} ${on}: gone`];
  const neighbours = await neighboursOf(nl, link);
  const permanent = (address: Address) => {
    const found = neighbours(address);
    return found?.state === "permanent" ? found.mac : undefined;
  };
  return [
    ...linkProblems(link, `link ${hostInterface} ${on}`, HOST_MAC),
    ...(link.alias === aliasOf(owner) ? [] : [`link ${hostInterface} ${on}: another attachment's`]),
    ...addresses
      .filter((address) => permanent(address) !== (inside?.mac ?? permanent(address)))
      .map((address) => `neighbour ${formatAddress(address)} dev ${hostInterface} ${on}: gone`),
  ];
}

async function podProblems(
  pod: Netlink,
  { ifname, addresses }: Wired,
  link: Link | undefined,
): Promise<string[]> {
  const of = "in the pod";
  if (!link) return [`link ${ifname} ${of}: gone`];
  const has = await listAddresses(pod, ifname);
  const routes = await listRoutes(pod);
  const neighbours = await neighboursOf(pod, link);
  const gateways = [...new Set(addresses.map(({ family }) => GATEWAY[family]))].map((text) =>
    parseAddress(text),
  );
  const wanted = gateways.flatMap((gateway) => routesVia(gateway, ifname));
  const isThere = (route: (typeof wanted)[number]) =>
    routes.some(
      ({ dst, nexthops }) =>
        samePrefix(dst, route.dst) && nexthops[0]?.dev === ifname && sameVia(nexthops[0], route),
    );
  return [
    ...linkProblems(link, `link ${ifname} ${of}`, undefined),
    ...addresses
      .filter((address) => !has.some((one) => sameAddress(one.address, address)))
      .map((address) => `address ${formatAddress(address)} dev ${ifname} ${of}: gone`),
    ...wanted.filter((route) => !isThere(route)).map((route) => `route ${formatRoute(route)} ${of}: gone`),
    // One that is gone may be learnt again, as after a plugin that set the MAC: the kernel forgets permanent ones, too.
    ...gateways
      .filter((gateway) => leadsElsewhere(neighbours(gateway)))
      .map((gateway) => `neighbour ${formatAddress(gateway)} dev ${ifname} ${of}: not ${HOST_MAC}`),
  ];
}

type Nexthops = { readonly nexthops: readonly { readonly via?: Address }[] };

function sameVia({ via }: { readonly via?: Address }, { nexthops }: Nexthops): boolean {
  const wanted = nexthops[0]?.via;
  return wanted ? via !== undefined && sameAddress(via, wanted) : via === undefined;
}

const linkProblems = ({ up, mac }: Link, words: string, wanted: string | undefined): string[] => [
  ...(up ? [] : [`${words}: down`]),
  ...(wanted === undefined || mac === wanted ? [] : [`${words}: MAC is ${mac}, not ${wanted}`]),
];

const leadsElsewhere = (known: ListedNeighbour | undefined): boolean =>
  known?.state === "failed" || (known?.mac ?? HOST_MAC) !== HOST_MAC;

/** What a link knows of an address. */
async function neighboursOf(
  nl: Netlink,
  { index }: Link,
): Promise<(address: Address) => ListedNeighbour | undefined> {
  const all = (await listNeighbours(nl)).filter((one) => one.index === index);
  return (address) => all.find((one) => sameAddress(one.address, address));
}
