import { type ChildProcess, spawn } from "node:child_process";
import { parseArgs } from "node:util";
import type { AnyResource } from "@margay/api";
import { address, asNode, base, endpoint, resource, run } from "../../render/testing/pods.ts";
import { BACKENDS } from "./backends.ts";
import { Keeper, Stream } from "./processes.ts";

/**
 * Run under `unshare -Urnm`: this namespace is the node. A stream of probes runs from pod a to pod b while its policies change
 * all the time (--updates of them or more, for --at-least-ms; with --relabel: and their labels with them; with --foreign: beside another
 * program that inserts its rules), the agent is killed, or moves from one ruleset to the next with each of them (--switches, or more). Every state allows port 80 and the connection to 82,
 * and denies 81: so each probe has one right answer, whatever moment it meets.
 */
type BackendName = keyof typeof BACKENDS;
const NAMES = Object.keys(BACKENDS) as BackendName[];

const config = (backend: BackendName): AnyResource =>
  resource("FelixConfiguration", "default", BACKENDS[backend]);

const { values } = parseArgs({
  options: {
    backend: { type: "string", default: "nftables" },
    updates: { type: "string", default: "0" },
    kills: { type: "string", default: "0" },
    switches: { type: "string", default: "0" },
    "every-ms": { type: "string", default: "10" },
    foreign: { type: "boolean", default: false },
    relabel: { type: "boolean", default: false },
    family: { type: "string", default: "4" },
    "at-least-ms": { type: "string", default: "0" },
  },
});

const allowed = { action: "Allow", protocol: "UDP", destination: { ports: [80] } };
const denied = (n: number) => ({
  action: "Deny",
  protocol: "UDP",
  destination: { ports: [(n % 50) + 1000, 53] },
});
const established = { action: "Allow", protocol: "TCP", destination: { ports: [82] } };

/** The n-th way to say the same: by another selector, network, order or tier, in few rules or in many. */
function policies(n: number): readonly AnyResource[] {
  const sources = [
    { selector: "app == 'a'" },
    { nets: ["10.244.0.0/30"] },
    { selector: `app in { 'a', 'x${n % 7}' }` },
    { nets: ["10.244.0.1/32", `192.0.2.${n % 200}/32`] },
    { notSelector: "app == 'c'" },
  ];
  const source = sources[n % sources.length];
  const filler = Array.from({ length: n % 4 }, (_, i) => denied(n + i));
  const ingress = [...filler, { ...allowed, source }, { ...established, source }, { action: "Deny" }];
  const spec = { order: n % 3, selector: n % 2 === 0 ? "app == 'b'" : "has(app) && app == 'b'", ingress };
  return [resource("NetworkPolicy", n % 3 === 0 ? "p" : "q", { ...spec, types: ["Ingress"] })];
}

const ALL = ["p", "q"].map((name) => resource("NetworkPolicy", name, {}));
/** Of the two policies, the one that this state does not have. */
const without = (now: readonly AnyResource[]) =>
  ALL.filter(({ metadata }) => now.every((one) => one.metadata.name !== metadata.name));
const anyLabels = (n: number) => ({ put: policies(n), remove: without(policies(n)) });

/**
 * A policy allows the wrong port to whoever has a label that nobody has; at once it goes and somebody gets the label, by which
 * another one allows what is allowed. By turns of the receiver's ingress and the sender's egress, in an early tier.
 */
function relabelled(n: number) {
  const isLabelled = n % 2 === 1;
  const [name, direction, peer] =
    n % 4 < 2 ? (["p", "ingress", "a"] as const) : (["q", "egress", "b"] as const);
  const peers = (selector: string) =>
    direction === "ingress" ? { source: { selector } } : { destination: { selector } };
  const to = (protocol: string, port: number, selector: string) => {
    const { source, destination } = { source: {}, destination: {}, ...peers(selector) };
    return { action: "Allow", protocol, source, destination: { ...destination, ports: [port] } };
  };
  const right = (selector: string) => [to("UDP", 80, selector), to("TCP", 82, selector)];
  const rules = isLabelled
    ? right("role == 'x'")
    : [to("UDP", 81, "role == 'x'"), ...right(`app == '${peer}'`)];
  const policy = resource("NetworkPolicy", name, {
    ...{ tier: "early", selector: `app == '${name === "p" ? "b" : "a"}'` },
    ...{ types: [direction === "ingress" ? "Ingress" : "Egress"], [direction]: rules },
  });
  const ends = (["a", "b"] as const).map((pod) =>
    endpoint(pod, isLabelled && pod === peer ? { role: "x" } : {}),
  );
  return { put: [resource("Tier", "early", { order: 1 }), ...ends, policy], remove: without([policy]) };
}

const stateOf = values.relabel ? relabelled : anyLabels;

async function main(): Promise<void> {
  asNode({ routes: false });
  const backend = values.backend as BackendName; // a wrong one has no config, and the keeper says so
  const keeper = new Keeper();
  let now = backend;
  const all = (n: number) => ({ put: [...base(), config(now), ...stateOf(n).put] });
  await keeper.order(all(0));
  const meddler = values.foreign ? meddle(backend) : undefined;
  const stream = await Stream.open("a", "b", {
    address: address("b", values.family === "6" ? 6 : 4),
    everyMs: Number(values["every-ms"]),
  });
  const until = performance.now() + Number(values["at-least-ms"]);
  const isMore = (n: number, wanted: number) => n <= wanted || (wanted > 0 && performance.now() < until);
  for (let n = 1; isMore(n, Number(values.updates)); n++) await keeper.order(stateOf(n));
  for (let n = 1; n <= Number(values.kills); n++) {
    keeper.tell(stateOf(n)); // killed in the middle of it
    await new Promise((resolve) => setTimeout(resolve, (n * 7) % 40));
    await keeper.replace();
    await keeper.order(all(n));
  }
  let moves = 0;
  for (; isMore(moves + 1, Number(values.switches)); moves++) {
    now = NAMES[(NAMES.indexOf(now) + 1) % NAMES.length] ?? now;
    const { put, remove } = stateOf(moves);
    await keeper.order({ put: [config(now), ...put], remove });
  }
  const streamed = await stream.close();
  meddler?.kill();
  await keeper.stop();
  process.stdout.write(
    `${JSON.stringify({ ...streamed, moves, left: left(now), repaired: keeper.repaired })}\n`,
  );
}

/** What kube-proxy and the like do: chains of their own, and rules before ours that match nothing of the stream. */
function meddle(name: BackendName): ChildProcess {
  const tool = name === "nftables" ? "iptables-nft" : name;
  const rule = "FORWARD -s 192.0.2.9 -m comment --comment foreign -j ACCEPT";
  const own = name === "nftables" ? "nft add table ip foreign; nft delete table ip foreign" : "true";
  const script = `PATH=$PATH:/usr/sbin:/sbin; ${tool} -N KUBE-FORWARD; while sleep 0.4; do ${tool} -w -I ${rule}; ${tool} -w -A KUBE-FORWARD -s 192.0.2.9 -j ACCEPT; sleep 0.4; ${tool} -w -D ${rule}; ${own}; done`;
  return spawn("sh", ["-c", script], { stdio: "ignore" });
}

/** The rulesets that hold something of ours. */
function left(now: BackendName): readonly string[] {
  const texts = {
    nftables: run("/usr/sbin/nft list tables").includes("margay") ? "margay" : "",
    "iptables-nft": run("/usr/sbin/iptables-nft-save"),
    "iptables-legacy":
      now === "iptables-legacy" || values.switches !== "0" ? run("/usr/sbin/iptables-legacy-save") : "",
  };
  return NAMES.filter((name) => texts[name].includes("margay"));
}

await main();
