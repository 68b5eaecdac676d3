import { parse } from "@margay/api";
import { etcdStore, resources } from "@margay/datastore";
import { inForce, useBackend } from "./cluster.ts";
import type { Inside } from "./inside.ts";
import { address4, call, end, margay, podNamespace } from "./plugin.ts";
import { Probe } from "./probe.ts";
import { type Result, summary } from "./result.ts";

const DENY = parse({
  apiVersion: "margay.dev/v1",
  kind: "GlobalNetworkPolicy",
  metadata: { name: "bench-deny" },
  spec: {
    selector: "projectcalico.org/namespace == 'bench'",
    types: ["Ingress"],
    ingress: [{ action: "Deny" }],
  },
}).resource;

/**
 * From before the write to the datastore until the first packet that the remote node refuses. Every packet is the first
 * of its flow (a socket of its own), since a policy change leaves established flows alone.
 */
export async function policyToEnforced({ relay, quick, say, etcd }: Inside): Promise<Result[]> {
  const [from, to] = [podNamespace("policy-from"), podNamespace("policy-to")];
  await call(margay(relay, "n1"), from, "ADD");
  const target = address4((await call(margay(relay, "n2"), to, "ADD")).result);
  const store = etcdStore({ endpoints: [etcd] });
  const policies = resources(store, "GlobalNetworkPolicy");
  const probe = await Probe.open({ from: from.namespacePath, to: to.namespacePath, target });
  const n = quick ? 10 : 100;
  const results: Result[] = [];
  try {
    for (const backend of ["iptables-nft", "nftables"] as const) {
      await useBackend(store, backend);
      await inForce(backend);
      const times: number[] = [];
      for (let i = 0; i < n; i++) {
        await probe.untilAnswered();
        times.push(await probe.refusedAfter(() => policies.apply(DENY as never))); // parsed as this kind above
        await policies.delete("bench-deny");
        if (i % 10 === 0) say(`${backend}: ${i} of ${n} writes`);
      }
      results.push({
        ...{ benchmark: "policy-to-enforced", subject: `margay, ${backend}`, unit: "ms", ...summary(times) },
        target: { of: "p99", atMost: 50 },
      });
    }
    return results;
  } finally {
    probe.close();
    await store.close();
    await end(margay(relay, "n1"), from);
    await end(margay(relay, "n2"), to);
  }
}
