import { expect, test } from "@jest/globals";
import { parse } from "@margay/api";
import { parseAddress } from "@margay/net";
import { Calc, type Update } from "./calc.ts";
import { hostVerdict } from "./host-verdict.ts";
import { gnp, gone, hep, namespace, np, pod, put, staged, tier } from "./testing/resources.ts";
import { verdict } from "./verdict.ts";

/** a/web is asked about packets from 10.0.0.2. */
const base = [namespace("a"), pod("a/web", ["10.0.0.1"], { labels: { app: "web" } })];
const web = { selector: "app == 'web'" };
const packet = { source: parseAddress("10.0.0.2"), destination: parseAddress("10.0.0.1"), protocol: 6 };

function ask(...updates: Update[]) {
  const calc = new Calc("n1");
  calc.apply([...base, ...updates]);
  const decided = (isStaged: boolean) => {
    const at = { endpoint: "a/web", direction: "ingress", staged: isStaged } as const;
    return verdict(calc.state(), packet, at).steps.at(-1)?.rule;
  };
  return { enforced: decided(false), staged: decided(true) };
}

const deny = { ...web, ingress: [{ action: "Deny" }] };
const allow = { ...web, ingress: [{ action: "Allow" }] };
const profile = "profile/kns.a/in/0";
const knp = put(
  parse({
    ...{ apiVersion: "projectcalico.org/v3", kind: "StagedKubernetesNetworkPolicy" },
    metadata: { name: "k", namespace: "a" },
    spec: { podSelector: {}, policyTypes: ["Ingress"] },
  }).resource,
);

test.each<[why: string, updates: readonly Update[], enforced: string, staged: string]>([
  ["a staged policy decides nothing", [staged(np("a/p", deny))], profile, "staged/np/a/p/in/0"],
  ["not even by its tier", [staged(np("a/p", web))], profile, "tier/default/in/default"],
  [
    "it stands where its tier and order say",
    [np("a/p", { ...allow, order: 1 }), staged(gnp("g", { ...deny, order: 2 }))],
    "np/a/p/in/0",
    "np/a/p/in/0",
  ],
  [
    "... also before enforced ones",
    [np("a/p", { ...allow, order: 2 }), staged(gnp("g", { ...deny, order: 1 }))],
    "np/a/p/in/0",
    "staged/gnp/g/in/0",
  ],
  [
    "... and in a tier of its own, which its default action then ends",
    [tier("t", { order: 1 }), np("a/p", allow), staged(gnp("g", { ...web, tier: "t" }))],
    "np/a/p/in/0",
    "tier/t/in/default",
  ],
  [
    "Set is in the place of the enforced policy of its name",
    [np("a/p", deny), staged(np("a/p", allow))],
    "np/a/p/in/0",
    "staged/np/a/p/in/0",
  ],
  [
    "... even where it selects others",
    [np("a/p", deny), staged(np("a/p", { ...deny, selector: "app == 'db'" }))],
    "np/a/p/in/0",
    profile,
  ],
  [
    "Delete is as if that one were gone",
    [np("a/p", deny), staged(np("a/p", web), "Delete")],
    "np/a/p/in/0",
    profile,
  ],
  [
    "Ignore stages nothing",
    [np("a/p", deny), staged(np("a/p", allow), "Ignore")],
    "np/a/p/in/0",
    "np/a/p/in/0",
  ],
  ["nor does Learn", [staged(np("a/p", deny), "Learn")], profile, profile],
  ["one of Kubernetes selects pods as enforced it would", [knp], profile, "tier/default/in/default"],
  ["one that cannot be read stages nothing", [{ key: knp.key, corrupt: "not JSON" }], profile, profile],
])("%s", (_why, updates, enforced, stagedRule) => {
  expect(ask(...updates)).toEqual({ enforced, staged: stagedRule });
  expect(ask(...updates.toReversed())).toEqual({ enforced, staged: stagedRule });
  expect(
    ask(...updates, ...updates.filter(({ value }) => value?.kind.startsWith("Staged")).map(gone)).staged,
  ).toBe(enforced);
});

test("one of Kubernetes that is too large for a policy stages nothing, and stops nobody", () => {
  const peers = Array.from({ length: 8193 }, (_, i) => ({ podSelector: { matchLabels: { app: `a${i}` } } }));
  const { value } = knp as { value: object };
  const large = put(
    parse({ ...value, spec: { podSelector: {}, policyTypes: ["Ingress"], ingress: [{ from: peers }] } })
      .resource,
  );
  expect(ask(large)).toEqual({ enforced: profile, staged: profile });
});

test("for a host endpoint, too: beside what is enforced, in what the node receives and in what it forwards", () => {
  const node = { selector: "role == 'node'", types: ["Ingress"] };
  const host = { ...node, ingress: [{ action: "Deny" }], applyOnForward: true };
  const calc = new Calc("n1");
  const enforced = gnp("e", { ...node, ingress: [{ action: "Allow" }] });
  calc.apply([hep("h", {}, { role: "node" }), enforced, staged(gnp("g", { ...host, order: 1 }))]);
  const [endpoint] = calc.state().hostEndpoints;
  expect(calc.state().policies.has("staged/gnp/g")).toBe(true);
  expect(endpoint?.normal.ingress).toMatchObject([{ policies: ["gnp/e"] }]);
  expect(endpoint?.staged?.normal.ingress).toMatchObject([{ policies: ["staged/gnp/g", "gnp/e"] }]);
  expect(endpoint?.staged?.forward.ingress).toMatchObject([{ policies: ["staged/gnp/g"] }]);
  const at = { interfaceName: "eth0", direction: "ingress", local: true } as const;
  expect(hostVerdict(calc.state(), packet, at).verdict).toBe("allow");
  expect(hostVerdict(calc.state(), packet, { ...at, staged: true }).verdict).toBe("deny");
});

test("staged policies are compiled, and marked, so that a backend counts and does not decide", () => {
  const calc = new Calc("n1");
  calc.apply([...base, staged(np("a/p", deny))]);
  const { policies, endpoints } = calc.state();
  expect(policies.get("staged/np/a/p")).toMatchObject({ id: "staged/np/a/p", isStaged: true });
  expect(endpoints[0]).toMatchObject({ ingress: [], staged: { ingress: [{ policies: ["staged/np/a/p"] }] } });
});
