/** What protects, admits and outlives a session, with many speakers in one process over real TCP. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { communities } from "@margay/bgp";
import { formatPrefix, parseAddress, parsePrefix } from "@margay/net";
import { unshared } from "@margay/testing";
import type { ListenRange, WantedPeer } from "./config.ts";
import { operate } from "./operate.ts";
import type { Speaker } from "./speaker.ts";
import { Bird, eventually, run } from "./testing/bird.ts";
import { address, block, full, port, quiet, Speakers, self, states, table, to } from "./testing/speakers.ts";
import { listen } from "./transport.ts";

unshared(import.meta.url, () => {
  const speakers = new Speakers();
  const start = speakers.start.bind(speakers);
  beforeAll(() => Speakers.addAddresses());
  afterEach(() => speakers.stop());

  describe("RFC 9494 long-lived graceful restart", () => {
    const marked = (s: Speaker) =>
      [...s.ribs[4].entries()].flatMap(({ prefix, best }) =>
        best?.attributes?.communities?.includes(communities.llgrStale) ? [formatPrefix(prefix)] : [],
      );

    test("§4.2, §4.6 after the restart time a last resort, told to those who know what that is, then gone", async () => {
      const long = { restartTimeSeconds: 1, longLivedSeconds: 6 };
      const client = { client: true, ...long };
      const one = await start(1, [to(1, 2, { client: true }), to(1, 3, client), to(1, 4, client)], {
        me: self(1, { clusterId: 1 }),
      });
      const two = await start(2, [to(2, 1)]); // knows nothing of it
      const three = await start(3, [to(3, 1, long)]);
      const four = await start(4, [to(4, 1, long)]);
      await eventually(() => [two, four].map(table), [full(2, [1, 2, 3, 4]), full(4, [1, 2, 3, 4])]);
      three.stop();
      await eventually(() => [marked(one), marked(four)], [[block(3)], [block(3)]]);
      await eventually(() => table(two), full(2, [1, 2, 4]));
      expect(table(one)).toEqual(full(1, [1, 2, 3, 4]));
      await eventually(() => [one, four].map(table), [full(1, [1, 2, 4]), full(4, [1, 2, 4])]);
    });

    test("it is back meanwhile: what it says again is no last resort any more, what it does not goes", async () => {
      const long = { restartTimeSeconds: 1, longLivedSeconds: 20 };
      const one = await start(1, [to(1, 3, long)]);
      const three = await speakers.startListening(3, [to(3, 1, long)]);
      three.speaker.setOrigins(new Map([block(3), block(8)].map((b) => [b, parsePrefix(b)])));
      await eventually(() => table(one).length, 3);
      three.speaker.stop();
      three.listener.close();
      await eventually(() => marked(one), [block(3), block(8)]);
      await start(3, [to(3, 1, long)]);
      await eventually(() => [table(one), marked(one)], [full(1, [1, 3]), []]);
    });

    test("a last resort loses to any other path, §4.3; NO_LLGR forbids it", async () => {
      const long = { restartTimeSeconds: 1, longLivedSeconds: 20 };
      const noLlgr: Partial<WantedPeer> = {
        policyTerms: {
          export: {
            statements: [
              {
                match: { prefixes: [{ prefix: parsePrefix(block(8)) }] },
                set: [{ kind: "add-communities", values: [communities.noLlgr] }],
                verdict: "accept",
              },
            ],
            otherwise: "accept",
          },
        },
      };
      const one = await start(1, [to(1, 2), to(1, 3, long)]);
      const two = await start(2, [to(2, 1)]);
      const three = await start(3, [to(3, 1, { ...long, ...noLlgr })]);
      const shared = "10.99.0.0/16";
      three.setOrigins(new Map([block(3), block(8), shared].map((b) => [b, parsePrefix(b)])));
      two.setOrigins(new Map([[shared, parsePrefix(shared)]]));
      await eventually(() => table(one).length, 4);
      three.stop();
      await eventually(
        () => [table(one), marked(one)],
        [["10.244.1.0/26 ours", "10.244.3.0/26 via 10.0.0.3", "10.99.0.0/16 via 10.0.0.2"], [block(3)]],
      );
    });
  });

  describe("dynamic neighbors", () => {
    const range = (limit: number): ListenRange => {
      const { address: _, ...template } = to(1, 9)[1];
      return {
        range: parsePrefix("10.0.0.8/29"),
        limit,
        template: { ...template, name: "racks", restartTimeSeconds: 1, warnings: ["not carried out"] },
      };
    };
    const keys = (s: Speaker) => [...s.peers.keys()].sort();
    const dial = (n: number) => start(n, [to(n, 1, { restartTimeSeconds: 1 })]);

    test("whoever connects from the network is a peer, up to the limit, and nothing once it is gone", async () => {
      const events: string[] = [];
      const said: { event?: string; peer?: string; range?: string }[] = [];
      const warn = (fields: object, text: string) => void [said.push(fields), events.push(text)];
      const log = { ...quiet, warn, info: (fields: object) => void said.push(fields) };
      const one = await start(1, [], { ranges: [range(2)], log });
      const nine = await dial(9);
      await dial(10);
      await eventually(() => [keys(one), states(one)], [["10.0.0.10", "10.0.0.9"], ["Established"]]);
      await eventually(() => table(one), full(1, [1, 9, 10]));
      expect([...one.peers.values()][0]?.wanted).toMatchObject({ passive: true, dynamic: "10.0.0.8/29" });
      await dial(11);
      await eventually(
        () => events.includes("10.0.0.11 is one too many for 10.0.0.8/29: it has 2 peers"),
        true,
      );
      nine.stop();
      await eventually(() => keys(one), ["10.0.0.10", "10.0.0.11"]); // nine's place is free again
      await eventually(() => table(one), full(1, [1, 10, 11]));
      expect(events.filter((text) => text === "not carried out")).toHaveLength(1); // however many come
      one.setPeers(self(1), new Map(), [range(2)]);
      expect(said.filter(({ event }) => event === "not-supported")).toEqual([
        { event: "not-supported", range: "10.0.0.8/29" },
      ]);
      const kinds = new Set(said.filter(({ peer }) => peer).map(({ event, range }) => `${event} ${range}`));
      expect(kinds).toEqual(new Set(["established 10.0.0.8/29", "session-ended 10.0.0.8/29"])); // counted by network
    });

    test("a password for the whole network (TCP_MD5SIG_EXT): who has another, or none, is not let in; a new one resets nothing", async () => {
      const protectedRange = (password: string): ListenRange => {
        const { template, ...rest } = range(5);
        return { ...rest, template: { ...template, password } };
      };
      const keys8 = (password: string) =>
        new Map([["10.0.0.8/29", { peer: address(8), length: 29, password }]]);
      const one = await speakers.startListening(1, [], { ranges: [protectedRange("sesame")] });
      one.listener.protect(keys8("sesame"));
      const nine = await start(9, [to(9, 1, { password: "sesame" })]);
      const ten = await start(10, [to(10, 1, { password: "guess" })]);
      const eleven = await start(11, [to(11, 1)]);
      await eventually(() => table(one.speaker), full(1, [1, 9]));
      one.listener.protect(keys8("new"));
      one.speaker.setPeers(self(1), new Map(), [protectedRange("new")]);
      nine.setPeers(self(9), new Map([to(9, 1, { password: "new" })]));
      nine.setOrigins(new Map([[block(8), parsePrefix(block(8))]]));
      await eventually(() => table(one.speaker), ["10.244.1.0/26 ours", "10.244.8.0/26 via 10.0.0.9"]);
      expect([...one.speaker.peers.values()].map((p) => [p.wanted.name, p.counts.flaps])).toEqual([
        ["racks 10.0.0.9", 0],
      ]);
      expect([...states(ten), ...states(eleven)]).not.toContain("Established");
    });

    test("who is outside is not let in; the network is taken out of the configuration: its peers go", async () => {
      const one = await start(1, [], { ranges: [range(5)] });
      await dial(9);
      const seven = await dial(7);
      await eventually(() => table(one), full(1, [1, 9]));
      expect(states(seven)).not.toContain("Established");
      one.setPeers(self(1), new Map(), []);
      await eventually(() => [keys(one), table(one)], [[], full(1, [1])]);
    });
  });

  describe("TCP-MD5", () => {
    const protectedBy = (n: number, password: string) => ({ password, name: `n${n}` });
    const keysOf = (n: number, password: string) =>
      new Map([[`10.0.0.${n}`, { peer: address(n), password }]]);

    test("a changed password: the session stays, and so do those of others", async () => {
      const one = await speakers.startListening(1, [to(1, 2, protectedBy(2, "old")), to(1, 3)]);
      one.listener.protect(keysOf(2, "old"));
      const two = await speakers.startListening(2, [to(2, 1, protectedBy(1, "old"))]);
      two.listener.protect(keysOf(1, "old"));
      await start(3, [to(3, 1)]);
      await eventually(() => table(one.speaker), full(1, [1, 2, 3]));
      one.listener.protect(keysOf(2, "new"));
      one.speaker.setPeers(self(1), new Map([to(1, 2, protectedBy(2, "new")), to(1, 3)]));
      two.listener.protect(keysOf(1, "new"));
      two.speaker.setPeers(self(2), new Map([to(2, 1, protectedBy(1, "new"))]));
      two.speaker.setOrigins(new Map([[block(8), parsePrefix(block(8))]]));
      await eventually(
        () => table(one.speaker),
        ["10.244.1.0/26 ours", "10.244.3.0/26 via 10.0.0.3", "10.244.8.0/26 via 10.0.0.2"],
      );
      const counts = [one.speaker, two.speaker].flatMap((s) => [...s.peers.values()].map((p) => p.counts));
      expect(counts.map((c) => [c.established, c.flaps])).toEqual([
        [1, 0],
        [1, 0],
        [1, 0],
      ]);
    });
  });

  describe("what an operator does", () => {
    const pair = async () => {
      const one = await start(1, [to(1, 2), to(1, 3)]);
      const two = await start(2, [to(2, 1)]);
      const three = await start(3, [to(3, 1)]);
      await eventually(() => [two, three].map(states), [["Established"], ["Established"]]);
      return { one, two, three };
    };
    const only = (s: Speaker) => [...s.peers.values()][0]!; // the two clients have one
    const counts = (s: Speaker) => ({ ...only(s).counts });

    test("reset: the peer reads the message (RFC 9003), and the session is back by itself", async () => {
      const { one, two, three } = await pair();
      const done = operate(one, "reset", { peer: "n2", message: "new cable" });
      expect(done).toEqual(["n2 (10.0.0.2): reset, it starts again by itself"]);
      await eventually(() => only(two).faults.received?.words, "Cease: Administrative Reset: new cable");
      await eventually(() => [states(two), counts(two).established], [["Established"], 2]);
      expect(counts(three)).toMatchObject({ established: 1, flaps: 0 });
    });

    test("shutdown: it stays down whatever the configuration becomes, until it is started again", async () => {
      const { one, two } = await pair();
      operate(one, "shutdown", { peer: "10.0.0.2", message: "until 14:00" });
      await eventually(
        () => only(two).faults.received?.words,
        "Cease: Hard Reset: Cease: Administrative Shutdown: until 14:00",
      );
      one.setPeers(self(1), new Map([to(1, 2, { holdTimeSeconds: 30 }), to(1, 3)])); // another session
      await eventually(() => only(two).faults.connection?.words, "the peer closed the connection"); // it dialled
      expect(one.peers.get("10.0.0.2")?.session.state).toBe("Idle");
      expect(states(two)).not.toContain("Established");
      expect(operate(one, "start", { peer: "n2" })).toEqual(["n2 (10.0.0.2): started"]);
      await eventually(() => states(two), ["Established"]);
      expect(operate(one, "start", { peer: "n2" })).toEqual(["n2 (10.0.0.2): was not shut down"]);
    });

    test("refresh: both sides say everything again in the same session", async () => {
      const { one, two } = await pair();
      const before = [counts(two).updatesIn, one.peers.get("10.0.0.2")!.counts.updatesIn];
      operate(one, "refresh", { peer: "n2" });
      await eventually(
        () => [
          counts(two).updatesIn > before[0]!, // two numbers
          one.peers.get("10.0.0.2")!.counts.updatesIn > before[1]!,
        ],
        [true, true],
      );
      expect(counts(two)).toMatchObject({ established: 1, flaps: 0 });
    });

    test.each<[string, Parameters<typeof operate>[2], string]>([
      ["nobody", { peer: "n9" }, "no peer is called n9; there are n2 (10.0.0.2)"],
      [
        "too long a message",
        { peer: "n2", message: "é".repeat(128) },
        "the message is longer than 255 bytes",
      ],
    ])("refused: %s", async (_why, order, words) => {
      const one = await start(1, [to(1, 2)]);
      expect(() => operate(one, "reset", order)).toThrow(words);
    });
  });

  describe("what a wrong password looks like", () => {
    test.each<[string, string | undefined, string | undefined, RegExp]>([
      [
        "another one",
        "a",
        "b",
        /came with a wrong TCP-MD5 signature and were dropped: the peer's password is/,
      ],
      [
        "none there",
        "a",
        undefined,
        /came without a TCP-MD5 signature and were dropped: the peer likely has no/,
      ],
      ["none here", undefined, "b", /came with a TCP-MD5 signature and were dropped: .* and we have none/],
    ])("%s", async (_why, ours, theirs, words) => {
      const side = async (n: number, m: number, password: string | undefined) => {
        const wanted = to(n, m, password === undefined ? {} : { password });
        const { speaker, listener } = await speakers.startListening(n, [wanted], { retrySeconds: 0.5 });
        if (password !== undefined) listener.protect(new Map([["", { peer: address(m), password }]]));
        return speaker;
      };
      await side(2, 1, theirs);
      const one = await side(1, 2, ours);
      const fault = () => [...one.peers.values()][0]?.faults.connection?.words;
      await eventually(fault, expect.stringMatching(words));
      expect(states(one)).not.toContain("Established");
    });
  });

  test("who came in before the listening socket had the key is not heard without it either", async () => {
    const one = await start(1, [to(1, 2)], { retrySeconds: 30 });
    const two = await start(2, [to(2, 1, { password: "b", passive: true })]); // its socket has no key at all
    one.setPeers(self(1), new Map());
    one.setPeers(self(1), new Map([to(1, 2)]));
    await eventually(() => states(one), ["OpenSent"]);
    await eventually(() => /TCPMD5NotFound\s+[1-9]/.test(run("nstat -asz TcpExtTCPMD5NotFound")), true);
    expect([...states(one), ...states(two)]).not.toContain("Established");
  });

  describe("GTSM, RFC 5082", () => {
    /** Behind a router: what comes from there arrives with TTL 254. */
    const far = parseAddress("198.51.100.2");
    const near = parseAddress("192.0.2.1");
    const bird = new Bird("far");
    beforeAll(() => {
      run(`set -e
        ip netns add router; ip netns add far
        ip link add near0 type veth peer name near1 netns router
        ip -n router link add far0 type veth peer name eth0 netns far
        ip addr add 192.0.2.1/24 dev near0; ip link set near0 up
        ip -n router addr add 192.0.2.254/24 dev near1; ip -n router link set near1 up
        ip -n router addr add 198.51.100.254/24 dev far0; ip -n router link set far0 up
        ip -n far addr add 198.51.100.2/24 dev eth0; ip -n far link set eth0 up; ip -n far link set lo up
        ip -n far route add default via 198.51.100.254; ip route add 198.51.100.0/24 via 192.0.2.254
        ip netns exec router sysctl -qw net.ipv4.ip_forward=1`);
      bird.start(`router id 198.51.100.2; protocol device {}
        protocol bgp n1 { local 198.51.100.2 as 65000; neighbor 192.0.2.1 port ${port} as 64512; multihop 4; ttl security on;
          connect delay time 1; connect retry time 1; error wait time 1, 1; ipv4 { import all; export all; }; }`);
    });
    afterAll(() => bird.remove());

    /** How often the kernel threw away what came from too far. */
    const dropped = () => Number(/TCPMinTTLDrop\s+(\d+)/.exec(run("nstat -asz TcpExtTCPMinTTLDrop"))?.[1]);

    test.each<[string, number, boolean]>([
      ["a peer two hops away is not heard when one hop is allowed", 1, false],
      ["and is heard when two are", 2, true],
    ])("%s", async (_why, ttlSecurityHops, isHeard) => {
      const before = dropped();
      const wanted: WantedPeer = {
        ...to(1, 2)[1],
        ...{ name: "far", address: far, localAddress: near, peerAs: 65000, port: 179, ttlSecurityHops },
      };
      const one = await start(1, [["198.51.100.2", wanted]]);
      const listener = await listen({ addresses: [near], port }, (c, from) => one.accept(c, from));
      speakers.add({ stop: () => listener.close() });
      if (isHeard) {
        await eventually(() => states(one), ["Established"]);
        expect(bird.control("show protocols n1")).toMatch(/Established/);
        return;
      }
      await eventually(() => dropped() - before > 2, true); // more than one attempt of either side
      expect(states(one)).not.toContain("Established");
      expect(bird.control("show protocols n1")).not.toMatch(/Established/);
    });
  });
});
