import { resources, type Store } from "@margay/datastore";
import { audit, type InUse, type PoolUsage, type Problem, parsePools, summarise, whoHas } from "@margay/ipam";
import { contains, formatAddress, NetError, parseAddress, parsePrefix } from "@margay/net";
import { CtlError } from "./error.ts";
import { json, type Terminal, table } from "./terminal.ts";

export interface ShowRequest {
  readonly showBlocks: boolean;
  /** Only who has this address. */
  readonly ip?: string | undefined;
  readonly output: "table" | "json";
}

/** `margay ipam show`: how full pools and blocks are, or who has an address. Throws CtlError `usage` or `not-found`. */
export async function show(store: Store, request: ShowRequest, terminal: Terminal): Promise<void> {
  if (request.ip !== undefined)
    return showAddress(store, { ip: request.ip, output: request.output }, terminal);
  const usage = summarise(...(await poolsAndBlocks(store, terminal)));
  if (request.output === "json") return terminal.print(json(usage));
  if (usage.pools.length === 0) return terminal.warn("there is no IP pool; make one with margay apply");
  const head = ["POOL", "BLOCK", "NODE", "TOTAL", "IN USE", "FREE", "BORROWED"];
  const rows = usage.pools.flatMap((pool) => [poolRow(pool), ...(request.showBlocks ? blockRows(pool) : [])]);
  terminal.print(table(terminal, head, rows));
  for (const { cidr, inUse } of usage.outside)
    terminal.warn(`block ${cidr} (${inUse} in use) lies in no pool`);
}

async function poolsAndBlocks(store: Store, terminal: Terminal) {
  const skip = (error: Error) => terminal.warn(`skipped: ${error.message}`);
  const pools = await resources(store, "IPPool").list(undefined, skip);
  const blocks = await resources(store, "IPAMBlock").list(undefined, skip);
  return [parsePools(pools), blocks.map(({ spec }) => spec)] as const;
}

const poolRow = ({ name, cidr, total, inUse, free, borrowed }: PoolUsage) => [
  name,
  cidr,
  "",
  total,
  inUse,
  free,
  borrowed.length,
];

const blockRows = ({ blocks, borrowed }: PoolUsage) =>
  blocks.map(({ cidr, node, size, inUse }) => {
    const lent = borrowed.filter(({ block }) => block === cidr).length;
    return ["", cidr, node ?? "(none)", size, inUse, size - inUse, lent];
  });

async function showAddress(
  store: Store,
  { ip, output }: { ip: string; output: "table" | "json" },
  terminal: Terminal,
): Promise<void> {
  const address = parse(ip);
  const [pools, blocks] = await poolsAndBlocks(store, terminal);
  const holder = whoHas(blocks, address);
  if (holder) return terminal.print(output === "json" ? json(holder) : holderText(holder));
  const text = formatAddress(address);
  const pool = pools.find(({ cidr }) => contains(cidr, address));
  throw new CtlError("not-found", `${text} is free${pool ? ` (pool ${pool.name})` : "; it lies in no pool"}`);
}

function parse(ip: string) {
  try {
    return parseAddress(ip);
  } catch (error) {
    if (error instanceof NetError) throw new CtlError("usage", `--ip ${error.message}`, error);
    throw error;
  }
}

function holderText({ address, block, handle, attributes, borrowedFrom }: InUse): string {
  const { pod, namespace, node, containerID, timestamp, type } = attributes;
  const facts = {
    address,
    block: borrowedFrom === undefined ? block : `${block} (borrowed from ${borrowedFrom})`,
    pod: pod && `${namespace}/${pod}`,
    ...{ type, node, container: containerID, since: timestamp, handle },
  };
  return Object.entries(facts)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${`${name}:`.padEnd(11)}${value}`)
    .join("\n");
}

/** `margay ipam check`: compares blocks, affinities and endpoints. Resolves to whether all is well. */
export async function check(
  store: Store,
  request: { output: "table" | "json" },
  terminal: Terminal,
): Promise<boolean> {
  const [pools, blocks] = await poolsAndBlocks(store, terminal);
  const affinities = await resources(store, "BlockAffinity").list(undefined, (error) =>
    terminal.warn(`skipped: ${error.message}`),
  );
  const endpoints = await resources(store, "WorkloadEndpoint").list(undefined, (error) =>
    terminal.warn(`skipped: ${error.message}`),
  );
  const problems = audit({
    ...{ pools, blocks, affinities: affinities.map(({ spec }) => spec) },
    endpoints: new Map(
      endpoints.flatMap(({ metadata, spec }) =>
        spec.ipNetworks.map(
          (network) =>
            [formatAddress({ ...parsePrefix(network) }), `${metadata.namespace}/${metadata.name}`] as const,
        ),
      ),
    ),
  });
  if (request.output === "json") terminal.print(json(problems));
  else terminal.print(problems.length === 0 ? "no problem found" : problems.map(problemText).join("\n"));
  return problems.length === 0;
}

function problemText(problem: Problem): string {
  switch (problem.code) {
    case "block-outside-pools":
      return `block ${problem.cidr} lies in no pool: its addresses work, but no new one is given`;
    case "affinity-unsettled":
      return `node ${problem.node} has the block ${problem.cidr} only as ${problem.state}: its agent settles that when it runs`;
    case "affinity-without-block":
      return `node ${problem.node} claims ${problem.cidr}, but the block does not say so: its agent settles that when it runs`;
    case "block-without-affinity":
      return `block ${problem.cidr} says it is ${problem.node}'s, but there is no affinity: that node's agent settles it when it runs`;
    case "leaked":
      return `${problem.address} is held by ${problem.handle} on ${problem.attributes.node ?? "no known node"}, but no endpoint has it`;
    case "unallocated-in-use":
      return `${problem.address} is used by ${problem.endpoint}, but was never assigned: another pod may get it too`;
  }
}
