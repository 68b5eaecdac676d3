import { hash } from "node:crypto";

/** What a rule's sets are called in our table; asked while the rule is translated, which collects them. */
export interface Names {
  /** Of a set of the renderer. */
  readonly setName: (name: string) => string;
  /** What that set holds. */
  readonly kindOf: (name: string) => string;
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

/** Of a renderer's set, or of the part of it that is networks. */
export const setName = (name: string): string => name.replace(/^margay[46]-/, "");

/** Networks of a set are a set of their own, behind whose name stands this: they work otherwise than addresses. */
export const NETWORKS = "-nets";

const READABLE = 40;

export function portSetName(list: string): string {
  const text = list.replaceAll(",", "_").replaceAll(":", "-");
  return `ports-${text.length <= READABLE ? text : hash("sha256", list, "hex").slice(0, 16)}`;
}
