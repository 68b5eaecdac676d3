import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { AnyResource } from "@margay/api";
import { until } from "@margay/testing";
import { loader } from "./loader.ts";
import { FAR, outside } from "./outside.ts";
import { address, asNode, endpoint, type Pod, resource, run, stateWith } from "./pods.ts";
import { startProber } from "./start-prober.ts";

/**
 * Run under `unshare -Urnm`: a node with three pods, and `far` outside. What limits of connections and code points do to real
 * packets, as JSON. Argument: the backend.
 */
const PORT = 80;
/** The pod with these controls, and others as they are. */
function controlled(pod: Pod, qosControls: object): AnyResource {
  const { spec, metadata } = endpoint(pod);
  return resource(
    "WorkloadEndpoint",
    pod,
    { ...spec, qosControls },
    metadata.labels as Record<string, string>, // pods.ts gives them
  );
}

/** Connects so many times at once, and keeps what it got until told to end; says how many it got. */
const HOLD = `
const { connect } = require("node:net");
const [host, count] = process.argv.slice(1);
const one = () => new Promise((done) => {
  const socket = connect(${PORT}, host, () => done(1)).on("error", () => done(0));
  setTimeout(() => done(0), 3000).unref();
  process.stdin.once("end", () => socket.destroy());
});
Promise.all(Array.from({ length: Number(count) }, one)).then((all) => console.log(all.reduce((a, b) => a + b)));
process.stdin.setMaxListeners(0).resume();
`;

interface Held {
  readonly count: number;
  /** Closes them all. */
  end(): void;
}

async function hold(pod: Pod, to: string, count: number): Promise<Held> {
  const words = [`--net=/run/netns/${pod}`, process.execPath, "-e", HOLD, to, String(count)];
  const child = spawn("nsenter", words, { stdio: ["pipe", "pipe", "inherit"] });
  for await (const line of createInterface({ input: child.stdout }))
    return { count: Number(line), end: () => child.stdin.end() };
  throw new Error(`${pod} told nothing`);
}

/** How many connections between these the kernel knows that not both sides have closed. */
function open(from: Pod, to: Pod): number {
  const state = "(ESTABLISHED|FIN_WAIT|CLOSE_WAIT|LAST_ACK)";
  const line = new RegExp(`${state} src=${address(from, 4)} dst=${address(to, 4)} `, "g");
  return run("conntrack -L -p tcp").match(line)?.length ?? 0;
}

/** Code points on what arrives at `namespace` from a pod, by destination, as hexadecimal bytes above ECN. */
function countCodePoints(namespace: string): () => string[] {
  const nft = (text: string) => run(`ip netns exec ${namespace} nft ${text}`);
  for (const [family, word] of [
    ["ip", "ip"],
    ["ip6", "ip6"],
  ]) {
    nft(`add table ${family} seen`);
    nft(`add chain ${family} seen in { type filter hook prerouting priority -300 ; }`);
    for (const name of ["ef", "cs0"])
      nft(`add rule ${family} seen in meta l4proto udp ${word} dscp ${name} counter`);
  }
  return () =>
    [...nft("list ruleset").matchAll(/(ip6?) dscp (\w+) counter packets (\d+)/g)].flatMap(
      ([, family, name, packets]) => (packets === "0" ? [] : [`${family} ${name}`]),
    );
}

async function main(): Promise<void> {
  asNode({ routes: true });
  outside();
  const { apply } = loader(process.argv[2]);
  const probers = {
    a: startProber("a", [PORT]),
    b: startProber("b", [PORT]),
    far: startProber("far", [PORT]),
  };
  await Promise.all(Object.values(probers).map(({ ready }) => ready));
  const pool = [4, 6].map((family) =>
    resource("IPPool", `p${family}`, { cidr: family === 4 ? "10.244.0.0/16" : "fd00::/64" }),
  );
  const limited = [
    ...pool,
    controlled("a", { ingressMaxConnections: 3, dscp: 46 }),
    controlled("c", { egressMaxConnections: 2 }),
  ];
  await apply(stateWith(limited));
  const found: Record<string, unknown> = {};

  const first = await hold("b", address("a", 4), 5);
  const second = await hold("b", address("a", 4), 2);
  const six = await hold("b", address("a", 6), 5);
  found["to a, 3 at most"] = [first.count, second.count];
  found["to a, by IPv6"] = six.count;
  found["to b, no limit"] = (await hold("a", address("b", 4), 5)).count;
  found["from c, 2 at most"] = (await hold("c", address("b", 4), 5)).count;
  // An endpoint more, and a limit more of another: nobody forgets what it counted (legacy tables are written as a whole).
  await apply(stateWith([...limited, controlled("b", { ingressMaxConnections: 9 })]));
  found["after another change"] = (await hold("b", address("a", 4), 2)).count;
  const left = open("b", "a") - first.count;
  first.end();
  await until(() => open("b", "a") <= left);
  found["when some have ended"] = (await hold("b", address("a", 4), 2)).count;

  const seen = { far: countCodePoints("far"), b: countCodePoints("b") };
  let id = 0;
  const udp = (from: "a" | "b", to: string) => {
    id++;
    const own = address(from, to.includes(":") ? 6 : 4);
    const ends = { from: own, sourcePort: 30_000 + id, to, port: PORT, patienceMs: 2000 };
    return probers[from].ask({ id, protocol: "udp", ...ends });
  };
  const answers = [
    ...[await udp("a", FAR[4]), await udp("a", FAR[6])],
    ...[await udp("a", address("b", 4)), await udp("a", address("b", 6))],
  ];
  found["marked and still whole"] = answers.map(({ verdict }) => verdict);
  found["code points outside"] = seen.far();
  found["code points in the cluster"] = seen.b();
  process.stdout.write(JSON.stringify(found));
}

await main();
process.exit(0);
