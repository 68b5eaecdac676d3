import type { Family } from "@margay/net";

/** A named set of addresses; its key is its name in the kernel (at most 31 characters). */
export interface IpSet {
  readonly type: "hash:ip" | "hash:net" | "hash:ip,port";
  readonly family: Family;
  /** `10.0.0.1`, `10.0.0.0/24` or `10.0.0.1,tcp:80`. */
  readonly members: ReadonlySet<string>;
}
