/** What peers are told: update groups by export policy, and the sending of what they owe. */
import {
  type Attributes,
  applyFilter,
  applyPolicy,
  type Changes,
  type ExportPolicy,
  exporter,
  lengths,
  type Negotiated,
  type Policy,
  type Rib,
  type Source,
  UpdateGroup,
  wireExporter,
} from "@margay/bgp";
import { type Address, contains, type Family, type Prefix } from "@margay/net";
import { AdjRibOut } from "./adj-rib-out.ts";
import { deviceTo, isLinkLocal, type Self, type WantedPeer } from "./config.ts";
import type { Peer } from "./peer.ts";
import { textOf } from "./text-of.ts";

/** Lets every prefix out. */
export const everything = (): boolean => true;

/** A peer with an established session, as one who is told routes. */
export interface Member {
  readonly peer: Peer;
  readonly source: Source;
  readonly negotiated: Negotiated;
}

type Write = ConstructorParameters<typeof UpdateGroup>[0]["write"];

export interface AnnouncerOptions {
  readonly ribs: Readonly<Record<Family, Rib>>;
  /** Whether End-of-RIB may be said yet. */
  readonly mayEnd: (family: Family) => boolean;
  /** The interface towards a next hop, for filters that ask for it. */
  readonly deviceOf?: (nextHop: Address) => string | undefined;
}

export class Announcer {
  readonly #options: AnnouncerOptions;
  readonly #groups = new Map<string, AdjRibOut>();
  readonly #members = new Map<Source, Peer>();
  #isExported: (prefix: Prefix) => boolean = everything;
  /** How often bytes were handed to a peer. */
  told = 0;

  constructor(options: AnnouncerOptions) {
    this.#options = options;
  }

  /** Nothing is owed to anybody. */
  get isSettled(): boolean {
    return [...this.#groups.values()].every(({ group, isBehind }) => !group.pending && !isBehind);
  }

  /** Prefixes that a peer has been, or is being, told. */
  prefixesOut(source: Source): number {
    return this.#groupsOf(source).reduce((sum, { group }) => sum + group.sizeFor(source), 0);
  }

  /** Which prefixes may leave us at all; every prefix is looked at again, by `judgeSome`. */
  setExported(isExported: (prefix: Prefix) => boolean): void {
    this.#isExported = isExported;
    for (const out of this.#groups.values()) out.judgeAll();
  }

  /** Next hops are reached another way: what filters say of the interface is asked again. */
  devicesChanged(): void {
    for (const out of this.#groups.values()) if (out.asksDevice) out.judgeAll();
  }

  /** Prefixes are left to be judged. */
  get isBehind(): boolean {
    return [...this.#groups.values()].some((out) => out.isBehind);
  }

  /** Judges so many prefixes for groups whose policy is new or another; who waited for that comes in. */
  judgeSome(most: number): void {
    const behind = [...this.#groups.values()].filter((out) => out.isBehind);
    for (const out of behind) {
      out.judgeSome(Math.ceil(most / behind.length));
      this.#admit(out);
    }
    if (behind.length > 0) this.#sweep();
  }

  /** The member is owed the whole table of each family that was negotiated. */
  join(member: Member, self: Self | undefined): void {
    this.#members.set(member.source, member.peer);
    for (const family of member.negotiated.families)
      this.#enter(this.#groupOf(member, family, self), member.source);
  }

  /** The export policy of a member is another one: it is told the difference, in the same session. */
  move(member: Member, self: Self | undefined): void {
    for (const family of member.negotiated.families)
      this.#enter(this.#groupOf(member, family, self), member.source);
    this.#sweep();
  }

  /** At once, or when the group is whole; until then a member stays where it was. */
  #enter(out: AdjRibOut, source: Source): void {
    for (const other of this.#groups.values()) if (other.family === out.family) other.waiting.delete(source);
    out.waiting.add(source);
    this.#admit(out);
  }

  #admit(out: AdjRibOut): void {
    if (!out.isWhole) return;
    for (const source of out.waiting) {
      const old = this.#groupsOf(source).find(({ family }) => family === out.family);
      if (!old) out.group.join(source, { endOfRib: true });
      else if (old !== out) out.group.adopt(source, old.group);
    }
    out.waiting.clear();
  }

  leave(source: Source): void {
    this.#members.delete(source);
    for (const { group, waiting } of this.#groups.values()) {
      group.leave(source);
      waiting.delete(source);
    }
    this.#sweep();
  }

  /** Groups that nobody is in, or waits for. */
  #sweep(): void {
    for (const [key, { group, waiting }] of this.#groups)
      if (group.members.length + waiting.size === 0) this.#groups.delete(key);
    this.#askForPaths();
  }

  /** A RIB reports changes of all paths only while somebody is told several. */
  #askForPaths(): void {
    for (const wanted of [4, 6] as const)
      this.#options.ribs[wanted].tellsAll = [...this.#groups.values()].some(
        ({ family, group }) => family === wanted && group.maxPaths !== undefined,
      );
  }

  /** The peer asked for everything again (RFC 2918); `marked`: between the marks of RFC 7313. */
  refresh(source: Source, wanted: { readonly family: Family; readonly marked: boolean }): void {
    for (const { family, group } of this.#groupsOf(source))
      if (family === wanted.family) group.refresh(source, wanted);
  }

  /** Best paths are others now. */
  put(wanted: Family, changes: Changes): void {
    for (const out of this.#groups.values()) {
      if (out.family !== wanted) continue;
      for (const id of changes.best) out.tell(id);
      if (out.group.maxPaths !== undefined) for (const id of changes.others) out.tell(id);
    }
  }

  /** One batch for each group, to the peers that can take it. Whether some of them are owed more. */
  send(): boolean {
    const ready = (member: Source) => this.#members.get(member)?.isReady ?? false;
    for (const { group } of this.#groups.values()) {
      if (!group.pending) continue;
      for (const { bytes, to } of group.drain(ready))
        for (const member of to) {
          this.told++;
          this.#members.get(member)?.send(bytes);
        }
    }
    return [...this.#groups.values()].some(({ group }) => group.isOwed(ready));
  }

  #groupsOf(source: Source) {
    return [...this.#groups.values()].filter(({ group }) => group.members.includes(source));
  }

  #groupOf({ peer, negotiated }: Member, family: Family, self: Self | undefined): AdjRibOut {
    const { wanted } = peer;
    const { as4, internal, extendedMessage, extendedNextHop } = negotiated;
    const write = { as4, internal, maxLength: extendedMessage ? lengths.maxExtended : lengths.max };
    const longLived = negotiated.longLived?.some((f) => f.family === family) ?? false;
    const policy = exportPolicy(wanted, {
      ...{ self, family, extendedNextHop, longLived },
      localAddress: peer.localAddress,
    });
    const { sendMax = Number.MAX_SAFE_INTEGER } = wanted.sessionTerms?.addPath ?? {};
    const max = negotiated.addPath?.send.includes(family) ? sendMax : undefined;
    return this.#group({ family, policy, write, wanted, max });
  }

  /** The group of all peers that are told the same in the same form. */
  #group(of: {
    family: Family;
    policy: ExportPolicy;
    write: Write;
    wanted: WantedPeer;
    /** Paths of a prefix at most; undefined: without path identifiers. */
    max: number | undefined;
  }): AdjRibOut {
    const { family, policy, write, wanted, max } = of;
    const rules = wanted.filters?.export[family] ?? [];
    const own = wanted.policyTerms?.export;
    const peer = { address: wanted.address, as: wanted.peerAs };
    const key = textOf([family, policy, write, rules, own, max, ...(own && looksAtPeer(own) ? [peer] : [])]);
    const known = this.#groups.get(key);
    if (known) return known;
    const rib = this.#options.ribs[family];
    const { prefixes, slots } = rib;
    const out = exporter(policy, family);
    const toWire = wireExporter(policy, family, write);
    const asksDevice = rules.some((r) => r.interface !== undefined);
    const { deviceOf } = this.#options;
    const deviceBy = ({ nextHop }: Attributes, from: Source) =>
      asksDevice && deviceOf && nextHop ? deviceTo(nextHop.address, from, deviceOf) : undefined;
    const isOpen = () => rules.length === 0 && !own && this.#isExported === everything;
    const group = new UpdateGroup({
      ...(max === undefined ? { prefixes } : { prefixes: slots, paths: { max, slots } }),
      write,
      mayEnd: () => this.#options.mayEnd(family),
      exportRoute: (id, path) => {
        if (isOpen()) return toWire(path);
        const attributes = out(path);
        const prefix = attributes && prefixes.prefix(id);
        if (!prefix) return undefined;
        const learned = path.source.kind !== "local";
        const device = learned ? deviceBy(path.attributes ?? path.received, path.source) : undefined;
        const verdict = applyFilter(rules, {
          ...{ prefix, attributes, learned, peerType: policy.to },
          ...(device === undefined ? {} : { interface: device }),
        });
        // No rule: the default decides.
        const accept = verdict ? verdict.accept : this.#isExported(prefix);
        const after = verdict?.attributes ?? attributes;
        if (!accept || !own) return accept ? after : undefined;
        const self = policy.self[family];
        const told = applyPolicy(own, {
          ...{ prefix, attributes: after, learned: path.source.kind, peer },
          ...(self ? { self } : {}),
        });
        return told.accept ? told.attributes : undefined;
      },
    });
    const made = new AdjRibOut({ family, rib, group, asksDevice });
    this.#groups.set(key, made);
    this.#askForPaths();
    return made;
  }
}

/** Whether the policy can tell peers apart: otherwise all that have it share an update group. */
const looksAtPeer = ({ statements }: Policy): boolean =>
  statements.some(
    ({ match, set }) =>
      match.peers || match.peerAs || set?.some((c) => c.kind === "next-hop" && c.value === "peer"),
  );

/** What export policy must know of the peer and of us. */
function exportPolicy(
  wanted: WantedPeer,
  us: {
    self: Self | undefined;
    family: Family;
    extendedNextHop: boolean;
    longLived: boolean;
    /** Our end of the session: what a link-local peer, which may share no other network with us, can reach. */
    localAddress: Address | undefined;
  },
): ExportPolicy {
  const { localAs, peerAs, client, nextHop, address, localAddress } = wanted;
  const own = us.self?.addresses;
  const { policyTerms: terms } = wanted;
  const subnet = Object.values(own ?? {}).find((a) => a && contains(a.subnet, address))?.subnet;
  const linkLocal = isLinkLocal(address) ? us.localAddress : undefined;
  const ours = linkLocal ?? localAddress;
  const hop = ours?.family === us.family ? ours : own?.[us.family]?.address;
  const hop6 = linkLocal ?? own?.[6]?.address;
  const shared = subnet && (us.family === subnet.family ? subnet : own?.[us.family]?.subnet);
  return {
    to: localAs === peerAs ? "ibgp" : "ebgp",
    ...{ localAs, client, nextHop },
    self: {
      ...(us.extendedNextHop && hop6 ? { 6: { address: hop6 } } : {}),
      ...(hop ? { [us.family]: { address: hop } } : {}),
    },
    ...(us.extendedNextHop ? { extendedNextHop: true } : {}),
    ...(us.longLived ? { longLived: true } : {}),
    ...(us.self?.clusterId !== undefined ? { clusterId: us.self.clusterId } : {}),
    ...(shared ? { shared } : {}),
    ...(wanted.sessionTerms?.role ? { role: wanted.sessionTerms.role } : {}),
    ...(terms?.removePrivateAs ? { removePrivateAs: terms.removePrivateAs } : {}),
    ...(terms?.showBothAses && us.self ? { trueAs: us.self.as } : {}),
  };
}
