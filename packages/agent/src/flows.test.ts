import { expect, test } from "@jest/globals";
import { type AnyResource, keyOf, parse } from "@margay/api";
import { Calc } from "@margay/calc";
import { parseAddress } from "@margay/net";
import type { Connection, Tuple } from "@margay/netlink";
import { judge } from "./flows.ts";

const CUT = 0x40000;
const resource = (kind: string, metadata: object, spec: object): AnyResource =>
  parse({ apiVersion: "margay.dev/v1", kind, metadata, spec }).resource;
const allow = [{ action: "Allow" }];
const pod = (name: string, ip: string) =>
  resource(
    "WorkloadEndpoint",
    { name, namespace: "a", labels: { app: name } },
    {
      ...{ orchestrator: "k8s", node: "n1", pod: name, endpoint: "eth0", interfaceName: `cali${name}` },
      ...{ ipNetworks: [`${ip}/32`], profiles: ["kns.a"] },
    },
  );
const calc = new Calc("n1");
calc.apply(
  [
    resource("Profile", { name: "kns.a" }, { ingress: allow, egress: allow }),
    ...[pod("web", "10.0.0.1"), pod("db", "10.0.0.2")],
    resource(
      "NetworkPolicy",
      { name: "db", namespace: "a" },
      {
        selector: "app == 'db'",
        ingress: [{ action: "Allow", protocol: "TCP", destination: { ports: [80] } }],
      },
    ),
  ].map((value) => ({ key: keyOf(value.kind, value.metadata.name, value.metadata.namespace), value })),
);
const state = calc.state();

/** "10.0.0.1 > 10.0.0.2:80"; with "as" another destination after translation. */
function flow(text: string, more: Partial<Connection> = {}): Connection {
  const [, from = "", to = "", port = "", real = to] =
    /^(\S+) > ([\d.]+):(\d+)(?: as ([\d.]+))?$/.exec(text) ?? [];
  const [source, destination] = [parseAddress(from), parseAddress(to)];
  const original: Tuple = {
    source,
    destination,
    protocol: 6,
    sourcePort: 999,
    destinationPort: Number(port),
  };
  const reply: Tuple = {
    ...{ source: parseAddress(real), destination: source, protocol: 6 },
    ...{ sourcePort: Number(port), destinationPort: 999 },
  };
  return { original, reply, mark: 0, isRelated: false, name: [], ...more };
}

test.each<[why: string, connection: Connection, endpoints: readonly string[], judged: "cut" | "free" | ""]>([
  ["allowed: left alone", flow("10.0.0.1 > 10.0.0.2:80"), ["web", "db"], ""],
  ["denied by the receiver", flow("10.0.0.1 > 10.0.0.2:81"), ["web", "db"], "cut"],
  ["what the receiver itself opened is not its ingress", flow("10.0.0.2 > 10.0.0.1:81"), ["web", "db"], ""],
  ["an endpoint that did not change is not asked", flow("10.0.0.1 > 10.0.0.2:81"), ["web"], ""],
  ["from the node itself: always allowed", flow("172.20.0.11 > 10.0.0.2:81"), ["db"], ""],
  ["from elsewhere: not", flow("192.0.2.1 > 10.0.0.2:81"), ["db"], "cut"],
  ["judged by where it really goes", flow("192.0.2.1 > 10.96.0.1:81 as 10.0.0.2"), ["db"], "cut"],
  ["to itself by a Service", flow("10.0.0.2 > 10.96.0.1:81 as 10.0.0.2"), ["db"], ""],
  ["cut already", flow("192.0.2.1 > 10.0.0.2:81", { mark: CUT | 1 }), ["db"], ""],
  ["cut before and allowed again", flow("192.0.2.1 > 10.0.0.2:80", { mark: CUT }), ["db"], "free"],
  [
    "cut before, allowed by the one that changed, and still denied by the other",
    flow("10.0.0.1 > 10.0.0.2:81", { mark: CUT }),
    ["web"],
    "",
  ],
  ["part of another connection", flow("192.0.2.1 > 10.0.0.2:81", { isRelated: true }), ["db"], ""],
])("%s", (_why, connection, names, judged) => {
  const endpoints = state.endpoints.filter(({ id }) => names.includes(id.slice("a/".length)));
  const own = [parseAddress("172.20.0.11")];
  const { cut, free } = judge(state, {
    ...{ connections: [connection], endpoints, byHosts: false, own, wayTo: () => undefined, cutBit: CUT },
  });
  expect({ cut, free }).toEqual({
    cut: judged === "cut" ? [connection] : [],
    free: judged === "free" ? [connection] : [],
  });
});
