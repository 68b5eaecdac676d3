import type { EndpointSlice, Service } from "@margay/api";
import { type Address, formatAddress, parseAddress, sameAddress } from "@margay/net";
import type { Question } from "./explanation.ts";
import { PORT_PROTOCOLS } from "./match.ts";
import { endsOf, type Place, placeAt } from "./place.ts";
import type { Survey } from "./survey.ts";

/** Where kube-proxy may send a packet. */
export interface BackendPlace {
  readonly place: Place;
  readonly address: Address;
  readonly port: number;
  /** For people. */
  readonly service: string;
}

/** What is for a Service: the backends that it may become a packet for, or why it becomes none. */
export type Proxied =
  | { readonly kind: "backends"; readonly backends: readonly BackendPlace[] }
  | { readonly kind: "none" | "unknown"; readonly why: string };

/**
 * What kube-proxy makes of a packet for an address or node port of a Service: Margay translates nothing there, and explain
 * takes for granted that something does, as the Service and its slices say. Undefined: it is for no Service.
 */
export function proxied(survey: Survey, question: Question): Proxied | undefined {
  const { to } = endsOf(question.source, question.destination, question.family);
  const at = serviceAt(survey, to, question);
  if (!at) return undefined;
  const { found, by } = at;
  const { metadata, spec } = found;
  const [service, flow] = [`service ${metadata.namespace}/${metadata.name}`, portText(question)];
  if (!spec.ports)
    return { kind: "unknown", why: `the datastore does not say yet which ports ${service} has` };
  const port = spec.ports.find(
    (one) => one[by] === question.destinationPort && isProtocol(one, question.protocol),
  );
  if (!port) return { kind: "none", why: `${service} has no port ${flow}` };
  const backends = survey.slices
    .filter((slice) => isOf(slice, found))
    .flatMap(({ spec: its }) => backendsOf(its, port))
    .filter(({ address }) => address.family === to.family)
    .map((one) => ({ ...one, place: placeAt(one.address, survey), service }));
  if (backends.length === 0) return { kind: "none", why: `nothing ready stands behind ${service}` };
  return { kind: "backends", backends };
}

type Port = NonNullable<Service["spec"]["ports"]>[number];
type Flow = Pick<Question, "protocol" | "destinationPort">;

interface Found {
  readonly found: Service;
  /** Which of its ports the packet's is: what it has at its own addresses, or at nodes. */
  readonly by: "port" | "nodePort";
}

/** By one of its own addresses, or by the port of a node. */
function serviceAt({ services }: Survey, to: Address, question: Question): Found | undefined {
  const holds = ({ clusterIPs, externalIPs, loadBalancerIPs }: Service["spec"]) =>
    [...clusterIPs, ...externalIPs, ...loadBalancerIPs].some((ip) => sameAddress(parseAddress(ip), to));
  const byAddress = services.find(({ spec }) => holds(spec));
  if (byAddress) return { found: byAddress, by: "port" };
  if (question.destination.kind !== "host") return undefined;
  const byPort = services.find(({ spec }) =>
    spec.ports?.some(
      (port) => port.nodePort === question.destinationPort && isProtocol(port, question.protocol),
    ),
  );
  return byPort && { found: byPort, by: "nodePort" };
}

const isProtocol = ({ protocol }: Pick<Port, "protocol">, number: number): boolean =>
  PORT_PROTOCOLS[number] === protocol.toLowerCase();

const isOf = ({ metadata, spec }: EndpointSlice, service: Service): boolean =>
  metadata.namespace === service.metadata.namespace && spec.service === service.metadata.name;

/** A Service's port goes to the slice's port of its name. */
const backendsOf = ({ endpoints, ports }: EndpointSlice["spec"], { name = "", protocol }: Port) =>
  ports
    .filter((port) => (port.name ?? "") === name && port.protocol === protocol)
    .flatMap(({ port }) =>
      endpoints
        .filter(({ ready }) => ready)
        .flatMap(({ addresses }) => addresses.map((text) => ({ address: parseAddress(text), port }))),
    );

const portText = ({ protocol, destinationPort }: Flow): string =>
  `${PORT_PROTOCOLS[protocol] ?? `protocol ${protocol}`}${destinationPort === undefined ? "" : `:${destinationPort}`}`;

/** `10.0.1.8:8080`, as people write it. */
export const backendText = ({ address, port }: Pick<BackendPlace, "address" | "port">): string =>
  address.family === 6 ? `[${formatAddress(address)}]:${port}` : `${formatAddress(address)}:${port}`;
