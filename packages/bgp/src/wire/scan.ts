import type { AttributeContext } from "./attribute-table.ts";
import { u32At } from "./nlri.ts";

/** No such attribute. */
export const absent = -1;

/**
 * A look at an attribute list without making an object of it: whether it is plain, and what import, decision and export
 * ask of most routes. Plain lists are those that `readAttributes` would accept without a problem and `writeAttributes`
 * would write byte for byte: known attributes in type order, four-octet ASes, no confederations, shortest lengths. Any
 * other list is read the long way. One instance serves many lists; the fields hold until the next `look`.
 */
export class AttributeScan {
  origin = 0;
  /** As RFC 4271 §9.1.2.2 a counts. */
  pathLength = 0;
  /** First AS of a leading sequence; 0 for none. */
  neighbourAs = 0;
  /** Where the value of AS_PATH begins, and ends. */
  path = 0;
  pathEnd = 0;
  med = absent;
  localPref = absent;
  /** Where the values of these begin; `absent` for none. */
  nextHop = absent;
  communities = absent;
  communitiesEnd = 0;
  originatorId = absent;
  clusterList = absent;
  clusterListEnd = 0;
  onlyToCustomer = absent;
  /** One of the communities that RFC 1997 and its like give a meaning (0xFFFFxxxx). */
  hasWellKnown = false;
  /** Whose bytes the fields are of, where somebody said so: who comes next need not look again. */
  of: object | undefined;

  /**
   * Looks; false when the list is not plain. `hasNextHop`: one comes with MP_REACH, so none may stand here. The same array
   * twice in a row is looked at once.
   */
  look(bytes: Uint8Array, { as4, internal }: AttributeContext, hasNextHop: boolean): boolean {
    if (this.of === bytes) return true;
    this.#forget();
    const isPlain = as4 && this.#list(bytes, internal) && this.nextHop >= 0 !== hasNextHop;
    if (isPlain) this.of = bytes;
    return isPlain;
  }

  #list(bytes: Uint8Array, internal: boolean): boolean {
    let last = 0;
    for (let at = 0; at < bytes.length; ) {
      if (at + 3 > bytes.length) return false;
      const flags = bytes[at]!; // in range, as all below
      const type = bytes[at + 1]!;
      const isLong = (flags & 0x10) !== 0;
      if (isLong && at + 4 > bytes.length) return false;
      const length = isLong ? bytes[at + 2]! * 256 + bytes[at + 3]! : bytes[at + 2]!;
      const value = at + (isLong ? 4 : 3);
      const end = value + length;
      if (type <= last || end > bytes.length || (isLong && length < 256)) return false;
      if ((flags & 0xef) !== plainFlags[type] || !this.#value(bytes, type, value, end)) return false;
      if (!internal && (type === 5 || type === 9 || type === 10)) return false;
      last = type;
      at = end;
    }
    return this.origin >= 0 && this.path > 0;
  }

  #forget(): void {
    this.of = undefined;
    this.origin = absent;
    this.pathLength = 0;
    this.neighbourAs = 0;
    this.path = 0;
    this.med = absent;
    this.localPref = absent;
    this.nextHop = absent;
    this.communities = absent;
    this.originatorId = absent;
    this.clusterList = absent;
    this.onlyToCustomer = absent;
    this.hasWellKnown = false;
  }

  #value(bytes: Uint8Array, type: number, value: number, end: number): boolean {
    const length = end - value;
    switch (type) {
      case 1:
        this.origin = bytes[value]!;
        return length === 1 && this.origin <= 2;
      case 2:
        return this.#asPath(bytes, value, end);
      case 3:
        this.nextHop = value;
        return length === 4;
      case 4:
        if (length === 4) this.med = u32At(bytes, value);
        return length === 4;
      case 5:
        if (length === 4) this.localPref = u32At(bytes, value);
        return length === 4;
      case 6:
        return length === 0;
      case 7:
        return length === 8 && u32At(bytes, value) !== 0;
      case 8:
        return this.#communities(bytes, value, end);
      case 9:
        if (length === 4) this.originatorId = u32At(bytes, value);
        return length === 4;
      case 10:
        this.clusterList = value;
        this.clusterListEnd = end;
        return length > 0 && length % 4 === 0;
      case 16:
        return length > 0 && length % 8 === 0;
      case 32:
        return length > 0 && length % 12 === 0;
      default:
        if (length === 4) this.onlyToCustomer = u32At(bytes, value);
        return length === 4; // 35: no other type has plain flags
    }
  }

  #asPath(bytes: Uint8Array, value: number, end: number): boolean {
    this.path = value;
    this.pathEnd = end;
    for (let at = value; at < end; ) {
      if (at + 2 > end) return false;
      const kind = bytes[at]!;
      const count = bytes[at + 1]!;
      const next = at + 2 + 4 * count;
      if ((kind !== 1 && kind !== 2) || count === 0 || next > end) return false;
      for (let as = at + 2; as < next; as += 4) if (u32At(bytes, as) === 0) return false;
      if (at === value && kind === 2) this.neighbourAs = u32At(bytes, at + 2);
      this.pathLength += kind === 2 ? count : 1;
      at = next;
    }
    return true;
  }

  #communities(bytes: Uint8Array, value: number, end: number): boolean {
    this.communities = value;
    this.communitiesEnd = end;
    if (end === value || (end - value) % 4 !== 0) return false;
    for (let at = value; at < end; at += 4)
      if (bytes[at] === 0xff && bytes[at + 1] === 0xff) this.hasWellKnown = true;
    return true;
  }
}

/** For all on the way of an UPDATE: what one looked at the next finds looked at. */
export const scan = new AttributeScan();

/** Flags by type, as RFC 4271 §4.3 and its like give them, without Partial and Extended Length; others are not plain. */
const plainFlags: readonly (number | undefined)[] = Object.assign(new Array<number | undefined>(256), {
  ...{ 1: 0x40, 2: 0x40, 3: 0x40, 4: 0x80, 5: 0x40, 6: 0x40, 7: 0xc0, 8: 0xc0, 9: 0x80, 10: 0x80 },
  ...{ 16: 0xc0, 32: 0xc0, 35: 0xc0 },
});
