import { type Address, parseAddress } from "@margay/net";
import { address } from "./addresses.ts";
import { text } from "./text.ts";

/** network-policy-api's DomainName: labels, the first of which may be a `*`; two at least. */
const PATTERN = /^(\*\.)?([a-z0-9]([-a-z0-9_]*[a-z0-9])?\.)+[a-z0-9]([-a-z0-9_]*[a-z0-9])?\.?$/i;
/** RFC 1035 §2.3.4. */
const LONGEST = { name: 253, label: 63 } as const;

/** `www.example.com`, or `*.example.com`: all below it, and not itself. */
export const domain = text((value) =>
  PATTERN.test(value) &&
  value.length <= LONGEST.name &&
  value.split(".").every((l) => l.length <= LONGEST.label)
    ? undefined
    : 'must be a domain name such as "www.example.com", or "*.example.com" for all names below it',
);

const SERVICE = /^k8s-service:(?:([a-z0-9-]+)\/)?([a-z0-9-]+)$/;

/** A DNS server; `parseResolver` tells what it means. */
export const resolver = text((value) =>
  SERVICE.test(value) || address().safeParse(value).success
    ? undefined
    : 'must be "k8s-service:[<namespace>/]<name>" or an address',
);

export type Resolver =
  | { readonly kind: "address"; readonly address: Address }
  | { readonly kind: "service"; readonly name: string; readonly namespace: string };

/** Throws NetError for text that `resolver` refuses. */
export function parseResolver(value: string): Resolver {
  const [, namespace = "kube-system", name] = SERVICE.exec(value) ?? [];
  return name === undefined
    ? { kind: "address", address: parseAddress(value) }
    : { kind: "service", name, namespace };
}
