import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "@jest/globals";
import { memoryStore } from "@margay/datastore";
import { apply } from "./apply.ts";
import { readResources } from "./documents.ts";
import { explainPacket } from "./explain.ts";
import { flowText, parseFlow } from "./flow.ts";
import { inDirectory, located, recorder } from "./testing/harness.ts";

const node = (name: string, ipv4Address: string) => ({
  kind: "Node",
  metadata: { name },
  spec: { bgp: { ipv4Address } },
});
const pod = (name: string, node: string, ip: string) => ({
  kind: "WorkloadEndpoint",
  metadata: { name, namespace: "shop", labels: { app: name } },
  spec: {
    ...{ orchestrator: "k8s", node, pod: name, endpoint: "eth0", interfaceName: `cali${name}` },
    ...{ ipNetworks: [`${ip}/32`], profiles: ["kns.shop"] },
  },
});
const allow = [{ action: "Allow" }];
const documents = [
  ...[node("n1", "172.20.0.11/24"), node("n2", "172.20.0.12/24")],
  { kind: "IPPool", metadata: { name: "p" }, spec: { cidr: "10.0.0.0/16" } },
  {
    kind: "BlockAffinity",
    metadata: { name: "n2-10.0.2.0-26" },
    spec: { node: "n2", cidr: "10.0.2.0/26", state: "confirmed" },
  },
  { kind: "Profile", metadata: { name: "kns.shop" }, spec: { ingress: allow, egress: allow } },
  ...[pod("web", "n1", "10.0.1.2"), pod("db", "n2", "10.0.2.3")],
  {
    kind: "NetworkPolicy",
    metadata: { name: "db", namespace: "shop" },
    spec: {
      selector: "app == 'db'",
      ingress: [{ action: "Deny", protocol: "TCP", destination: { ports: [22] } }, ...allow],
    },
  },
];

const POLICY_FILE = `# who may ask the database
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: db, namespace: shop }
spec:
  podSelector: { matchLabels: { app: db } }
  ingress:
    - from: [{ podSelector: { matchLabels: { app: web } } }, { ipBlock: { cidr: 192.0.2.0/24 } }]
      ports: [{ port: 53, protocol: UDP }]
    - ports: [{ port: 80 }]
`;

test.each<[packet: string, location: string, why: string]>([
  ["tcp:80", "db.yaml:10", "allow by np/shop/knp.default.db (db.yaml:10, revision 9), ingress rule 2"],
  ["udp:53", "db.yaml:8", "allow by np/shop/knp.default.db (db.yaml:8, revision 9), ingress rule 0"],
  ["icmp", "", "deny by default of tier default: no rule of np/shop/knp.default.db matched"],
])("of a policy applied from a file, %s is decided at %s", (packet, location, why) =>
  inDirectory(async (directory) => {
    const here = process.cwd();
    const store = memoryStore();
    await apply(store, located(...documents.slice(0, -1)), { output: "table" }, recorder());
    writeFileSync(join(directory, "db.yaml"), POLICY_FILE);
    process.chdir(directory); // files are called what whoever applies them calls them
    try {
      const terminal = recorder();
      for (const _ of ["first", "again"])
        await apply(store, readResources(["db.yaml"], terminal), { output: "table" }, terminal);
      expect(terminal.printed.at(-1)).toMatch(/unchanged$/);
    } finally {
      process.chdir(here);
    }
    const ask = async (output: "table" | "json") => {
      const terminal = recorder();
      const ends = { source: "shop/web", destination: "shop/db", sourcePort: 50000 };
      await explainPacket(store, { ...ends, packet, output }, terminal);
      return terminal.printed.join("\n");
    };
    expect(await ask("table")).toContain(why);
    expect(JSON.parse(await ask("json")).decidedBy.location ?? "").toBe(location);
  }),
);

async function explained(words: string, output: "table" | "json" = "table", more: readonly object[] = []) {
  const store = memoryStore();
  await apply(store, located(...documents, ...more), { output: "table" }, recorder());
  const terminal = recorder();
  const [source = "", destination = "", packet = "tcp:80"] = words.split(" ");
  const verdict = await explainPacket(
    store,
    { source, destination, packet, sourcePort: 50000, output },
    terminal,
  );
  return { verdict, text: terminal.printed.join("\n").replaceAll(/ {2,}/g, "  "), warned: terminal.warned };
}

test("every step in a line, the verdict and what decided last", async () => {
  const { verdict, text } = await explained("shop/web shop/db tcp:22");
  expect(verdict).toBe("denied");
  expect(text.split("\n")).toEqual([
    "shop/web (10.0.1.2 on n1) -> shop/db (10.0.2.3 on n2), tcp:22",
    "NODE  STEP  WHAT HAPPENS  RULE ID",
    "n1  egress  allow by profile/kns.shop (revision 6), egress rule 0  profile/kns.shop/out/0",
    "n1  route  10.0.2.0/26 of n2, by bgp (bgpd writes the route)",
    "n2  route  a pod of this node: its own route",
    "n1  nat  none: pool p has no natOutgoing",
    "n2  ingress  deny by np/shop/db (revision 9), ingress rule 0 (tier default)  np/shop/db/in/0",
    "DENIED: ingress of shop/db on n2: deny by np/shop/db (revision 9), ingress rule 0 (tier default)",
  ]);
});

test("JSON names the deciding rule for programs", async () => {
  const { verdict, text } = await explained("shop/web shop/db tcp:80", "json");
  expect(verdict).toBe("allowed");
  expect(JSON.parse(text)).toMatchObject({
    ...{ verdict: "allowed", protocol: 6, destinationPort: 80, sourcePort: 50000 },
    source: { kind: "pod", name: "shop/web", node: "n1", address: "10.0.1.2" },
    decidedBy: { policy: "np/shop/db", rule: "np/shop/db/in/1", index: 1, revision: "9", tier: "default" },
  });
});

test("of a Service, each backend in a line", async () => {
  const extra = [
    { kind: "Service", metadata: { name: "svc", namespace: "shop" } },
    { kind: "EndpointSlice", metadata: { name: "svc-1", namespace: "shop" } },
  ].map((document, i) => ({
    ...document,
    spec: i
      ? {
          service: "svc",
          ports: [{ port: 22 }],
          endpoints: [{ addresses: ["10.0.2.3"] }, { addresses: ["10.0.1.2"] }],
        }
      : { clusterIPs: ["10.96.0.5"], ports: [{ port: 80 }] },
  }));
  const { verdict, text } = await explained("10.0.9.9 shop/svc", "table", extra);
  expect(verdict).toBe("unknown");
  expect(text.split("\n").slice(-4)).toEqual([
    "BACKEND  POD  VERDICT  BECAUSE",
    "10.0.2.3:22  shop/db  denied  ingress of shop/db on n2: deny by np/shop/db (revision 9), ingress rule 0 (tier default)",
    "10.0.1.2:22  shop/web  allowed  ingress: allow by profile/kns.shop (revision 6), ingress rule 0",
    "UNKNOWN: it differs by backend: 10.0.2.3:22 (shop/db) denied, 10.0.1.2:22 (shop/web) allowed",
  ]);
});

test.each<[words: string, code: string, message: RegExp]>([
  ["shop/none shop/db", "not-found", /shop\/none is no pod \(namespace\/name\), node or address/],
  ["shop/web shop/db tcp", "usage", /"tcp" is no packet: say tcp:PORT/],
  ["shop/web shop/db icmpv6", "usage", /no common IPv6 address/],
])("explain %s is refused", async (words, code, message) => {
  await expect(explained(words)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
});

test.each<[text: string, flow: object, shown: string]>([
  ["tcp:80", { protocol: 6, destinationPort: 80 }, "tcp:80"],
  ["UDP:53", { protocol: 17, destinationPort: 53 }, "udp:53"],
  ["icmp", { protocol: 1, family: 4, icmp: { type: 8, code: 0 } }, "icmp:8/0"],
  ["icmpv6:1/4", { protocol: 58, family: 6, icmp: { type: 1, code: 4 } }, "icmpv6:1/4"],
  ["47", { protocol: 47 }, "protocol 47"],
])("packet %s", (text, flow, shown) => {
  expect(parseFlow(text)).toEqual(flow);
  expect(flowText(parseFlow(text))).toBe(shown);
});

test.each(["tcp:", "tcp:70000", "tcp:80:1", "gre", "icmp:256", "256", ""])("%s is no packet", (text) => {
  expect(() => parseFlow(text)).toThrow(expect.objectContaining({ code: "usage" }));
});
