import { execFileSync, spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { AnyResource } from "@margay/api";
import { Calc } from "@margay/calc";
import { reconcile } from "@margay/reconcile";
import { address, asNode, base, resource, updateOf } from "../../render/testing/pods.ts";
import { rulesetOf } from "../choose.ts";
import type { RulesetKind } from "../ruleset.ts";
import type { Connected } from "./connector.ts";
import { PORTS } from "./ports.ts";
import { answering } from "./processes.ts";

/**
 * Run in a network namespace of its own, which is the node: what a new connection between two of its hundred pods costs with so
 * many policies in force, of 1,000 selectors at most. Ten of them are the receiver's; the rest are for the other pods (or, with
 * `--own`, all are the receiver's). Prints JSON.
 */
export interface Scaled extends Connected {
  /** What one TCP connection carried for two seconds, by iperf3. */
  readonly mbits: number;
  /** ms until all rules were in the kernel, from nothing, in one pass. */
  readonly loadMs: number;
  /** CPU ms of our own, without tools, and ms by the clock, for one more policy of another pod. */
  readonly changeCpuMs: number;
  readonly changeMs: number;
}

const { values } = parseArgs({
  options: {
    backend: { type: "string", default: "nftables" },
    policies: { type: "string", default: "10" },
    connections: { type: "string", default: "1000" },
    own: { type: "boolean", default: false },
  },
});
const OTHERS = 98;
const OF_RECEIVER = 10;
const SELECTORS = 1000;
const CHANGES = 20;
const IPERF_SECONDS = 2;

const other = (n: number): AnyResource =>
  resource(
    "WorkloadEndpoint",
    `other${n}`,
    {
      ...{ orchestrator: "k8s", node: "n1", pod: `other${n}`, endpoint: "eth0", profiles: ["kns.x"] },
      ...{ interfaceName: `cali0${n}`, ipNetworks: [`10.244.1.${n}/32`] },
    },
    { app: `other${n}` },
  );

function policy(n: number): AnyResource {
  const whose = values.own || n < OF_RECEIVER ? "b" : `other${n % OTHERS}`;
  const isLast = n === 0; // by its order: all others are asked before it allows
  return resource("GlobalNetworkPolicy", `p${n}`, {
    ...{ order: isLast ? 1e6 : n, selector: `app == '${whose}'`, types: ["Ingress"] },
    ingress: isLast
      ? [{ action: "Allow" }]
      : [
          {
            ...{ action: "Allow", protocol: "TCP" },
            ...{
              source: { selector: `role == 'r${n % SELECTORS}'` },
              destination: { ports: [8000 + (n % 100), 443] },
            },
          },
        ],
  });
}

async function main(): Promise<void> {
  asNode({ routes: true });
  const calc = new Calc("n1");
  const others = Array.from({ length: OTHERS }, (_, n) => other(n));
  const count = Number(values.policies);
  calc.apply([...base(), ...others].map(updateOf));
  const ruleset = rulesetOf(values.backend as RulesetKind, () => undefined); // a wrong one has no tool
  const apply = async () => {
    await reconcile(ruleset.works(calc.state()));
    ruleset.settled();
  };
  const startedAt = performance.now();
  calc.apply(Array.from({ length: count }, (_, n) => updateOf(policy(n))));
  await apply();
  const loadMs = performance.now() - startedAt;
  const answerer = await answering("b");
  const out = execFileSync(
    "nsenter",
    [
      "--net=/run/netns/a",
      process.execPath,
      "--conditions=margay-source",
      "--no-warnings",
      fileURLToPath(new URL("connector.ts", import.meta.url)),
      ...[address("b", 4), String(PORTS.established), values.connections],
    ],
    { encoding: "utf8" },
  );
  answerer.stdin?.end();
  const mbits = await throughput();
  const changes = await change(async (n) => {
    calc.apply([updateOf(policy(count + OF_RECEIVER + n))]);
    await apply();
  });
  await ruleset.close();
  process.stdout.write(
    `${JSON.stringify({ ...(JSON.parse(out) as Connected), mbits, loadMs, ...changes } satisfies Scaled)}\n`,
  );
}

/** From pod a to pod b. */
async function throughput(): Promise<number> {
  const server = spawn("nsenter", ["--net=/run/netns/b", "iperf3", "-s", "-1"], { stdio: "ignore" });
  await sleep(300);
  const words = ["--net=/run/netns/a", "iperf3", "-J", "-c", address("b", 4), "-t", `${IPERF_SECONDS}`];
  const out = execFileSync("nsenter", words, { encoding: "utf8", maxBuffer: 1 << 24 });
  server.kill();
  const { end } = JSON.parse(out) as { end: { sum_received: { bits_per_second: number } } };
  return end.sum_received.bits_per_second / 1e6;
}

async function change(one: (n: number) => Promise<void>) {
  await one(0); // warm
  const before = process.cpuUsage();
  const startedAt = performance.now();
  for (let n = 1; n <= CHANGES; n++) await one(n);
  const { user, system } = process.cpuUsage(before);
  return {
    changeCpuMs: (user + system) / 1000 / CHANGES,
    changeMs: (performance.now() - startedAt) / CHANGES,
  };
}

await main();
