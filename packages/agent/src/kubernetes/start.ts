import { createSocket } from "node:dgram";
import { setTimeout as sleepFor } from "node:timers/promises";
import { type Node, parse } from "@margay/api";
import type { CniDeps } from "@margay/cni";
import { connectionTeller, type DaemonContext } from "@margay/daemon";
import { resources, StoreError } from "@margay/datastore";
import { accessTo, apiServer, isInCluster, KubernetesError } from "@margay/kubernetes";
import { type Address, type Family, NetError, parseAddress } from "@margay/net";
import { listAddresses, listLinks, type Netlink } from "@margay/netlink";
import type { Inventory } from "../intake.ts";
import type { AgentOptions } from "../options.ts";
import {
  type Candidate,
  type Method,
  nodeAddress,
  parseMethod,
  type Surroundings,
  unfound,
} from "./node-address.ts";
import { OwnPods } from "./pods.ts";

export interface Parts {
  readonly inventory: Inventory;
  readonly netlink: Netlink;
}

/** What only an agent in a cluster does. */
export interface InKubernetes {
  readonly describe: CniDeps["describe"];
  stop(): Promise<void>;
}

const sleep = (ms: number, signal: AbortSignal): Promise<void> =>
  sleepFor(ms, undefined, { signal }).catch(() => {}); // aborted: whoever sleeps looks at the signal

/** How often the node's own address is looked for while it is known, and while it is not. */
const KNOWN_MS = 60_000;
const UNKNOWN_MS = 1000;

/** Follows this node's pods, and keeps the Node's own address. Without a way to the API server only the latter. */
export async function startKubernetes(
  context: DaemonContext<AgentOptions>,
  parts: Parts,
): Promise<InKubernetes> {
  const { options } = context;
  const hasApi = options.kubeconfig !== undefined || isInCluster();
  const usual = hasApi ? "kubernetes-internal-ip" : "none";
  const texts = { 4: options.ipAutodetectionMethod ?? usual, 6: options.ip6AutodetectionMethod ?? usual };
  const methods = { 4: parseMethod(texts[4]), 6: parseMethod(texts[6]) };
  const stopping = new AbortController();
  const finding = keepAddress(context, parts, { texts, methods, signal: stopping.signal });
  const pods = hasApi ? await followPods(context, parts) : undefined;
  return {
    describe: pods?.describe,
    async stop() {
      stopping.abort();
      await Promise.all([finding, pods?.stop()]);
    },
  };
}

/** Where this node's pods are read from. */
const API_SERVER = { name: "kubernetes", errors: KubernetesError, words: "the API server" };

async function followPods(context: DaemonContext<AgentOptions>, { inventory }: Parts) {
  const { options, node } = context;
  const server = apiServer(await accessTo({ kubeconfig: options.kubeconfig }));
  const pods = new OwnPods({
    ...{ server, node, sleep, namespaceAnnotations: inventory.namespaceAnnotations },
    onStatus: connectionTeller(context, API_SERVER),
  });
  void pods.start(); // a rejection is a fault of the program: it ends the process
  return {
    describe: (invocation: Parameters<NonNullable<CniDeps["describe"]>>[0]) => pods.describe(invocation),
    async stop() {
      await pods.stop();
      server.close();
    },
  };
}

interface Finding {
  readonly texts: Readonly<Record<Family, string>>;
  readonly methods: Readonly<Record<Family, Method>>;
  readonly signal: AbortSignal;
}

async function keepAddress(
  context: DaemonContext<AgentOptions>,
  parts: Parts,
  { texts, methods, signal }: Finding,
): Promise<void> {
  const { log } = context;
  if (methods[4].kind === "none" && methods[6].kind === "none") return;
  let told = "";
  let toldMissing = "";
  while (!signal.aborted) {
    let found: Partial<Record<Family, string>> = {};
    try {
      const candidates = await addresses(parts.netlink);
      found = await find(parts.inventory, { methods, candidates });
      const missing = ([4, 6] as const).flatMap((one) =>
        found[one] ? [] : (unfound(texts[one], one, candidates) ?? []),
      );
      const words = missing.join("; ");
      if (words && words !== toldMissing) log.warn({ event: "node-address-unknown" }, words);
      toldMissing = words;
      const changed = await write(context, parts.inventory, found);
      if (changed) log.info({ event: "node-address", ...found }, "the node's own address is in its Node");
    } catch (error) {
      if (String(error) !== told)
        log.warn({ event: "node-address-failed", err: error }, `the node's address: ${String(error)}`);
      told = String(error);
    }
    await sleep(found[4] || found[6] ? KNOWN_MS : UNKNOWN_MS, signal);
  }
}

/** The node's own, of global scope on interfaces that are up. */
async function addresses(netlink: Netlink): Promise<Candidate[]> {
  const links = new Map((await listLinks(netlink)).map((link) => [link.index, link]));
  return (await listAddresses(netlink)).flatMap(({ address, length, scope, index }) => {
    const link = links.get(index);
    return link?.up && (scope ?? "global") === "global" ? [{ dev: link.name, address, length }] : [];
  });
}

async function find(
  inventory: Inventory,
  { methods, candidates }: { methods: Finding["methods"]; candidates: readonly Candidate[] },
) {
  const internal = (inventory.self?.spec.addresses ?? []).flatMap(({ address, type }) =>
    type === "InternalIP" ? addressIn(address) : [],
  );
  const of = async (family: Family) => {
    const method = methods[family];
    const towards = method.kind === "can-reach" ? await sourceTowards(method.target, family) : undefined;
    const surroundings: Surroundings = { candidates, internal, towards };
    const text = nodeAddress(method, family, surroundings);
    return text === undefined ? {} : { [family]: text };
  };
  return { ...(await of(4)), ...(await of(6)) } as Partial<Record<Family, string>>;
}

function addressIn(text: string): Address[] {
  try {
    return [parseAddress(text)];
  } catch (error) {
    if (error instanceof NetError) return [];
    throw error;
  }
}

/** What the kernel would send from; nothing is sent. */
function sourceTowards(target: string, family: Family): Promise<Address | undefined> {
  const socket = createSocket(family === 4 ? "udp4" : "udp6");
  return new Promise((resolve) => {
    const end = (address?: Address) => {
      socket.close();
      resolve(address);
    };
    socket.once("error", () => end());
    socket.connect(53, target, () => end(parseAddress(socket.address().address)));
  });
}

/** Whether the Node had to be written. One that is not there yet is made, unless Kubernetes' own controllers will. */
async function write(
  { store, node }: DaemonContext,
  inventory: Inventory,
  found: Partial<Record<Family, string>>,
): Promise<boolean> {
  const addresses = {
    ...(found[4] && { ipv4Address: found[4] }),
    ...(found[6] && { ipv6Address: found[6] }),
  };
  const isKnown = (self: Node | undefined): boolean =>
    Object.entries(addresses).every(([field, text]) => self?.spec.bgp?.[field as "ipv4Address"] === text);
  if (Object.keys(addresses).length === 0 || isKnown(inventory.self)) return false;
  const nodes = resources(store, "Node");
  try {
    await nodes.modify(node, undefined, (now) =>
      isKnown(now) ? undefined : { ...now, spec: { ...now.spec, bgp: { ...now.spec.bgp, ...addresses } } },
    );
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== "not-found") throw error;
    const document = { apiVersion: "margay.dev/v1", kind: "Node", metadata: { name: node } };
    await nodes.create(parse({ ...document, spec: { bgp: addresses } }).resource as Node);
  }
  return true;
}
