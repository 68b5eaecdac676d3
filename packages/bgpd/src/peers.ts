/**
 * Which sessions a node should have (pure), calico.md §5.3: the mesh, then BGPPeers. Of several reasons for a session
 * with one address the later in this list wins: mesh, node-specific, global.
 */
import { type BGPPeer, evaluate, type Node, parsePeerIP, parseSelector } from "@margay/api";
import { type Family, parseAddress, parsePrefix, prefixOf, sameAddress } from "@margay/net";
import type { ListenRange, Self, WantedPeer } from "./config.ts";
import { localWorkloads } from "./local-workloads.ts";
import {
  commonOf,
  type Extras,
  isClient,
  type PeerInputs,
  passwordOf,
  type Scene,
  session,
} from "./peer-session.ts";
import { keyOf } from "./settings.ts";
import { unnumbered } from "./unnumbered.ts";

/** The speaker that the Node resource makes of us; undefined when there is none, or it speaks no BGP. */
export function selfOf({ self, nodes, settings }: PeerInputs): Self | undefined {
  const node = nodes.find((n) => n.metadata.name === self);
  const bgp = node?.spec.bgp;
  if (!node || !bgp) return undefined;
  const addresses = Object.fromEntries(([4, 6] as const).flatMap((f) => interfaceOf(node, f)));
  return {
    node: self,
    as: bgp.asNumber ?? settings.asNumber,
    bgpId: bgpIdOf(node),
    ...(bgp.routeReflectorClusterID ? { clusterId: numberOf(bgp.routeReflectorClusterID) } : {}),
    addresses,
    listenPort: settings.listenPort,
    bindNodeAddress: settings.bindMode === "NodeIP",
    metric: { 4: settings.ipv4NormalRoutePriority, 6: settings.ipv6NormalRoutePriority },
  };
}

function interfaceOf(node: Node, family: Family) {
  const text = family === 4 ? node.spec.bgp?.ipv4Address : node.spec.bgp?.ipv6Address;
  if (!text) return [];
  const [host = "", length] = text.split("/");
  const address = parseAddress(host);
  return [
    [family, { address, subnet: prefixOf(address, Number(length ?? (family === 4 ? 32 : 128))) }] as const,
  ];
}

const numberOf = (dotted: string): number => Number(parseAddress(dotted).bits);

/** The IPv4 address; without one, FNV-1a of the name (any number but 0 that is unique in the AS, RFC 6286 §2.1). */
function bgpIdOf(node: Node): number {
  const address = node.spec.bgp?.ipv4Address?.split("/")[0];
  if (address) return numberOf(address);
  let hash = 0x811c9dc5;
  for (const char of node.metadata.name) hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 0x01000193);
  return hash >>> 0 || 1;
}

/** Every session that should be, by the peer's address. */
export function wantedPeers(inputs: PeerInputs): Map<string, WantedPeer> {
  const self = selfOf(inputs);
  const me = inputs.nodes.find((n) => n.metadata.name === inputs.self);
  if (!self || !me) return new Map();
  const explicit = inputs.peers.flatMap((peer) => sessionsOf(peer, { ...inputs, speaker: self, me }));
  const rank = { mesh: 0, node: 1, global: 2 };
  const all = [...mesh({ ...inputs, speaker: self, me }), ...explicit].toSorted(
    (a, b) => rank[a.type] - rank[b.type],
  );
  return new Map(all.map((peer) => [keyOf(peer), peer]));
}

/** The networks that peers of ours may connect from. */
export function listenRanges(inputs: PeerInputs): ListenRange[] {
  const speaker = selfOf(inputs);
  const me = inputs.nodes.find((n) => n.metadata.name === inputs.self);
  if (!speaker || !me) return [];
  const scene: Scene = { ...inputs, speaker, me };
  return inputs.peers.flatMap(({ metadata: { name }, spec }) => {
    if (spec.listenRange === undefined || !speaks(spec, me)) return [];
    const restart = spec.maxRestartTime;
    const peerAs = spec.asNumber ?? inputs.settings.asNumber;
    const password = passwordOf(spec.password, scene);
    const extras: Extras = { type: "global", spec, ...(restart ? { restart } : {}), ...password };
    const range = parsePrefix(spec.listenRange);
    const localAddress = spec.sourceAddress === "None" ? undefined : speaker.addresses[range.family]?.address;
    const common = commonOf({ peerAs }, scene, extras);
    const template = {
      ...common,
      ...{ name, port: 179, peerAs, client: common.localAs === peerAs && isClient(me, undefined) },
      ...(localAddress ? { localAddress } : {}),
    };
    return [{ range, limit: spec.listenLimit ?? 100, template }];
  });
}

/** The full mesh, without route reflectors: those peer with whom BGPPeers say. */
function mesh(scene: Scene): WantedPeer[] {
  const { nodes, settings, me } = scene;
  if (!settings.nodeToNodeMeshEnabled || me.spec.bgp?.routeReflectorClusterID) return [];
  const others = nodes.filter((n) => n.metadata.name !== scene.self && !n.spec.bgp?.routeReflectorClusterID);
  const restart = settings.nodeMeshMaxRestartTime;
  const extras: Extras = {
    type: "mesh",
    ...(restart ? { restart } : {}),
    ...passwordOf(settings.nodeMeshPassword, scene),
  };
  return others.flatMap((node) => nodeSession(node, scene, extras));
}

/** A session with another node: over IPv4 when both have it, else IPv6. */
function nodeSession(node: Node, scene: Scene, extras: Extras): WantedPeer[] {
  const family = ([4, 6] as const).find((f) => scene.speaker.addresses[f] && interfaceOf(node, f).length > 0);
  const address = family && interfaceOf(node, family)[0]?.[1].address;
  if (!address) return [];
  const peerAs = node.spec.bgp?.asNumber ?? scene.settings.asNumber;
  return [
    session(
      { name: node.metadata.name, address, port: scene.settings.listenPort, peerAs, node },
      scene,
      extras,
    ),
  ];
}

/** The sessions that one BGPPeer means for us, on the side that it names or on the other (reversePeering). */
function sessionsOf({ metadata, spec }: BGPPeer, scene: Scene): WantedPeer[] {
  const type = spec.node === undefined && spec.nodeSelector === undefined ? "global" : "node";
  const extras: Extras = {
    type,
    spec,
    ...(spec.maxRestartTime ? { restart: spec.maxRestartTime } : {}),
    ...passwordOf(spec.password, scene),
  };
  if (spec.peerIP !== undefined) return speaks(spec, scene.me) ? external(metadata.name, scene, extras) : [];
  const { peerSelector, localWorkloadSelector, listenRange, interface: device } = spec;
  const isUnnumbered = (peerSelector ?? localWorkloadSelector ?? listenRange) === undefined;
  if (isUnnumbered && device !== undefined)
    return speaks(spec, scene.me) ? [onInterface({ name: metadata.name, device }, scene, extras)] : [];
  if (localWorkloadSelector !== undefined)
    return speaks(spec, scene.me) ? localWorkloads(localWorkloadSelector, scene, extras) : [];
  if (peerSelector === undefined) return []; // a range: `listenRanges`
  const others = scene.nodes.filter((n) => n.metadata.name !== scene.self);
  const forward = speaks(spec, scene.me) ? others.filter((n) => matches(peerSelector, n)) : [];
  const reverse =
    spec.reversePeering === "Auto" && matches(peerSelector, scene.me)
      ? others.filter((n) => speaks(spec, n))
      : [];
  return [...new Set([...forward, ...reverse])].flatMap((node) => nodeSession(node, scene, extras));
}

/** Whether the BGPPeer is for this node. */
const speaks = (spec: BGPPeer["spec"], node: Node): boolean =>
  spec.node !== undefined ? node.metadata.name === spec.node : matches(spec.nodeSelector ?? "all()", node);

/** Whoever is at the other end of an interface. */
function onInterface(
  { name, device }: { readonly name: string; readonly device: string },
  scene: Scene,
  extras: Extras,
): WantedPeer {
  const peerAs = extras.spec?.asNumber ?? scene.settings.asNumber;
  const common = commonOf({ peerAs }, scene, extras);
  const client = common.localAs === peerAs && isClient(scene.me, undefined);
  return unnumbered({ ...common, device, ...{ name, port: 179, peerAs, client } });
}

/** A peer by address; it may be a node of ours. Never ourselves. */
function external(name: string, scene: Scene, extras: Extras): WantedPeer[] {
  const peer = parsePeerIP(extras.spec?.peerIP ?? "");
  if (!peer) return [];
  const address = parseAddress(peer.address);
  const has = (node: Node) =>
    interfaceOf(node, address.family).some(([, own]) => sameAddress(own.address, address));
  if (has(scene.me)) return [];
  const node = scene.nodes.find(has);
  const port = peer.port ?? (node ? scene.settings.listenPort : 179);
  const peerAs = extras.spec?.asNumber ?? scene.settings.asNumber;
  return [
    session(
      { name: node?.metadata.name ?? name, address, port, peerAs, ...(node ? { node } : {}) },
      scene,
      extras,
    ),
  ];
}

/** Selectors in the datastore were checked when they were written. */
const matches = (selector: string, { metadata }: Node): boolean =>
  evaluate(parseSelector(selector), metadata.labels ?? {});
