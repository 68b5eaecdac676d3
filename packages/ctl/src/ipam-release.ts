import { readFileSync } from "node:fs";
import { resources, type Store } from "@margay/datastore";
import { type Cluster, deleteNode, type Garbage, releaseFound, whoHas } from "@margay/ipam";
import { formatAddress, parseAddress } from "@margay/net";
import { CtlError } from "./error.ts";
import { clusterGuid, type Report } from "./ipam-check.ts";
import { addressOf, endpointsByAddress, poolsAndBlocks } from "./ipam-read.ts";
import { dump, type Form, type Terminal } from "./terminal.ts";

export interface ReleaseRequest {
  readonly ip?: string | undefined;
  /** All that a node has that does not exist any more. */
  readonly node?: string | undefined;
  /** Reports of `ipam check -o json`: what all of them call leaked is freed. */
  readonly fromReport: readonly string[];
  readonly force: boolean;
  readonly output: Form;
}

/** `margay ipam release`. Throws CtlError `usage`, `not-found`, `refused` or `unreadable`. */
export async function releaseAddresses(
  store: Store,
  request: ReleaseRequest,
  terminal: Terminal,
): Promise<void> {
  const freed = await free({ store, now: () => new Date() }, request, terminal);
  const lines = freed.flatMap(({ handle, addresses }) =>
    addresses.map(({ address }) => ({ address: formatAddress(address), handle })),
  );
  if (request.output !== "table") return terminal.print(dump(request.output, lines));
  const texts = lines.map(({ address, handle }) => `${address} released; ${handle} had it`);
  terminal.print(texts.join("\n") || "nothing to release");
}

async function free(cluster: Cluster, request: ReleaseRequest, terminal: Terminal) {
  const { ip, node, fromReport } = request;
  if ([ip !== undefined, node !== undefined, fromReport.length > 0].filter(Boolean).length !== 1)
    throw new CtlError("usage", "say what to release: one of --ip, --node and --from-report");
  if (node !== undefined) return releaseNode(cluster, node);
  if (ip !== undefined) return releaseFound(cluster, [await held(cluster, { ...request, ip }, terminal)]);
  return releaseFound(cluster, await leaked(cluster, request, terminal));
}

/** One address, and no other of its handle: who names it knows better. */
async function held(
  { store }: Cluster,
  { ip, force }: { ip: string; force: boolean },
  terminal: Terminal,
): Promise<Garbage> {
  const address = addressOf(ip);
  const text = formatAddress(address);
  const [, blocks] = await poolsAndBlocks(store, terminal);
  const holder = whoHas(blocks, address);
  if (!holder) throw new CtlError("not-found", `${text} is not assigned to anybody`);
  const [endpoint] = (await endpointsByAddress(store, terminal)).get(text) ?? [];
  if (endpoint && !force)
    throw new CtlError(
      "refused",
      `${text} is in use by endpoint ${endpoint}; --force releases it all the same`,
    );
  const { plugin, containerID } = holder.attributes;
  if (plugin && !force)
    throw new CtlError(
      "refused",
      `${text} was given to the plugin ${plugin}, whose pods have no endpoint here: look on its node whether container ${containerID} is there; --force releases it`,
    );
  return { handle: holder.handle, reason: "operator", addresses: [{ address, sequence: holder.sequence }] };
}

async function releaseNode(cluster: Cluster, node: string): Promise<readonly Garbage[]> {
  if (await resources(cluster.store, "Node").get(node))
    throw new CtlError("refused", `node ${node} exists; delete it first: margay delete node ${node}`);
  return deleteNode(cluster, node);
}

/** What every report calls leaked, with the same sequence number, and is no endpoint's by now. */
async function leaked(
  { store }: Cluster,
  { fromReport, force }: ReleaseRequest,
  terminal: Terminal,
): Promise<Garbage[]> {
  const guid = force ? undefined : await clusterGuid(store);
  const [first = [], ...others] = fromReport.map((path) => leaksIn(path, guid));
  const same = (a: Leak, b: Leak) => a.address === b.address && a.sequence === b.sequence;
  const endpoints = await endpointsByAddress(store, terminal);
  const sure = first.filter(
    (leak) => !endpoints.has(leak.address) && others.every((list) => list.some((one) => same(one, leak))),
  );
  return [...Map.groupBy(sure, ({ handle }) => handle)].map(([handle, leaks]) => ({
    ...{ handle, reason: "operator" as const },
    addresses: leaks.map(({ address, sequence }) => ({ address: parseAddress(address), sequence })),
  }));
}

type Leak = Extract<Report["problems"][number], { code: "leaked" }>;

function leaksIn(path: string, guid: string | undefined): Leak[] {
  const report = reportIn(path);
  if (guid !== undefined && report.clusterGUID !== guid)
    throw new CtlError(
      "refused",
      `${path} is of another cluster: ${report.clusterGUID ?? "without a GUID"}, this is ${guid}`,
    );
  return report.problems.filter((one) => one.code === "leaked");
}

function reportIn(path: string): Report {
  try {
    const report = JSON.parse(readFileSync(path, "utf8")) as Report; // told from others by its list
    if (Array.isArray(report.problems)) return report;
  } catch (error) {
    throw new CtlError("unreadable", `${path}: ${error instanceof Error ? error.message : error}`, error);
  }
  throw new CtlError("unreadable", `${path} is no report of margay ipam check -o json`);
}
