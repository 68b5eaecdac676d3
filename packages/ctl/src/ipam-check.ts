import { podCidrsOf } from "@margay/calc";
import { resources, type Store } from "@margay/datastore";
import { audit, type Problem } from "@margay/ipam";
import { remedyOf, sentenceOf } from "./ipam-problems.ts";
import { endpointsByAddress, list, poolsAndBlocks } from "./ipam-read.ts";
import { dump, type Form, type Terminal } from "./terminal.ts";

/** What `ipam check -o json` prints and `ipam release --from-report` reads. */
export interface Report {
  /** Of the cluster it is about, if that has one. */
  readonly clusterGUID?: string;
  readonly at: string;
  readonly problems: readonly (Problem & { readonly text: string; readonly repair: string })[];
}

/** `margay ipam check`: audits every invariant. Resolves to whether all is well. */
export async function check(
  store: Store,
  { output }: { output: Form },
  terminal: Terminal,
): Promise<boolean> {
  let corrupt = 0;
  const warn = (text: string) => {
    corrupt++;
    terminal.warn(text);
  };
  const report = await reportOf(store, { ...terminal, warn });
  if (output !== "table") terminal.print(dump(output, report));
  else terminal.print(report.problems.length === 0 ? "no problem found" : textOf(report, terminal));
  return report.problems.length + corrupt === 0;
}

async function reportOf(store: Store, terminal: Terminal): Promise<Report> {
  const [[pools, blocks], affinities, endpoints, nodes, guid] = await Promise.all([
    poolsAndBlocks(store, terminal),
    list(store, "BlockAffinity", terminal),
    endpointsByAddress(store, terminal),
    list(store, "Node", terminal),
    clusterGuid(store),
  ]);
  const problems = audit({
    ...{ pools, blocks, endpoints, affinities: affinities.map(({ spec }) => spec) },
    nodes: new Set(nodes.map(({ metadata }) => metadata.name)),
    podCidrs: nodes.flatMap(podCidrsOf),
  });
  return {
    ...(guid && { clusterGUID: guid }),
    at: new Date().toISOString(),
    problems: problems.map((one) => ({ ...one, text: sentenceOf(one), repair: remedyOf(one) })),
  };
}

/** The cluster's random name, if it has one. */
export async function clusterGuid(store: Store): Promise<string | undefined> {
  return (await resources(store, "ClusterInformation").get("default"))?.spec.clusterGUID;
}

const textOf = ({ problems }: Report, { colours }: Terminal): string =>
  problems.map(({ text, repair }) => `${text}\n  ${colours.dim(`repair: ${repair}`)}`).join("\n");
