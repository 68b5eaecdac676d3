import { canonical, type Labels, type Selector, selectorId } from "@margay/api";

/** What sets are made of: endpoints and network sets, the endpoints of this node alone, what stands behind services, nodes, domains. */
export type Among = "endpoints" | "local" | "services" | "nodes" | "domains";

/** What a set stands for: the addresses of what `selector` selects, or named ports of it. */
export interface SetSpec {
  /** Endpoints if absent. */
  readonly among?: Among;
  readonly selector: Selector;
  /** Every port, or that of a name; `protocol` is ipset's word for it: tcp, udp, sctp. */
  readonly port?: "every" | { readonly name: string; readonly protocol: string };
}

/** The label under which slices are found, and no others. */
const SERVICE = "service";

/** What stands behind a service, which a selector over labels cannot mean. */
export const behindService = (service: string, port?: "every"): SetSpec => ({
  ...{ among: "services", selector: { kind: "equals", label: SERVICE, value: service } },
  ...(port && { port }),
});

export const serviceLabels = (service: string): Labels => ({ [SERVICE]: service });

/** The name of a set: the same wherever the same thing is meant, so that policies share it. */
export function setId({ among, selector, port }: SetSpec): string {
  const of = among && among !== "endpoints" ? `${among}:` : "";
  if (!port) return `s:${of}${selectorId(selector)}`;
  return `p:${of}${selectorId(selector)}:${port === "every" ? port : `${port.protocol}:${port.name}`}`;
}

/** What a set stands for, for people. */
export function about({ among = "endpoints", selector, port }: SetSpec): string {
  const what = `${among === "endpoints" ? "" : `${among}: `}${canonical(selector)}`;
  if (!port) return what;
  return port === "every" ? `ports of ${what}` : `port ${port.name} of ${what}`;
}
