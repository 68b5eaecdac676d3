import { text } from "./text.ts";

const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** Why `name` is no DNS-1123 subdomain (RFC 1123 §2.1, as Kubernetes restricts it), or undefined. */
export const nameOf = (name: string): string | undefined =>
  name.length <= 253 && SUBDOMAIN.test(name)
    ? undefined
    : "must be a DNS subdomain: at most 253 of a-z 0-9 '-' '.', beginning and ending with a letter or digit";

/** Why `name` is neither `default` nor `node.<nodename>`, or undefined. */
export const singletonName = (name: string): string | undefined =>
  name === "default" || (name.startsWith("node.") && nameOf(name.slice(5)) === undefined)
    ? undefined
    : `must be "default", or "node.<nodename>" for one node`;

const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/;
const LABEL_NAME = /^([^/]+\/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;

export const labelName = text((name) =>
  name.length <= 317 && LABEL_NAME.test(name)
    ? undefined
    : "must be a label name: [prefix/]name of A-Z a-z 0-9 '-' '_' '.', beginning and ending with a letter or digit",
);

export const labelValue = text((value) =>
  value.length <= 63 && LABEL_VALUE.test(value)
    ? undefined
    : "must be a label value: at most 63 of A-Z a-z 0-9 '-' '_' '.', beginning and ending with a letter or digit",
);

/** Why `value` is no name of one interface, or could be taken for a pattern by a packet filter; undefined if it is fine. */
export const notOneInterface = (value: string): string | undefined =>
  /^[\w.@=~-]{1,15}$/.test(value)
    ? undefined
    : "must be the name of one interface: 1 to 15 of A-Z a-z 0-9 '_' '.' '@' '=' '~' '-'";

/** The name of one interface: nothing that a packet filter could take for a pattern. */
export const interfaceName = text(notOneInterface);

/** An interface name, or a glob of them. */
export const interfacePattern = text((value) =>
  /^[^\s/]{1,15}$/.test(value)
    ? undefined
    : "must be an interface name: 1 to 15 characters without space or '/'",
);
