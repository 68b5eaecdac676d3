import { hash } from "node:crypto";

/** What a rule's sets are called in our table; asked while the rule is translated, which collects them. */
export interface Names {
  /** Of a set of the renderer. */
  readonly setName: (name: string) => string;
  /** Of a list of ports such as `80,443,8000:8080`. */
  readonly portSet: (list: string) => string;
}

/** The table is ours: our prefix says nothing there. The renderer's chains are by iptables' table. */
export const chainName = (table: string, name: string): string => `${table}-${name.replace(/^margay-/, "")}`;

/** `filter/margay-forward` */
export function chainNameOf(key: string): string {
  const slash = key.indexOf("/");
  return chainName(key.slice(0, slash), key.slice(slash + 1));
}

/** Sets that hold networks work otherwise than those that hold addresses only, and so are others by name. */
export const setName = (name: string, hasNetworks: boolean): string =>
  `${name.replace(/^margay[46]-/, "")}${hasNetworks ? "-nets" : ""}`;

const READABLE = 40;

export function portSetName(list: string): string {
  const text = list.replaceAll(",", "_").replaceAll(":", "-");
  return `ports-${text.length <= READABLE ? text : hash("sha256", list, "hex").slice(0, 16)}`;
}
