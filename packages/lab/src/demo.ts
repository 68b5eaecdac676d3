import { parseFile } from "@margay/api";
import { until } from "./exec.ts";
import type { Lab } from "./lab.ts";
import type { Step, Timing } from "./progress.ts";
import { report } from "./report.ts";
import { missingRoutes } from "./routes.ts";
import { after, before, NAMESPACE_LABELS, POLICY, pods } from "./scenario.ts";

export interface DemoOptions {
  /** End after the report. */
  readonly once: boolean;
  readonly pods: number;
}

const QUESTION = { protocol: "tcp", port: 80, families: [4, 6] } as const;
const CONVERGE_MS = 30_000;

/**
 * The guided tour: pods, routes, a policy, all of it probed. Prints its report on stdout.
 * @returns 0 when every connection was as expected, else 1
 */
export async function demo(
  lab: Lab,
  options: DemoOptions & { step: Step; timings: readonly Timing[] },
): Promise<number> {
  const { step } = options;
  const wanted = pods(
    lab.topology.nodes.map(({ name }) => name),
    options.pods,
  );
  await step("namespaces shop and ops", async () => {
    for (const [namespace, labels] of Object.entries(NAMESPACE_LABELS))
      await lab.labelNamespace(namespace, labels);
  });
  await step(`${wanted.length} pods through the CNI plugin`, async () => {
    for (const pod of wanted) await lab.addPod(pod);
  });
  await step("BGP has carried every block to every node", () => converged(lab));
  const open = await step("connections before the policy", () =>
    lab.probe({ ...QUESTION, expected: before }),
  );
  await step("apply NetworkPolicy shop/db, wait until every node enforces it", async () => {
    await lab.apply(parseFile(POLICY, "demo").map(({ resource }) => resource));
    await lab.wait();
  });
  const policed = await step("connections with the policy", () =>
    lab.probe({ ...QUESTION, expected: after }),
  );
  process.stdout.write(await report(lab, { open, policed, timings: options.timings }));
  if (!options.once) process.stdout.write(next(lab.options.name));
  return open.wrong + policed.wrong === 0 ? 0 : 1;
}

async function converged(lab: Lab): Promise<void> {
  await lab.wait();
  let missing: readonly string[] = [];
  const done = async () => {
    missing = await missingRoutes(lab);
    return missing.length === 0 ? true : undefined;
  };
  await until(done, {
    timeoutMs: CONVERGE_MS,
    everyMs: 50,
    what: () => `routes are missing (${missing.slice(0, 4).join(", ")})`,
  });
}

/** What to try while the lab stays up. */
function next(name: string): string {
  const lab = name === "lab" ? "" : ` --name ${name}`;
  return `
The lab stays up until Ctrl-C. From another terminal (npx margay, or node packages/margay/dist/margay.mjs):
  margay lab status${lab}                                      its processes and their logs
  margay lab exec shop/web-1${lab} -- ping -c 3 198.51.100.1   from a pod to the world behind the ToR
  margay lab pod label shop/web-1 app=api${lab}                now it may speak to shop/db ...
  margay lab probe${lab}                                       ... look
  margay lab kill n1/agent${lab}                               nothing stops; then: margay lab start n1/agent${lab}
  margay lab exec n2${lab} -- margay bgp routes                what n2 has learned, and why each path is the best
  margay lab exec fabric${lab} -- margay get ipamblocks        any margay command, inside the lab
`;
}
