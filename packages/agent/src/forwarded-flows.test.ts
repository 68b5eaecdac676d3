import { execFileSync } from "node:child_process";
import { createSocket, type Socket } from "node:dgram";
import { mkdtempSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { encode, keyOf, parse } from "@margay/api";
import { type MemoryStore, memoryStore } from "@margay/datastore";
import { inNamespace } from "@margay/netlink";
import { noRules, noSets, unshared, until } from "@margay/testing";
import { BACKENDS } from "./rulesets/testing/backends.ts";
import { startAgent } from "./start.ts";
import { testContext } from "./testing/context.ts";

/** This namespace is a node that routes between `far` (eth0) and `behind` (eth1): neither end of what it forwards is its own. */
const SUBNETS = { far: 0, behind: 1 } as const;
const BEHIND = ["10.0.1.2", "fd00:1::2"] as const;
const [DENIED, ALLOWED] = [80, 81];
const sh = (script: string) => execFileSync("sh", ["-ec", script]);

function wire(name: keyof typeof SUBNETS): void {
  const subnet = SUBNETS[name];
  const [device, four, six] = [`eth${subnet}`, `10.0.${subnet}`, `fd00:${subnet}::`];
  sh(`ip netns add ${name}; ip link add ${device} type veth peer name eth0 netns ${name}
      ip addr add ${four}.1/24 dev ${device}; ip addr add ${six}1/64 dev ${device} nodad; ip link set ${device} up
      ip -n ${name} addr add ${four}.2/24 dev eth0; ip -n ${name} addr add ${six}2/64 dev eth0 nodad
      ip -n ${name} link set eth0 up; ip -n ${name} route add default via ${four}.1; ip -n ${name} route add default via ${six}1`);
}

/** Node.js binds at once only when it need not look names up: the socket is of the namespace where that happens. */
const lookup = (host: string, _options: unknown, done: (error: null, host: string, family: number) => void) =>
  done(null, host, host.includes(":") ? 6 : 4);
const socketIn = (name: keyof typeof SUBNETS, type: "udp4" | "udp6", port = 0): Socket =>
  inNamespace(`/run/netns/${name}`, () => {
    const socket = createSocket({ type, lookup: lookup as never }).on("error", () => {}); // of a lookup only this is asked
    return socket.bind(port, type === "udp4" ? "0.0.0.0" : "::");
  });

/** A stream of datagrams from `far` to `behind`, each answered. */
class Stream {
  answered = 0;
  readonly name: string;
  readonly #socket: Socket;
  readonly #timer: NodeJS.Timeout;

  constructor(host: string, port: number) {
    this.name = `${host} ${port}`;
    this.#socket = socketIn("far", host.includes(":") ? "udp6" : "udp4").on("message", () => this.answered++);
    this.#timer = setInterval(() => this.#socket.send("!", port, host, () => {}), 20);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#socket.close();
  }
}

/** Those without an answer while each of `others` has 25, which is half a second's. */
async function stoppedOf(streams: readonly Stream[], others: readonly Stream[]): Promise<string[]> {
  const before = new Map([...streams, ...others].map((one) => [one, one.answered]));
  const answersOf = (one: Stream) => one.answered - (before.get(one) ?? 0);
  await until(() => others.every((one) => answersOf(one) >= 25));
  return streams.filter((one) => answersOf(one) === 0).map(({ name }) => name);
}

async function put(store: MemoryStore, kind: string, name: string, spec: object): Promise<void> {
  const { resource } = parse({
    apiVersion: "margay.dev/v1",
    kind,
    metadata: { name, labels: { role: "n" } },
    spec,
  });
  await store.put(keyOf(resource.kind, name), encode(resource));
}

unshared(import.meta.url, () => {
  const answerers: Socket[] = [];
  beforeAll(() => {
    for (const name of ["far", "behind"] as const) wire(name);
    for (const file of ["ipv4/ip_forward", "ipv6/conf/all/forwarding"])
      writeFileSync(`/proc/sys/net/${file}`, "1");
    for (const port of [DENIED, ALLOWED]) {
      const socket = socketIn("behind", "udp6", port); // of both families
      socket.on("message", (bytes, { address, port: from }) => socket.send(bytes, from, address, () => {}));
      answerers.push(socket);
    }
  });
  afterAll(() => {
    for (const one of answerers) one.close();
  });

  test.each(["nftables", "iptables-nft", "iptables-legacy"] as const)(
    "%s: a policy on what a node forwards cuts what it denies, by the interface that it is about",
    async (backend) => {
      const store = memoryStore();
      await put(store, "Node", "n1", { bgp: { ipv4Address: "10.0.0.1/24" } });
      await put(store, "FelixConfiguration", "default", BACKENDS[backend]);
      const both = { node: "n1", profiles: ["projectcalico-default-allow"] };
      await put(store, "HostEndpoint", "h", { ...both, interfaceName: "eth0" });
      const context = testContext({ store, node: "n1", runDir: mkdtempSync("/run/agent-") });
      const agent = await startAgent(context.daemon);
      let streams: readonly Stream[] = [];
      try {
        await until(() => context.notReady().length === 0);
        // Not before: the kernel tracks connections since there are rules, and takes the first packet that it sees for the asker's.
        streams = BEHIND.flatMap((host) => [DENIED, ALLOWED].map((port) => new Stream(host, port)));
        await until(() => streams.every(({ answered }) => answered > 0));
        const deny = { action: "Deny", protocol: "UDP", destination: { ports: [DENIED] } };
        const policy = { selector: "role == 'n'", applyOnForward: true, types: ["Ingress"] };
        await put(store, "GlobalNetworkPolicy", "p", { ...policy, ingress: [deny, { action: "Allow" }] });
        const denied = BEHIND.map((host) => `${host} ${DENIED}`);
        const allowed = streams.filter(({ name }) => !denied.includes(name));
        let stopped: string[] = [];
        await until(async () => {
          stopped = await stoppedOf(streams, allowed);
          return stopped.join() === denied.join();
        }).catch(() => expect([stopped, context.notReady()]).toEqual([denied, []]));
        await put(store, "GlobalNetworkPolicy", "p", { ...policy, ingress: [{ action: "Allow" }] });
        const cut = streams
          .filter(({ name }) => denied.includes(name))
          .map((one) => ({ one, at: one.answered }));
        await until(() => cut.every(({ one, at }) => one.answered > at)); // allowed again, it begins anew
      } finally {
        for (const one of streams) one.close();
        await agent.stop();
        await noRules();
        await noSets();
      }
    },
  );
});
