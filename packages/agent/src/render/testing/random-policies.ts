import { type AnyResource, parse } from "@margay/api";
import fc from "fast-check";

/** Random policies over the pods of kernel.ts: `count` sets of up to four, always the same for one seed. */
export const randomPolicies = (seed: number, count: number): readonly AnyResource[][] =>
  fc.sample(policies, { seed, numRuns: count });

const pick = <T>(...values: T[]) => fc.constantFrom(...values);
const selector = pick("app == 'a'", "app == 'b'", "app in {'b','c'}", "app != 'a'", "all()");

const entity = fc.record(
  {
    selector,
    notSelector: selector,
    notNets: pick(["10.244.0.2/32"], ["10.244.0.1/32", "10.244.0.3/32"]),
    ports: pick([80], ["web"], ["80:81", 8080], [81, "web"]),
    notPorts: pick([81], ["web"]),
  },
  { requiredKeys: [], noNullPrototype: true },
);

/** Ports need a protocol that has them, and source ports would match next to nothing. */
const rule = fc
  .record({
    action: pick("Allow", "Allow", "Deny", "Pass", "Log"),
    protocol: pick("TCP", "UDP", undefined),
    ipVersion: pick(undefined, undefined, 4, 6),
    source: entity,
    destination: entity,
    service: pick<"source" | "destination" | "none">("none", "none", "none", "none", "source", "destination"),
  })
  .map(({ action, protocol, ipVersion, source, destination, service }) => {
    const { ports: _ports, notPorts: _notPorts, ...from } = source;
    const { ports, notPorts, ...rest } = destination;
    const named = protocol === undefined ? {} : { protocol };
    // Networks are IPv4: a rule for IPv6 may not name them.
    const family = ipVersion === undefined || from.notNets || rest.notNets ? {} : { ipVersion };
    const to =
      protocol === undefined ? rest : { ...rest, ...(ports && { ports }), ...(notPorts && { notPorts }) };
    const plain = { action, ...named, ...family, source: from, destination: to };
    return service === "none" ? plain : { ...plain, [service]: SERVICE };
  });

/** Egress alone, where some Allow to names that DNS told (`stateWith`). */
const outward = fc
  .tuple(rule, pick(["a.example"], ["*.a.example", "c.example"], ["b.example", "c.example"]), fc.nat(2))
  .map(([one, domains, chance]) => {
    const { ports } = one.destination as { ports?: unknown };
    return one.action === "Allow" && chance === 0
      ? { ...one, destination: { domains, ...(ports !== undefined && { ports }) } }
      : one;
  });

const SERVICE = { services: { name: "s", namespace: "x" } };
/** Behind the service: b at port 80, c at 81, in both families. */
const slices = ["10.244.0", "fd00:"].flatMap((prefix) =>
  [
    { end: 2, port: 80 },
    { end: 3, port: 81 },
  ].map(({ end, port }) => ({
    name: `s-${prefix.includes(".") ? 4 : 6}-${port}`,
    spec: {
      service: "s",
      endpoints: [{ addresses: [`${prefix}${prefix.includes(".") ? "." : ":"}${end}`] }],
      ports: [{ protocol: "TCP", port }],
    },
  })),
);

const rules = (one: fc.Arbitrary<object>) => fc.array(one, { minLength: 1, maxLength: 3 });
const policy = fc.record({
  tier: pick("default", "early", "kube-baseline"),
  order: pick(1, 2),
  selector,
  types: pick(["Ingress"], ["Egress"], ["Ingress", "Egress"]),
  ingress: rules(rule),
  egress: rules(outward),
});

const resource = (kind: string, name: string, spec: object): AnyResource => {
  const namespace = kind === "EndpointSlice" ? { namespace: "x" } : {};
  return parse({ apiVersion: "margay.dev/v1", kind, metadata: { name, ...namespace }, spec }).resource;
};

const policies = fc
  .tuple(fc.array(policy, { minLength: 1, maxLength: 4 }), pick("Deny", "Pass"), policy)
  .map(([specs, defaultAction, staged]) => [
    resource("Tier", "early", { order: 1, defaultAction }),
    resource("StagedGlobalNetworkPolicy", "p0", staged),
    ...slices.map(({ name, spec }) => resource("EndpointSlice", name, spec)),
    ...specs.map((spec, i) => resource("GlobalNetworkPolicy", `p${i}`, spec)),
  ]);
