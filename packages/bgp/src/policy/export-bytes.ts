/** Export of plain routes from bytes to bytes: what `exportRoute` and `writeAttributes` would give, without the objects. */
import { type Address, addressToBytes, type Family } from "@margay/net";
import type { WireAttributes } from "../rib/packer.ts";
import type { Route } from "../rib/path.ts";
import { LearnedRoute } from "../rib/route-store.ts";
import type { AttributeContext } from "../wire/attribute-table.ts";
import type { Attributes, NextHop } from "../wire/attributes.ts";
import { absent, scan } from "../wire/scan.ts";
import { distribution, type ExportPolicy, exporter, nextHopFor } from "./export.ts";
import { defaultLocalPref } from "./import.ts";

/** What goes out for a route: as bytes where those could be told at once, else as attributes; undefined for nothing. */
export type Told = WireAttributes | Attributes | undefined;

/** Export policy with a memory, as `exporter`, by bytes where it can: the same object for the same route twice in a row. */
export function wireExporter(
  policy: ExportPolicy,
  family: Family,
  write: AttributeContext,
): (route: Route) => Told {
  const whole = exporter(policy, family);
  const isPlain =
    !policy.role && !policy.removePrivateAs && (policy.trueAs ?? policy.localAs) === policy.localAs;
  if (!isPlain || !write.as4) return whole;
  const writer = new ListWriter(policy);
  let last: Route | undefined;
  let told: Told;
  return (route) => {
    if (route === last) return told;
    last = route;
    const bytes = route instanceof LearnedRoute ? writer.list(route, family) : "ask";
    told = bytes === "ask" ? whole(route) : bytes;
    return told;
  };
}

const typeNextHop: number = 3;
const typeLocalPref: number = 5;
const typeOriginator: number = 9;
const typeClusters: number = 10;

/** Copies an attribute list and changes on the way what RFC 4271 §5 and RFC 4456 §8 ask for. */
class ListWriter {
  readonly #policy: ExportPolicy;
  #out = new Uint8Array(4096);
  #at = 0;
  #lastHop: Address | undefined;
  #hopBytes: Uint8Array = new Uint8Array(4);

  constructor(policy: ExportPolicy) {
    this.#policy = policy;
  }

  /** The list as it goes out, good until the next one; undefined: the route does not; `ask`: not told from the bytes. */
  list(route: LearnedRoute, family: Family): WireAttributes | undefined | "ask" {
    const bytes = route.look();
    if (!bytes) return "ask";
    if (distribution(this.#policy, route.source)) return undefined;
    const nextHop = nextHopFor(this.#policy, route, family);
    if (!nextHop) return undefined;
    if (this.#policy.to === "ebgp" && scan.pathEnd > scan.path && bytes[scan.path + 1] === 255) return "ask";
    if (bytes.length + 64 > this.#out.length) this.#out = new Uint8Array(bytes.length + 4096);
    this.#at = 0;
    if (this.#policy.to === "ebgp") this.#external(bytes, nextHop);
    else this.#internal(bytes, nextHop, route);
    return { bytes: this.#out.subarray(0, this.#at), nextHop };
  }

  /** RFC 4271 §5.1.2 b, §5.1.4, §5.1.5: our AS in front; MED, LOCAL_PREF and the marks of reflection stay inside. */
  #external(bytes: Uint8Array, nextHop: NextHop): void {
    let hasHop = false;
    for (let at = 0; at < bytes.length; ) {
      const type = bytes[at + 1]!; // a plain list, here and below
      const end = endOf(bytes, at);
      if (type >= typeNextHop && !hasHop) {
        this.#hop(nextHop);
        hasHop = true;
      }
      if (type === 2) this.#prepended(bytes);
      else if (type < typeNextHop || type > typeLocalPref)
        if (type !== typeOriginator && type !== typeClusters) this.#copy(bytes, at, end);
      at = end;
    }
    if (!hasHop) this.#hop(nextHop);
  }

  /** RFC 4271 §5.1.5: LOCAL_PREF always; RFC 4456 §8: a reflected route bears its originator and our cluster. */
  #internal(bytes: Uint8Array, nextHop: NextHop, { source }: LearnedRoute): void {
    const { clusterId } = this.#policy;
    const reflects = source.kind === "ibgp" && clusterId !== undefined;
    let due = typeNextHop; // the next of those that we add, in the order of types
    for (let at = 0; ; ) {
      const type = at < bytes.length ? bytes[at + 1]! : 256;
      for (; due < type && due <= typeClusters; due++) {
        if (due === typeNextHop && scan.nextHop === absent) this.#hop(nextHop);
        if (due === typeLocalPref && scan.localPref === absent) this.#number(0x40, due, defaultLocalPref);
        if (due === typeOriginator && reflects && scan.originatorId === absent)
          this.#number(0x80, due, source.bgpId);
        if (due === typeClusters && reflects && scan.clusterList === absent)
          this.#number(0x80, due, clusterId);
      }
      if (at >= bytes.length) return;
      const end = endOf(bytes, at);
      if (type === typeNextHop) this.#hop(nextHop);
      else if (type === typeLocalPref && source.kind !== "ibgp") this.#number(0x40, type, defaultLocalPref);
      else if (type === typeClusters && reflects) this.#clusters(bytes, clusterId);
      else this.#copy(bytes, at, end);
      at = end;
    }
  }

  /** NEXT_HOP; one of IPv6 stands in MP_REACH. */
  #hop({ address }: NextHop): void {
    if (address.family === 6) return;
    this.#head(0x40, typeNextHop, 4);
    if (address !== this.#lastHop) this.#hopBytes = addressToBytes(address);
    this.#lastHop = address;
    this.#copy(this.#hopBytes, 0, 4);
  }

  #number(flags: number, type: number, value: number): void {
    this.#head(flags, type, 4);
    this.#u32(value);
  }

  #prepended(bytes: Uint8Array): void {
    const { path, pathEnd } = scan;
    const joins = pathEnd > path && bytes[path] === 2;
    this.#head(0x40, 2, pathEnd - path + (joins ? 4 : 6));
    this.#out[this.#at++] = 2;
    this.#out[this.#at++] = joins ? bytes[path + 1]! + 1 : 1;
    this.#u32(this.#policy.localAs);
    this.#copy(bytes, joins ? path + 2 : path, pathEnd);
  }

  #clusters(bytes: Uint8Array, clusterId: number): void {
    const { clusterList, clusterListEnd } = scan;
    this.#head(0x80, typeClusters, clusterListEnd - clusterList + 4);
    this.#u32(clusterId);
    this.#copy(bytes, clusterList, clusterListEnd);
  }

  #head(flags: number, type: number, length: number): void {
    const isLong = length > 255;
    this.#out[this.#at++] = isLong ? flags | 0x10 : flags;
    this.#out[this.#at++] = type;
    if (isLong) this.#out[this.#at++] = length >> 8;
    this.#out[this.#at++] = length;
  }

  #u32(value: number): void {
    this.#out[this.#at++] = value >>> 24;
    this.#out[this.#at++] = value >>> 16;
    this.#out[this.#at++] = value >>> 8;
    this.#out[this.#at++] = value;
  }

  #copy(bytes: Uint8Array, from: number, to: number): void {
    for (let at = from; at < to; at++) this.#out[this.#at++] = bytes[at]!; // in range
  }
}

/** Where the attribute at `at` of a plain list ends. */
const endOf = (bytes: Uint8Array, at: number): number =>
  bytes[at]! & 0x10 ? at + 4 + bytes[at + 2]! * 256 + bytes[at + 3]! : at + 3 + bytes[at + 2]!;
