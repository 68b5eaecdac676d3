/** One session as its BGPPeer, or the mesh, would have it (pure). */
import {
  type BGPFilter,
  type BGPPeer,
  type BGPSettings,
  durationSeconds,
  md5Password,
  type Node,
  secondsOf,
  type WorkloadEndpoint,
} from "@margay/api";
import { type Statement, timers } from "@margay/bgp";
import { type Address, parseAddress, parsePrefix } from "@margay/net";
import { isLinkLocal, type PolicyTerms, type Self, type WantedPeer } from "./config.ts";
import { communityOf, filtersOf, unsupported } from "./filters.ts";
import type { ReadSecret } from "./secrets.ts";
import { termsOf } from "./terms.ts";

export interface PeerInputs {
  readonly self: string;
  readonly nodes: readonly Node[];
  readonly peers: readonly BGPPeer[];
  /** Of this node at least. */
  readonly endpoints: readonly WorkloadEndpoint[];
  readonly filters: readonly BGPFilter[];
  readonly settings: BGPSettings;
  readonly secret: ReadSecret;
}

/** The same, and who we are among them. */
export interface Scene extends PeerInputs {
  readonly speaker: Self;
  readonly me: Node;
}

/** Where a session comes from. */
export interface Extras {
  readonly type: WantedPeer["type"];
  readonly spec?: BGPPeer["spec"];
  readonly restart?: string;
  readonly password?: string;
  readonly problem?: string;
}

/** Who the peer is. */
export interface Remote {
  readonly name: string;
  readonly address: Address;
  readonly port: number;
  readonly peerAs: number;
  /** Set when the peer is one of our nodes. */
  readonly node?: Node;
}

export function session(remote: Remote, scene: Scene, extras: Extras): WantedPeer {
  const { address, node, ...rest } = remote;
  const { spec } = extras;
  const localAddress =
    spec?.sourceAddress === "None" || isLinkLocal(address)
      ? undefined
      : scene.speaker.addresses[address.family]?.address;
  const common = commonOf(remote, scene, extras);
  return {
    ...rest,
    ...common,
    address,
    ...(localAddress ? { localAddress } : {}),
    client: common.localAs === rest.peerAs && isClient(scene.me, node),
  };
}

/** All that follows from the BGPPeer and not from who the peer is. */
export function commonOf({ peerAs }: Pick<Remote, "peerAs">, scene: Scene, extras: Extras) {
  const { speaker, settings } = scene;
  const { spec, type, password } = extras;
  const localAs = spec?.localASNumber ?? speaker.as;
  const { named, missing } = filtersNamed(spec, scene);
  const warnings = unsupported(named);
  const problem = extras.problem ?? (missing && `its BGPFilter ${missing} does not exist`);
  const terms = spec ? termsOf(spec) : {};
  const policyTerms = advertised(terms.policyTerms, settings);
  return {
    ...terms,
    ...(policyTerms ? { policyTerms } : {}),
    ...{ type, localAs, nextHop: nextHopOf(spec, localAs !== peerAs), holdTimeSeconds: holdTimeOf(spec) },
    ...(password === undefined ? {} : { password }),
    ...(spec?.ttlSecurity ? { ttlSecurityHops: spec.ttlSecurity } : {}),
    ...(spec?.reachableBy === undefined ? {} : { reachableBy: parseAddress(spec.reachableBy) }),
    restartTimeSeconds: Math.min(4095, Math.ceil(durationSeconds(extras.restart ?? "120s"))), // 12 bits on the wire
    allowedLocalAs: spec?.numAllowedLocalASNumbers ?? 0,
    ...(named.length > 0 ? { filters: filtersOf(named) } : {}),
    ...(warnings.length > 0 ? { warnings } : {}),
    ...(problem ? { problem } : {}),
  };
}

function filtersNamed(spec: Extras["spec"], { filters }: Scene) {
  const names = spec?.filters ?? [];
  return {
    named: names.flatMap((n) => filters.filter((f) => f.metadata.name === n)),
    missing: names.find((n) => !filters.some((f) => f.metadata.name === n)),
  };
}

function holdTimeOf(spec: Extras["spec"]): number {
  if (spec?.holdTime !== undefined) return secondsOf(spec.holdTime);
  const keepalive = spec?.keepaliveTime;
  return keepalive ? 3 * Math.max(1, Math.ceil(durationSeconds(keepalive))) : timers.hold;
}

/** prefixAdvertisements: communities that announcements inside a range get, before the peer's own policy. */
function advertised(terms: PolicyTerms | undefined, settings: BGPSettings): PolicyTerms | undefined {
  const { prefixAdvertisements = [], communities = [] } = settings;
  if (prefixAdvertisements.length === 0) return terms;
  const communityNamed = (text: string) =>
    communityOf(communities.find((c) => c.name === text)?.value ?? text);
  const statements = prefixAdvertisements.map(({ cidr, communities: added }): Statement => {
    const prefix = parsePrefix(cidr);
    return {
      name: `prefixAdvertisements ${cidr}`,
      match: { prefixes: [{ prefix, min: prefix.length, max: prefix.family === 4 ? 32 : 128 }] },
      set: [{ kind: "add-communities", values: added.map(communityNamed) }],
      verdict: "next",
    };
  });
  const own = terms?.export;
  return {
    ...terms,
    export: {
      statements: [...statements, ...(own?.statements ?? [])],
      otherwise: own?.otherwise ?? "accept",
    },
  };
}

/** RFC 4456: a reflector's internal peers are its clients, but for the other reflectors of its cluster. */
export function isClient(me: Node, peer: Node | undefined): boolean {
  const cluster = me.spec.bgp?.routeReflectorClusterID;
  return cluster !== undefined && peer?.spec.bgp?.routeReflectorClusterID !== cluster;
}

function nextHopOf(spec: BGPPeer["spec"] | undefined, external: boolean): WantedPeer["nextHop"] {
  if (spec?.keepOriginalNextHop && external) return "keep";
  return spec?.nextHopMode === "Self" ? "self" : spec?.nextHopMode === "Keep" ? "keep" : "auto";
}

/** The password that a reference leads to; without one the session stays down, rather than go unprotected. */
export function passwordOf(
  from: BGPPeer["spec"]["password"],
  { secret }: Scene,
): { readonly password?: string; readonly problem?: string } {
  if (!from) return {};
  const { name, key, optional } = from.secretKeyRef;
  const password = secret(name, key);
  if (password === undefined)
    return optional
      ? {}
      : { problem: `its password: there is no key ${key} of Secret ${name} (--secrets-dir)` };
  return md5Password.safeParse(password).success
    ? { password }
    : { problem: `its password: key ${key} of Secret ${name} is longer than 80 bytes (Linux)` };
}
