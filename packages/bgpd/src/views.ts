/** What bgpd shows on its control socket: plain JSON. */
import { setImmediate as immediate } from "node:timers/promises";
import {
  type Capabilities,
  decisionSteps,
  formatAsPath,
  type Path,
  type Rib,
  type Source,
} from "@margay/bgp";
import { formatAddress, formatPrefix, type Prefix, parsePrefix, prefixOf } from "@margay/net";
import type { Engine } from "./engine.ts";
import type { Peer } from "./peer.ts";
import { lastFault } from "./pending.ts";
import { keyFrom, keyOf } from "./settings.ts";

const families = [4, 6] as const;

/** GET /peers. */
export const showPeers = (engine: Engine) =>
  [...engine.speaker.peers.values()].map((peer) => showPeer(engine, peer));

function showPeer({ speaker }: Engine, peer: Peer) {
  const { wanted, session, faults, counts } = peer;
  const source = speaker.sourceOf(peer);
  const negotiated = speaker.negotiatedOf(peer);
  const perFamily = families.map((family) => (source ? speaker.ribs[family].counts(source) : none));
  const sum = (of: (c: typeof none) => number) => perFamily.reduce((total, c) => total + of(c), 0);
  const up = session.state === "Established";
  return {
    name: wanted.name,
    peer: wanted.name,
    address: keyOf(wanted),
    port: wanted.port,
    as: wanted.peerAs,
    localAs: wanted.localAs,
    type: wanted.type,
    client: wanted.client,
    state: session.state,
    since: new Date(peer.since).toISOString(),
    received: sum((c) => c.received),
    accepted: sum((c) => c.accepted),
    best: sum((c) => c.best),
    sent: speaker.prefixesOut(peer),
    isShutDown: peer.isShutDown,
    dynamic: wanted.dynamic,
    lastError: up
      ? undefined
      : peer.isShutDown
        ? "shut down by the operator"
        : (wanted.problem ?? lastFault(peer)),
    lastSent: told(faults.sent),
    lastReceived: told(faults.received),
    lastConnection: told(faults.connection),
    warnings: wanted.warnings ?? [],
    errors: faults,
    counts,
    timers: {
      holdTimeSeconds: negotiated?.holdTimeSeconds ?? wanted.holdTimeSeconds,
      keepaliveSeconds: negotiated?.keepaliveSeconds ?? wanted.holdTimeSeconds / 3,
      connectRetrySeconds: session.settings.connectRetrySeconds,
    },
    capabilities: {
      ours: words(session.settings.capabilities),
      theirs: session.peer ? words(session.peer.capabilities) : [],
    },
    unsentBytes: peer.unsentBytes,
  };
}

/** What a fault was, and when. */
const told = (fault: { readonly words: string; readonly at: number } | undefined): string | undefined =>
  fault && `${fault.words} (${new Date(fault.at).toISOString()})`;

const none = { received: 0, accepted: 0, best: 0 };

/** Capabilities by name, as operators know them. */
function words(c: Capabilities): string[] {
  const { gracefulRestart: restart } = c;
  return [
    ...c.families.map((f) => `IPv${f} unicast`),
    ...(c.as4 !== undefined ? ["four-octet AS"] : []),
    ...(c.routeRefresh ? ["route refresh"] : []),
    ...(c.enhancedRouteRefresh ? ["enhanced route refresh"] : []),
    ...(c.extendedMessage ? ["extended messages"] : []),
    ...(restart
      ? [`graceful restart ${restart.restartTimeSeconds} s${restart.restarting ? ", restarting" : ""}`]
      : []),
    ...(c.longLived ?? []).map((l) => `long-lived IPv${l.family} ${l.staleTimeSeconds} s`),
    ...(c.extendedNextHop ? ["IPv4 by way of IPv6"] : []),
    ...(c.addPath ?? []).map(
      (a) => `add-path IPv${a.family}${a.send ? " send" : ""}${a.receive ? " receive" : ""}`,
    ),
    ...(c.role ? [`role ${c.role}`] : []),
    ...(c.unknown ?? []).map((code) => `code ${code}`),
  ];
}

/** What a query of /routes may say. */
export interface RouteQuery {
  /** Only this prefix, exactly. */
  readonly prefix?: string;
  /** Only the longest prefix that holds this address or network. */
  readonly match?: string;
  /** Only paths from the peer of this name or address (of link-local ones with the interface, or all that have it). */
  readonly peer?: string;
  /** No more paths than this; 10,000 when absent. */
  readonly limit?: string;
}

const defaultLimit = 10_000;
/** So many prefixes are looked at in one stretch: peers are heard between two. */
const slice = 500;

/** GET /routes: every path, the best of a prefix first, and the step at which the others lost. */
export async function showRoutes(
  engine: Engine,
  { prefix, match, peer, limit = `${defaultLimit}` }: RouteQuery,
) {
  if (!/^[1-9]\d*$/.test(limit)) throw new Error(`limit must be a number above 0, found ${limit}`);
  const shown: ReturnType<typeof showPath>[] = [];
  let looked = 0;
  for (const family of families) {
    const rib = engine.speaker.ribs[family];
    const wanted = match === undefined ? prefix : longestMatch(rib, match);
    if (match !== undefined && wanted === undefined) continue;
    for (const entry of entriesOf(rib, wanted)) {
      shown.push(...showEntry(engine, entry, peer));
      if (shown.length >= Number(limit)) return shown.slice(0, Number(limit));
      if (++looked % slice === 0) await immediate();
    }
  }
  return shown;
}

interface Entry {
  readonly prefix: Prefix;
  readonly paths: readonly Path[];
}

/** The paths of one prefix. */
function showEntry({ kernel }: Engine, { prefix, paths }: Entry, peer: string | undefined) {
  const key = formatPrefix(prefix);
  const refusal = kernel.refusal(key);
  const state = refusal === undefined ? "installed" : `refused: ${refusal}`;
  const place = { prefix: key, kernel: kernel.wanted(key) ? state : "not ours to write" };
  return paths
    .filter(({ source }) => !peer || namesOf(source).includes(peer))
    .toSorted((a, b) => Number(b.best) - Number(a.best))
    .map((path) => showPath(path, place));
}

const namesOf = ({ name, address, device }: Source): readonly string[] => [
  name,
  keyFrom(address, device),
  formatAddress(address),
];

/** One prefix of the RIB, or all of them. */
function entriesOf(rib: Rib, wanted: string | undefined): Iterable<Entry> {
  if (wanted === undefined) return rib.entries();
  const prefix = parsePrefix(wanted);
  const id = prefix.family === rib.prefixes.family ? rib.prefixes.find(prefix) : undefined;
  return id === undefined ? [] : [{ prefix, paths: rib.paths(id) }];
}

/** The longest prefix with a path that holds the address or network of `text`. */
function longestMatch(rib: Rib, text: string): string | undefined {
  const wanted = parsePrefix(text);
  if (wanted.family !== rib.prefixes.family) return undefined;
  for (let length = wanted.length; length >= 0; length--) {
    const prefix = prefixOf({ family: wanted.family, bits: wanted.bits }, length);
    const id = rib.prefixes.find(prefix);
    if (id !== undefined && rib.paths(id).length > 0) return formatPrefix(prefix);
  }
  return undefined;
}

function showPath(path: Path, { prefix, kernel }: { prefix: string; kernel: string }) {
  const { source, refused, stale, lost, best, equal, pathId } = path;
  const { nextHop, asPath, ...rest } = path.attributes ?? path.received;
  const step = lost && decisionSteps[lost];
  return {
    prefix,
    from: source.name,
    peer: source.kind === "local" ? undefined : keyFrom(source.address, source.device),
    pathId,
    nextHop: nextHop && formatAddress(nextHop.address),
    asPath: formatAsPath(asPath),
    origin: rest.origin,
    localPref: rest.localPref,
    med: rest.med,
    communities: rest.communities?.map((c) => `${c >>> 16}:${c & 0xffff}`),
    extendedCommunities: rest.extendedCommunities?.map((c) => `0x${c.toString(16).padStart(16, "0")}`),
    largeCommunities: rest.largeCommunities?.map((c) => c.join(":")),
    onlyToCustomer: rest.onlyToCustomer,
    originatorId: rest.originatorId,
    clusterList: rest.clusterList,
    best,
    multipath: equal,
    stale,
    lost: best ? undefined : (refused ?? (step && `step ${step.number}, ${step.text} (${step.rfc})`)),
    kernel,
  };
}
