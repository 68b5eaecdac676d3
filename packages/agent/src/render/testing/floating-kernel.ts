import type { AnyResource } from "@margay/api";
import { Calc, type NodeState } from "@margay/calc";
import { loader } from "./loader.ts";
import { FAR, outside } from "./outside.ts";
import { address, asNode, base, endpoint, type Pod, resource, run, updateOf } from "./pods.ts";
import { sourcesSeen } from "./sources-seen.ts";
import { startProber } from "./start-prober.ts";

/**
 * Run under `unshare -Urnm`: a node with three pods, and `far` outside. Who reaches whom by floating addresses, and as whom, as JSON.
 * Argument: the backend.
 */
const PORT = 80;
const EXTERNAL = { 4: "198.51.100.7", 6: "fd00:51::7" } as const;

const floating = (pod: Pod): AnyResource => {
  const { spec, metadata } = endpoint(pod);
  const ipNATs = ([4, 6] as const).map((family) => ({
    internalIP: address(pod, family),
    externalIP: EXTERNAL[family],
  }));
  return resource("WorkloadEndpoint", pod, { ...spec, ipNATs }, metadata.labels as Record<string, string>); // pods.ts gives them
};

const common: readonly AnyResource[] = [
  resource("IPPool", "p4", { cidr: "10.244.0.0/16", natOutgoing: true }),
  resource("IPPool", "p6", { cidr: "fd00::/64", natOutgoing: true }),
  resource("FelixConfiguration", "default", { floatingIPs: "Enabled" }),
];

/** The state of the node; `instead` stand for what has their names. */
function state(...instead: readonly AnyResource[]): NodeState {
  const calc = new Calc("n1");
  const all = new Map([...base(), ...common, ...instead].map((one) => [updateOf(one).key, one]));
  calc.apply([...all.values()].map(updateOf));
  return calc.state();
}

const deny = resource("NetworkPolicy", "deny", { selector: "app == 'a'", types: ["Ingress"], ingress: [] });

const SCENARIOS: Readonly<Record<string, NodeState>> = {
  "nobody has it": state(),
  "a has it": state(floating("a")),
  "a has it, and lets nobody in": state(floating("a"), deny),
  "a has it, but they are switched off": state(floating("a"), resource("FelixConfiguration", "default", {})),
};

async function main(): Promise<void> {
  asNode({ routes: true });
  outside();
  const start = (name: string | undefined) => startProber(name, [PORT]);
  const probers = { a: start("a"), b: start("b"), far: start("far"), node: start(undefined) };
  await Promise.all(Object.values(probers).map(({ ready }) => ready));
  const { apply } = loader(process.argv[2]);
  const sources = sourcesSeen("far", PORT);
  const seen = () => sources().map(({ address }) => address);
  run("ip -n far route add 198.51.100.0/24 via 192.0.2.1");
  run("ip route add default via 192.0.2.2"); // as any node has one
  run("ip -6 route add default via fd00:2::2");
  const own = (from: keyof typeof probers, family: 4 | 6): string => {
    if (from === "far") return FAR[family];
    return from === "node" ? { 4: "192.0.2.1", 6: "fd00:2::1" }[family] : address(from, family);
  };
  let id = 0;
  const ask = async (from: keyof typeof probers, to: string, protocol: "tcp" | "udp" = "udp") => {
    id++;
    const ends = { from: own(from, to.includes(":") ? 6 : 4), sourcePort: 30_000 + id, to, port: PORT };
    const { verdict } = await probers[from].ask({ id, protocol, ...ends, patienceMs: 500 });
    return verdict;
  };
  const found: Record<string, object> = {};
  for (const [scenario, wanted] of Object.entries(SCENARIOS)) {
    await apply(wanted);
    const tries = (["far", "b", "node", "a"] as const).flatMap((from) =>
      ([4, 6] as const).map(async (family) =>
        (await ask(from, EXTERNAL[family], "tcp")) === "allow" ? [`${from}${family}`] : [],
      ),
    );
    const reached = (await Promise.all(tries)).flat();
    await Promise.all([ask("a", FAR[4]), ask("a", FAR[6])]);
    const sourcesOfA = seen();
    await Promise.all([ask("b", FAR[4]), ask("b", FAR[6])]);
    found[scenario] = { reached, sourcesOfA, sourcesOfB: seen() };
  }
  process.stdout.write(JSON.stringify(found));
}

await main();
process.exit(0);
