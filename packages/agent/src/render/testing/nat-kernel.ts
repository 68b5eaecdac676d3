import { Calc } from "@margay/calc";
import { loader } from "./loader.ts";
import { FAR, outside } from "./outside.ts";
import { address, asNode, base, resource, run, updateOf } from "./pods.ts";
import { sourcesSeen } from "./sources-seen.ts";
import { startProber } from "./start-prober.ts";

/**
 * Run under `unshare -Urnm`: a node with three pods, and `far` outside. As whom, and from which ports, `far` sees what pods send it, as
 * JSON. Argument: the backend.
 */
const PORT = 80;
const FLOWS = 6; // of each family, so that all ports are in the range by no chance
const RANGE = { first: 50_000, last: 50_015 };
/** A second address of the node, which the fixed source is to be. */
const FIXED = "192.0.2.77";

const POOLS = [
  resource("IPPool", "p4", { cidr: "10.244.0.0/16", natOutgoing: true }),
  resource("IPPool", "p6", { cidr: "fd00::/64", natOutgoing: true }),
];
const farPools = [
  resource("IPPool", "f4", { cidr: "192.0.2.0/24" }),
  resource("IPPool", "f6", { cidr: "fd00:2::/64" }),
];
const farNode = resource("Node", "n2", { bgp: { ipv4Address: `${FAR[4]}/24`, ipv6Address: `${FAR[6]}/64` } });
const felix = (settings: object) => resource("FelixConfiguration", "default", settings);
const natPortRange = `${RANGE.first}:${RANGE.last}`;

const SCENARIOS = {
  "to outside": [],
  "to a pool": farPools,
  "to a node": [farNode],
  "to a node, where nodes are excluded": [farNode, felix({ natOutgoingExclusions: "IPPoolsAndHostIPs" })],
  "out of another interface": [felix({ natOutgoingInterfaceFilter: "eth7" })],
  "from a range of ports": [felix({ natPortRange })],
  "from a fixed address": [felix({ natOutgoingAddress: FIXED })],
  "from a fixed address and a range": [felix({ natOutgoingAddress: FIXED, natPortRange })],
};

async function main(): Promise<void> {
  asNode({ routes: true });
  outside();
  run(`ip addr add ${FIXED}/32 dev lo`);
  const prober = startProber("a", []);
  await prober.ready;
  const { apply } = loader(process.argv[2]);
  const seen = sourcesSeen("far", PORT);
  let sourcePort = 20_000;
  const ask = (family: 4 | 6) => {
    const ends = { from: address("a", family), to: FAR[family], port: PORT };
    return prober.ask({ id: ++sourcePort, protocol: "udp", sourcePort, ...ends, patienceMs: 200 });
  };
  const found: Record<string, object> = {};
  for (const [scenario, resources] of Object.entries(SCENARIOS)) {
    const calc = new Calc("n1");
    calc.apply([...base(), ...POOLS, ...resources].map(updateOf));
    await apply(calc.state());
    await Promise.all(Array.from({ length: FLOWS }, () => [ask(4), ask(6)]).flat());
    const flows = seen();
    found[scenario] = {
      flows: flows.length,
      sources: [...new Set(flows.map((flow) => flow.address))].sort(),
      isInRange: flows.every(({ port }) => port >= RANGE.first && port <= RANGE.last),
    };
  }
  prober.stop();
  process.stdout.write(JSON.stringify(found));
}

await main();
process.exit(0);
