import { type AnyResource, keyOf, parse } from "@margay/api";
import { Calc } from "@margay/calc";
import { reconcile } from "@margay/reconcile";
import { CohortTable } from "../cohorts.ts";
import { IptablesRuleset } from "../rulesets/iptables.ts";
import { NftablesRuleset } from "../rulesets/nftables.ts";

/**
 * Run under `unshare -Urnm`: what the kernel is given when one thing changes among POLICIES policies that select a pod here.
 * Prints the writes by target, as JSON. Argument: the ruleset.
 */
const POLICIES = 1000;

const resource = (
  kind: string,
  name: string,
  { labels = {}, spec }: { labels?: object; spec: object },
): AnyResource => {
  const namespace = ["WorkloadEndpoint", "NetworkPolicy"].includes(kind) ? { namespace: "x" } : {};
  return parse({ apiVersion: "margay.dev/v1", kind, metadata: { name, labels, ...namespace }, spec })
    .resource;
};

const pod = (name: string, node: string, number: number): AnyResource =>
  resource("WorkloadEndpoint", name, {
    labels: { app: node === "n1" ? "web" : "client" },
    spec: {
      ...{
        orchestrator: "k8s",
        node,
        pod: name,
        endpoint: "eth0",
        profiles: ["kns.x"],
        interfaceName: `cali${name}`,
      },
      mac: `02:00:00:00:00:0${number}`,
      ipNetworks: [`10.0.0.${number}/32`, `fd00::${number}/128`],
    },
  });

/** Each with a set of its own, and all of them select every client. */
const policy = (i: number, port = 80): AnyResource =>
  resource("NetworkPolicy", `p${i}`, {
    spec: {
      selector: "app == 'web'",
      ingress: [
        {
          ...{ action: "Allow", protocol: "TCP", destination: { ports: [port] } },
          source: { selector: `app == 'client' && number != '${i}'` },
        },
      ],
    },
  });

const calc = new Calc("n1");
const ruleset =
  process.argv[2] === "nftables"
    ? new NftablesRuleset(() => undefined)
    : new IptablesRuleset("nft", () => undefined);

const table = new CohortTable();
const links = { groupOf: () => undefined, isFresh: () => true };

/** Targets that were given something, with how many objects. */
async function writes(...resources: readonly AnyResource[]) {
  calc.apply(
    resources.map((value) => ({
      key: keyOf(value.kind, value.metadata.name, value.metadata.namespace),
      value,
    })),
  );
  const state = calc.state();
  const cohorts = ruleset.kind === "nftables" ? table.update(state, links, new Set()) : undefined;
  const outcomes = await reconcile(ruleset.works(state, cohorts));
  ruleset.settled();
  const changed = outcomes.filter(({ put, removed }) => put + removed > 0);
  return Object.fromEntries(changed.map(({ target, put, removed }) => [target, [put, removed]]));
}

const open = resource("Profile", "kns.x", {
  spec: { ingress: [{ action: "Allow" }], egress: [{ action: "Allow" }] },
});
await writes(open, pod("web", "n1", 1), ...Array.from({ length: POLICIES }, (_, i) => policy(i)));
const found = {
  "a remote pod that every policy allows": await writes(pod("client", "n2", 2)),
  "a pod here that every policy selects": await writes(pod("web2", "n1", 3)),
  "a rule of one policy": await writes(policy(7, 81)),
  nothing: await writes(policy(7, 81)),
};
await ruleset.close();
process.stdout.write(JSON.stringify(found));
process.exit(0);
