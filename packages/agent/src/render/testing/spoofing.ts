import type { AnyResource, WorkloadEndpoint } from "@margay/api";
import type { Loader } from "./loader.ts";
import { address, endpoint, mac, resource, run, stateWith } from "./pods.ts";
import { sourcesSeen } from "./sources-seen.ts";
import type { startProber } from "./start-prober.ts";

type Prober = ReturnType<typeof startProber>;
type Apply = Loader["apply"];

const PORT = 80;
/** Of c's other sources two are b's, and each prefix that c may be allowed has one in it and one beside it. */
const PREFIXES = ["203.0.113.0/24", "2001:db8::/64"];
const OTHERS = [
  address("b", 4),
  address("b", 6),
  "203.0.113.5",
  "203.0.114.5",
  "2001:db8::5",
  "2001:db8:0:1::5",
];
const SOURCES = [address("c", 4), address("c", 6), ...OTHERS];

let sourcePort = 40_000;

/** c, which may send from the prefixes too, or not. */
function c(allowSpoofedSourcePrefixes?: readonly string[]): AnyResource {
  const { spec } = endpoint("c") as WorkloadEndpoint; // of this kind
  return resource("WorkloadEndpoint", "c", { ...spec, allowSpoofedSourcePrefixes }, { app: "c" });
}

/** A MAC of c's, with the neighbours that a change of it takes away. */
function become(its: string): void {
  run(`ip -n c link set eth0 address ${its}`);
  for (const gateway of ["169.254.1.1", "fe80::ecee:eeff:feee:eeee"])
    run(`ip -n c neigh replace ${gateway} lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent`);
}

/** From which of its sources c reaches a. Reverse path filtering, which would refuse most of them first, is off unless its name says so. */
export async function spoofing(prober: Prober, apply: Apply): Promise<Record<string, string[]>> {
  for (const ip of OTHERS) run(`ip -n c addr add ${ip} dev lo${ip.includes(":") ? " nodad" : ""}`);
  const seen = sourcesSeen("a", PORT);
  const reach = async (resources: readonly AnyResource[], settings: object = {}) => {
    const felix = { workloadSourceSpoofing: "Any", workloadRPF: "Disabled", ...settings };
    await apply(stateWith([...resources, resource("FelixConfiguration", "default", felix)]));
    const ask = (from: string) => {
      const ends = { from, to: address("a", from.includes(":") ? 6 : 4), port: PORT };
      return prober.ask({ id: ++sourcePort, protocol: "udp", sourcePort, ...ends, patienceMs: 300 });
    };
    await Promise.all(SOURCES.map(ask));
    const found = new Set(seen().map((source) => source.address));
    return SOURCES.filter((source) => found.has(source));
  };
  const own = await reach([c()]);
  const prefixes = await reach([c(PREFIXES)]);
  const prefixesStrict = await reach([c(PREFIXES)], { workloadRPF: "Strict" });
  const switchedOff = await reach([c(PREFIXES)], { workloadSourceSpoofing: "Disabled" });
  become("02:00:00:00:00:0c");
  const wrongMac = await reach([c()]);
  const wrongMacPrefixes = await reach([c(PREFIXES)]);
  become(mac("c"));
  return { own, prefixes, prefixesStrict, switchedOff, wrongMac, wrongMacPrefixes };
}

/** What comes of a datagram from c to the node by defaultEndpointToHostAction: by itself, and where the node's own rules drop it. */
export async function toHost(prober: Prober, apply: Apply, to: string): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {};
  for (const defaultEndpointToHostAction of ["Accept", "Return", "Drop"]) {
    await apply(stateWith([resource("FelixConfiguration", "default", { defaultEndpointToHostAction })]));
    const ask = async () => {
      const ends = { from: address("c", 4), to, port: PORT };
      const { verdict } = await prober.ask({
        ...{ id: ++sourcePort, protocol: "udp", sourcePort, ...ends, patienceMs: 800 },
      });
      return verdict;
    };
    const alone = await ask();
    run("/usr/sbin/iptables-nft -A INPUT -i calic -j DROP");
    found[defaultEndpointToHostAction] = [alone, await ask()];
    run("/usr/sbin/iptables-nft -D INPUT -i calic -j DROP");
  }
  return found;
}
