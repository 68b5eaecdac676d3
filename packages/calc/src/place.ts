import { didYouMean } from "@margay/api";
import { type Address, type Family, formatAddress, NetError, parseAddress, sameAddress } from "@margay/net";
import type { Survey, SurveyedPod } from "./survey.ts";

/** One end of a packet, as people name it. */
export type Place =
  | {
      readonly kind: "pod";
      /** Of the WorkloadEndpoint. */
      readonly id: string;
      readonly name: string;
      readonly node: string;
      readonly interfaceName: string;
      readonly addresses: readonly Address[];
      /** Asked for by a floating address: the one that it stands for. */
      readonly internal?: Address;
    }
  | {
      readonly kind: "host";
      readonly name: string;
      readonly node: string;
      readonly addresses: readonly Address[];
    }
  | { readonly kind: "outside"; readonly name: string; readonly addresses: readonly Address[] };

/** A place that cannot be told, or two that no packet can go between. The message is for people. */
export class PlaceError extends Error {
  override readonly name = "PlaceError";
  readonly code: "not-found" | "ambiguous" | "no-address";

  constructor(code: PlaceError["code"], message: string) {
    super(message);
    this.code = code;
  }
}

/**
 * What `text` names: a pod or WorkloadEndpoint as `namespace/name`, an address (a pod's, a node's, or one outside), a
 * node, a pod whose name occurs once, or a Service as `namespace/name`. Throws PlaceError.
 */
export function placeOf(text: string, survey: Survey): Place {
  const address = addressIn(text);
  if (address) return placeAt(address, survey);
  const node = survey.nodes.find(({ name }) => name === text);
  const pods = podsNamed(text, survey);
  if (node && pods.length > 0)
    throw new PlaceError("ambiguous", `${text} is a node and also a pod: ${list(pods)}; say namespace/name`);
  if (node)
    return { kind: "host", name: text, node: text, addresses: node.addresses.map(({ address: a }) => a) };
  const [pod, ...others] = pods;
  const service = pod ? undefined : serviceNamed(text, survey);
  if (service) return service;
  if (!pod) throw new PlaceError("not-found", notFound(text, survey));
  if (others.length > 0)
    throw new PlaceError("ambiguous", `${text} may be ${list(pods)}; say which, or give its address`);
  return podPlace(pod);
}

/** By its cluster addresses: a Service is no place of its own. */
function serviceNamed(text: string, { services }: Survey): Place | undefined {
  const service = services.find(({ metadata }) => `${metadata.namespace}/${metadata.name}` === text);
  if (!service) return undefined;
  return {
    kind: "outside",
    name: `service ${text}`,
    addresses: service.spec.clusterIPs.map((ip) => parseAddress(ip)),
  };
}

const podPlace = ({ id, pod, node, interfaceName, addresses }: SurveyedPod) =>
  ({ kind: "pod", id, name: pod, node, interfaceName, addresses }) as const;

function addressIn(text: string): Address | undefined {
  try {
    return parseAddress(text);
  } catch (error) {
    if (error instanceof NetError) return undefined; // a name, then
    throw error;
  }
}

export function placeAt(address: Address, { pods, nodes, floating }: Survey): Place {
  const held = floating.get(formatAddress(address));
  if (held) return { ...podPlace(held.pod), addresses: [address], internal: held.internal };
  const holds = (addresses: readonly Address[]) => addresses.some((a) => sameAddress(a, address));
  const holders = pods.filter(({ addresses }) => holds(addresses));
  const [pod, ...others] = holders;
  if (pod && others.length > 0)
    throw new PlaceError("ambiguous", `${formatAddress(address)} is that of ${list(holders)}`);
  if (pod) return { ...podPlace(pod), addresses: [address] };
  const node = nodes.find(({ addresses }) => holds(addresses.map(({ address: a }) => a)));
  return node
    ? { kind: "host", name: node.name, node: node.name, addresses: [address] }
    : { kind: "outside", name: "outside", addresses: [address] };
}

/** By pod or WorkloadEndpoint; without a namespace in any. */
const podsNamed = (text: string, { pods }: Survey): readonly SurveyedPod[] =>
  pods.filter(({ id, pod }) =>
    text.includes("/") ? id === text || pod === text : [id, pod].some((name) => name.split("/")[1] === text),
  );

/** Pods of several interfaces differ in the endpoint's name only. */
const list = (pods: readonly SurveyedPod[]): string =>
  pods.map(({ id, pod, node }) => `${id === pod ? pod : `${pod} (${id})`} on ${node}`).join(", ");

const SHOWN = 5;

function notFound(text: string, { pods, nodes, services }: Survey): string {
  const last = text.split("/").at(-1);
  const alike = pods.filter(({ pod }) => pod.split("/")[1] === last).map(({ pod }) => pod);
  if (alike.length > 0) return `there is no pod ${text}, but there is ${alike.slice(0, SHOWN).join(", ")}`;
  const known = nodes.map(({ name }) => name);
  const named = [
    ...pods.map(({ pod }) => pod),
    ...services.map(({ metadata: m }) => `${m.namespace}/${m.name}`),
  ];
  const meant = didYouMean(text, [...named, ...known]);
  if (meant !== "") return `there is no pod, node or Service ${text}${meant}`;
  const these = known.length <= SHOWN ? `: ${known.join(", ")}` : "";
  return `${text} is no pod (namespace/name), node or address; there are ${pods.length} pods and ${known.length} nodes${these}`;
}

/**
 * The addresses that packets between two places bear: of `family` if given, else IPv4 where both have it. Throws
 * PlaceError `no-address`.
 */
export function endsOf(
  source: Place,
  destination: Place,
  family: Family | undefined,
): { readonly from: Address; readonly to: Address } {
  for (const wanted of family ? [family] : ([4, 6] as const)) {
    const [from, to] = [source, destination].map(({ addresses }) =>
      addresses.find((a) => a.family === wanted),
    );
    if (from && to) return { from, to };
  }
  const has = ({ name, addresses }: Place) =>
    `${name} has ${addresses.length === 0 ? "no address" : addresses.map(formatAddress).join(" and ")}`;
  const what = family ? `IPv${family} address` : "family of addresses";
  throw new PlaceError("no-address", `no common ${what}: ${has(source)}, ${has(destination)}`);
}
