import { execFileSync } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { type AnyResource, encode, keyOf, parse } from "@margay/api";
import { resources, type Store } from "@margay/datastore";

/** How many of each there are in a simulated cluster around the lab's own pods. */
export interface Sizes {
  readonly policies: number;
  /** Endpoints of nodes that do not exist. */
  readonly remote: number;
  /** Labels `app` of pods that policies are for, and `role` of those that they allow. */
  readonly apps: number;
  readonly roles: number;
}

const WRITES_AT_ONCE = 50;

/** A policy for the pods of one app, which lets those of one role in by two ports. */
export const policyOf = (n: number, { apps, roles }: Sizes): AnyResource =>
  parse({
    apiVersion: "margay.dev/v1",
    kind: "GlobalNetworkPolicy",
    metadata: { name: `bench-${n}` },
    spec: {
      order: n,
      selector: `app == 'a${n % apps}'`,
      types: ["Ingress"],
      ingress: [
        {
          ...{ action: "Allow", protocol: "TCP" },
          source: { selector: `role == 'r${n % roles}'` },
          destination: { ports: [8000 + (n % 100), 443] },
        },
      ],
    },
  }).resource;

/** An endpoint of another node, by its number and its label `role`. */
export const remoteEndpoint = (n: number, role: number): AnyResource =>
  parse({
    apiVersion: "margay.dev/v1",
    kind: "WorkloadEndpoint",
    metadata: { name: `remote${n}`, namespace: "bench", labels: { role: `r${role}` } },
    spec: {
      ...{ orchestrator: "k8s", node: `far${n % 100}`, pod: `remote${n}`, endpoint: "eth0" },
      ...{ profiles: ["kns.bench"], interfaceName: `cali${n}` },
      ipNetworks: [`10.${200 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}/32`],
    },
  }).resource;

/** Writes them whatever is there, some at a time. */
export async function putAll(store: Store, all: readonly AnyResource[]): Promise<void> {
  for (let i = 0; i < all.length; i += WRITES_AT_ONCE)
    await Promise.all(all.slice(i, i + WRITES_AT_ONCE).map((one) => put(store, one)));
}

export const put = (store: Store, one: AnyResource) =>
  store.put(keyOf(one.kind, one.metadata.name, one.metadata.namespace), encode(one));

export const BACKENDS = {
  nftables: { nftablesMode: "Enabled" },
  "iptables-nft": { nftablesMode: "Disabled", iptablesBackend: "NFT" },
  "iptables-legacy": { nftablesMode: "Disabled", iptablesBackend: "Legacy" },
} as const;
export type Backend = keyof typeof BACKENDS;

/** The packet filter that all agents shall use; resolves when the settings are written. */
export async function useBackend(store: Store, backend: Backend): Promise<void> {
  const kind = "FelixConfiguration";
  const [now] = (await resources(store, kind).list()).filter(({ metadata }) => metadata.name === "default");
  const wanted = {
    ...{ apiVersion: "margay.dev/v1", kind, metadata: { name: "default" } },
    spec: { ...now?.spec, ...BACKENDS[backend] },
  };
  await put(store, parse(wanted).resource);
}

const PATIENCE_MS = 30_000;

/** Resolves when n2 has its rules there and nowhere else. */
export async function inForce(backend: Backend): Promise<void> {
  const onN2 = (...words: string[]) =>
    execFileSync("ip", ["netns", "exec", "n2", ...words], { encoding: "utf8" });
  for (const late = performance.now() + PATIENCE_MS; ; await delay(200)) {
    const chains = onN2("nft", "list", "chains");
    const found: Readonly<Record<Backend, boolean>> = {
      nftables: chains.includes("table ip margay "),
      "iptables-nft": chains.includes("chain margay-"),
      "iptables-legacy": onN2("iptables-legacy", "-S").includes("-N margay-"),
    };
    if ((Object.keys(found) as Backend[]).every((one) => found[one] === (one === backend))) return;
    if (performance.now() > late) throw new Error(`n2 does not use ${backend} after ${PATIENCE_MS} ms`);
  }
}

/** Changes of endpoints, so many a second, until it is stopped. */
export class Churn {
  readonly #change: (n: number) => Promise<unknown>;
  readonly #perSecond: number;
  #isOn = true;
  #made = 0;
  readonly #startedAt = performance.now();
  readonly #running: Promise<void>;

  constructor(perSecond: number, change: (n: number) => Promise<unknown>) {
    [this.#perSecond, this.#change] = [perSecond, change];
    this.#running = this.#run();
    this.#running.catch(() => {}); // `stop` tells
  }

  /** @returns how many changes a second there really were. Throws what a change threw. */
  async stop(): Promise<number> {
    this.#isOn = false;
    const seconds = (performance.now() - this.#startedAt) / 1000;
    await this.#running;
    return this.#made / seconds;
  }

  /** As many as are due by the clock, none waiting for the one before: a slow moment is made up for. */
  async #run(): Promise<void> {
    const writes = new Set<Promise<unknown>>();
    while (this.#isOn) {
      const due = Math.floor(((performance.now() - this.#startedAt) / 1000) * this.#perSecond);
      for (; this.#made < due; this.#made++) {
        const write = this.#change(this.#made).finally(() => writes.delete(write));
        writes.add(write);
      }
      await delay(5);
    }
    await Promise.all(writes);
  }
}
