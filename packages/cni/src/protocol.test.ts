import { describe, expect, test } from "@jest/globals";
import { parseAddress } from "@margay/net";
import fc from "fast-check";
import { CNI_CODES, CniError } from "./errors.ts";
import {
  type Call,
  decodeCall,
  decodeReply,
  encodeCall,
  encodeReply,
  FrameReader,
  socketOf,
} from "./frame.ts";
import { type Invocation, parseCall } from "./invocation.ts";
import { ownerOfHandle } from "./owner.ts";
import { endpointOf, podOf } from "./pod.ts";
import { formatError, formatResult } from "./result.ts";

const ENV = {
  CNI_COMMAND: "ADD",
  CNI_CONTAINERID: "4f1c",
  CNI_NETNS: "/run/netns/pod",
  CNI_IFNAME: "eth0",
  CNI_ARGS: "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1",
  MARGAY_ARGV0: "margay-cni",
};
const CONF = { cniVersion: "1.1.0", name: "margay", type: "margay-cni" };
const call = (env: Record<string, string> = {}, conf: unknown = CONF): Call => ({
  env: { ...ENV, ...env },
  stdin: Buffer.from(typeof conf === "string" ? conf : JSON.stringify(conf)),
});

describe("frames", () => {
  const text = fc.string({ unit: "grapheme" }).map((s) => s.replaceAll("\0", ""));
  const env = fc.dictionary(fc.stringMatching(/^CNI_[A-Z]{1,8}$/), text, { maxKeys: 6 });

  test("a call and a reply come out as they went in, however the bytes are split", () => {
    fc.assert(
      fc.property(env, fc.uint8Array({ maxLength: 50 }), fc.nat({ max: 60 }), (variables, stdin, cut) => {
        const whole = encodeCall({ env: variables, stdin });
        const reader = new FrameReader();
        const first = cut > 0 && cut < whole.length ? reader.push(whole.subarray(0, cut)) : undefined;
        const body = first ?? reader.push(cut < whole.length ? whole.subarray(cut) : whole);
        expect(decodeCall(body!)).toEqual({ env: variables, stdin: Buffer.from(stdin) }); // all of it was pushed
      }),
    );
    const reply = { exitCode: 1, stdout: "ü" };
    expect(decodeReply(encodeReply(reply).subarray(4))).toEqual(reply);
  });

  test("whatever bytes come, decoding gives a call or a RangeError", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        try {
          decodeCall(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
    );
  });

  test.each<[why: string, bytes: number[]]>([
    ["empty", [0, 0, 0, 0]],
    ["longer than 1 MiB", [0, 16, 0, 1]],
    ["bytes after it", [0, 0, 0, 1, 0, 0]],
  ])("a frame that is %s is refused", (_why, bytes) => {
    expect(() => new FrameReader().push(Buffer.from(bytes))).toThrow(RangeError);
  });

  test.each<[why: string, env: Record<string, string>, conf: string, socket: string]>([
    ["the environment decides", { MARGAY_CNI_SOCKET: "/a" }, '{"socket":"/b"}', "/a"],
    ["then the configuration", {}, '{"name":"n","socket" : "/b"}', "/b"],
    ["then the default", {}, '{"name":"socket"}', "/run/margay/cni.sock"],
  ])("%s where the agent listens", (_why, variables, conf, socket) => {
    expect(socketOf(variables, conf)).toBe(socket);
  });
});

describe("parseCall", () => {
  test("a call from Kubernetes", () => {
    expect(parseCall(call())).toEqual({
      ...{ command: "ADD", plugin: "cni", cniVersion: "1.1.0", containerId: "4f1c" },
      ...{ netns: "/run/netns/pod", ifname: "eth0", conf: CONF },
      args: { IgnoreUnknown: "1", K8S_POD_NAMESPACE: "shop", K8S_POD_NAME: "web-1" },
      raw: { env: call().env, document: CONF },
    });
  });

  test("labels and addresses for pods without Kubernetes; flags also as text", () => {
    const args = { cni: { labels: [{ key: "app", value: "web" }], ips: ["10.244.0.7/16", "fd00::7"] } };
    const { conf } = parseCall(
      call({}, { ...CONF, args, ipam: { assign_ipv6: "true", assign_ipv4: false } }),
    );
    expect(conf.args?.cni?.ips).toEqual([parseAddress("10.244.0.7"), parseAddress("fd00::7")]);
    expect(conf.ipam).toEqual({ assign_ipv6: true, assign_ipv4: false });
  });

  test.each<[why: string, Call, Partial<Invocation>]>([
    [
      "DEL without a namespace",
      call({ CNI_COMMAND: "DEL", CNI_NETNS: "" }),
      { command: "DEL", netns: undefined },
    ],
    ["executed as margay-ipam", call({ MARGAY_ARGV0: "margay-ipam" }), { plugin: "ipam" }],
    ["STATUS needs no container", { ...call(), env: { CNI_COMMAND: "STATUS" } }, { command: "STATUS" }],
  ])("%s", (_why, wanted, expected) => {
    expect(parseCall(wanted)).toMatchObject(expected);
  });

  test.each<[why: string, Call, code: number, message: string]>([
    ["§version", call({}, { ...CONF, cniVersion: "0.2.0" }), 1, "cniVersion 0.2.0 is not supported"],
    ["no version is 0.1.0 (spec §1)", call({}, { name: "n" }), 1, "cniVersion 0.1.0 is not supported"],
    [
      "unknown command",
      call({ CNI_COMMAND: "RUN" }),
      4,
      'CNI_COMMAND must be one of ADD, DEL, CHECK, GC, STATUS, VERSION; found "RUN"',
    ],
    [
      "no container",
      call({ CNI_CONTAINERID: "" }),
      4,
      "CNI_CONTAINERID must be at most 100 letters, digits, '_', '.', '-', the first a letter or digit; found nothing",
    ],
    [
      "container like a path",
      call({ CNI_CONTAINERID: "../x" }),
      4,
      "CNI_CONTAINERID must be at most 100 letters, digits, '_', '.', '-', the first a letter or digit; found \"../x\"",
    ],
    [
      "interface name too long",
      call({ CNI_IFNAME: "sixteen-letters!" }),
      4,
      "CNI_IFNAME must be an interface name: 1 to 15 characters without '/', ':' and spaces; found \"sixteen-letters!\"",
    ],
    [
      "interface name ..",
      call({ CNI_IFNAME: ".." }),
      4,
      "CNI_IFNAME must be an interface name: 1 to 15 characters without '/', ':' and spaces; found \"..\"",
    ],
    [
      "ADD without a namespace",
      call({ CNI_NETNS: "" }),
      4,
      "CNI_NETNS must be the path of the pod's network namespace; found nothing",
    ],
    [
      "CNI_ARGS",
      call({ CNI_ARGS: "A" }),
      4,
      "CNI_ARGS must be KEY=VALUE pairs separated by ';'; found \"A\"",
    ],
    ["no JSON", call({}, "{"), 6, "the network configuration on standard input is not JSON"],
    [
      "no name",
      call({}, { cniVersion: "1.0.0" }),
      7,
      "network configuration: name: Invalid input: expected string, received undefined",
    ],
    [
      "an address that is none",
      call({}, { ...CONF, args: { cni: { ips: ["10.0.0.300"] } } }),
      7,
      'network configuration: args.cni.ips.0: "10.0.0.300": not an IPv4 or IPv6 address',
    ],
    [
      "an MTU that is none",
      call({}, { ...CONF, mtu: -1 }),
      7,
      "network configuration: mtu: Too small: expected number to be >=0",
    ],
  ])("%s", (_why, wanted, code, message) => {
    try {
      expect(parseCall(wanted)).toBe("refused");
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      expect([CNI_CODES[error.code], error.message]).toEqual([code, message]);
    }
  });
});

describe("names", () => {
  const where = { node: "n-1", interfacePrefix: "cali" };

  test("in Kubernetes: dashes of a part doubled, interface from sha1(namespace.pod)", () => {
    expect(podOf(parseCall(call()), where)).toEqual({
      ...{ orchestrator: "k8s", namespace: "shop", name: "web-1", handle: "margay.4f1c" },
      owner: { network: "margay", containerId: "4f1c", ifname: "eth0" },
      endpoint: "n--1-k8s-web--1-eth0",
      hostInterface: "cali751425ce827", // printf shop.web-1 | sha1sum | cut -c1-11
    });
  });

  test("elsewhere the container is the pod; a second interface has a name, handle and endpoint of its own", () => {
    const [one, two] = ["eth0", "net1"].map((CNI_IFNAME) =>
      podOf(parseCall(call({ CNI_ARGS: "", CNI_IFNAME })), where),
    );
    expect([one?.namespace, one?.name, one?.endpoint]).toEqual(["default", "4f1c", "n--1-cni-4f1c-eth0"]);
    expect([two?.endpoint, two?.handle]).toEqual(["n--1-cni-4f1c-net1", "margay.4f1c.net1"]);
    expect(two?.hostInterface).not.toBe(one?.hostInterface);
  });

  test("no two share an interface, an endpoint or a handle, whatever dots are in their names", () => {
    const of = (container: string, args: string, ifname = "eth0", name = "margay") =>
      podOf(
        parseCall(
          call({ CNI_CONTAINERID: container, CNI_ARGS: args, CNI_IFNAME: ifname }, { ...CONF, name }),
        ),
        where,
      );
    const shop = "K8S_POD_NAMESPACE=shop";
    const all = [
      of("c1", `${shop};K8S_POD_NAME=web`),
      of("c1", `${shop};K8S_POD_NAME=web`, "net1"),
      of("c2", `${shop};K8S_POD_NAME=web.net1`),
      of("web", shop, "eth0", "attach-shop"),
      of("web.b", shop, "eth0", "attach-shop"),
      of("web", shop, "b", "attach-shop"),
      of("b.web", shop, "eth0", "attach-shop"),
      of("web", `${shop}2`, "eth0", "attach-shop.b"),
    ];
    for (const part of ["hostInterface", "endpoint", "handle"] as const)
      expect(new Set(all.map((one) => `${part === "endpoint" ? one.namespace : ""} ${one[part]}`)).size).toBe(
        8,
      );
    for (const { owner, handle } of all) expect(ownerOfHandle(handle, owner)).toEqual(owner);
  });

  test.each<[handle: string, containerId: string, ifname: string | undefined]>([
    ["margay.a.b", "a.b", "eth0"],
    ["margay.a.b", "a", "b"],
    ["margay.ab", "a", undefined],
    ["margay/a.b/eth0", "a.b", "eth0"],
    ["other/a.b/eth0", "a.b", undefined],
  ])("handle %s of container %s, of this version or before: interface %p", (handle, containerId, ifname) => {
    const owner = ifname && { network: "margay", containerId, ifname };
    expect(ownerOfHandle(handle, { network: "margay", containerId })).toEqual(owner);
  });

  test("the endpoint", () => {
    const args = {
      cni: {
        labels: [
          { key: "app", value: "web" },
          { key: "projectcalico.org/namespace", value: "forged" },
        ],
      },
    };
    const invocation = parseCall(call({}, { ...CONF, args }));
    const pod = { ...podOf(invocation, where), node: "n-1", now: new Date("2026-11-22T12:00:00Z") };
    const addresses = [parseAddress("10.244.0.5"), parseAddress("fd00::5")];
    expect(endpointOf(invocation, pod, { addresses, mac: "02:00:00:00:00:01" })).toEqual({
      apiVersion: "margay.dev/v1",
      kind: "WorkloadEndpoint",
      metadata: {
        ...{ name: "n--1-k8s-web--1-eth0", namespace: "shop", creationTimestamp: "2026-11-22T12:00:00.000Z" },
        annotations: { "margay.dev/network": "margay", "margay.dev/netns": "/run/netns/pod" },
        labels: {
          app: "web",
          "projectcalico.org/namespace": "shop",
          "projectcalico.org/orchestrator": "k8s",
        },
      },
      spec: {
        ...{ orchestrator: "k8s", node: "n-1", containerID: "4f1c", endpoint: "eth0", pod: "web-1" },
        ipNetworks: ["10.244.0.5/32", "fd00::5/128"],
        ...{ ipv4Gateway: "169.254.1.1", ipv6Gateway: "fe80::ecee:eeff:feee:eeee", profiles: ["kns.shop"] },
        ...{ interfaceName: "cali751425ce827", mac: "02:00:00:00:00:01" },
      },
    });
  });
});

describe("results", () => {
  const made = {
    hostInterface: { name: "cali1", mac: "ee:ee:ee:ee:ee:ee" },
    podInterface: { name: "eth0", mac: "02:00:00:00:00:01", netns: "/run/netns/pod" },
    mtu: 1500,
    addresses: [parseAddress("10.244.0.5"), parseAddress("fd00::5")],
  };
  const routes = [
    { dst: "0.0.0.0/0", gw: "169.254.1.1" },
    { dst: "::/0", gw: "fe80::ecee:eeff:feee:eeee" },
  ];
  const host = { name: "cali1", mac: "ee:ee:ee:ee:ee:ee" };
  const pod = { name: "eth0", mac: "02:00:00:00:00:01", sandbox: "/run/netns/pod" };
  const plain = [
    { address: "10.244.0.5/32", interface: 1 },
    { address: "fd00::5/128", interface: 1 },
  ];
  const withFamily = [
    { version: "4", address: "10.244.0.5/32", interface: 1 },
    { version: "6", address: "fd00::5/128", interface: 1 },
  ];

  test.each([
    ["0.3.1", [host, pod], withFamily],
    ["0.4.0", [host, pod], withFamily],
    ["1.0.0", [host, pod], plain],
    [
      "1.1.0",
      [
        { ...host, mtu: 1500 },
        { ...pod, mtu: 1500 },
      ],
      plain,
    ],
  ] as const)("CNI %s", (cniVersion, interfaces, ips) => {
    const { exitCode, stdout } = formatResult({ ...made, cniVersion });
    expect([exitCode, JSON.parse(stdout)]).toEqual([0, { cniVersion, interfaces, ips, routes, dns: {} }]);
  });

  test("an error", () => {
    const error = new CniError("try-again-later", "not yet", { details: "wait" });
    const { exitCode, stdout } = formatError("1.0.0", error);
    expect([exitCode, JSON.parse(stdout)]).toEqual([
      1,
      { cniVersion: "1.0.0", code: 11, msg: "not yet", details: "wait" },
    ]);
  });
});
