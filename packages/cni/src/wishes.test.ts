import { describe, expect, test } from "@jest/globals";
import { formatAddress } from "@margay/net";
import { configuration } from "./configuration.ts";
import { CNI_CODES, CniError } from "./errors.ts";
import { type Wishes, wishes } from "./wishes.ts";

const conf = (more: object = {}) => configuration.parse({ name: "net", ...more });
const C = "cni.projectcalico.org/";
type Given = { pod?: object; namespace?: object; conf?: object; args?: object };
const ask = ({ pod = {}, namespace = {}, conf: more = {}, args = {} }: Given) =>
  wishes({ pod, namespace, conf: conf(more), args } as Parameters<typeof wishes>[0]); // rows are plain text
const told = ({ addresses, addressesWithoutIpam, floatingIPs, ...rest }: Wishes) => ({
  ...rest,
  floatingIPs: floatingIPs.map(formatAddress),
  addresses: addresses.map(formatAddress),
  addressesWithoutIpam: addressesWithoutIpam.map(formatAddress),
});

describe("who is heard", () => {
  test("nobody asks for anything", () => {
    expect(told(ask({}))).toEqual({
      ...{ families: undefined, addresses: [], addressesWithoutIpam: [], pools: { 4: [], 6: [] } },
      ...{ mac: undefined, allowedSourcePrefixes: [], floatingIPs: [], qos: undefined },
    });
  });

  const ipam = { ipam: { ipv4_pools: ["conf"] } };
  const ips = { args: { cni: { ips: ["10.0.0.2"] } }, runtimeConfig: { ips: ["10.0.0.3/24"] } };
  test.each<[why: string, given: Given, expected: Partial<ReturnType<typeof told>>]>([
    ["pools: the configuration", { conf: ipam }, { pools: { 4: ["conf"], 6: [] } }],
    [
      "pools: the namespace before it",
      { conf: ipam, namespace: { [`${C}ipv4pools`]: '["ns"]' } },
      { pools: { 4: ["ns"], 6: [] } },
    ],
    [
      "pools: the pod before that, each family by itself",
      {
        namespace: { [`${C}ipv4pools`]: '["ns"]', [`${C}ipv6pools`]: '["ns6"]' },
        pod: { [`${C}ipv4pools`]: '["pod"]' },
      },
      { pools: { 4: ["pod"], 6: ["ns6"] } },
    ],
    [
      "our name before Calico's",
      { pod: { [`${C}ipv4pools`]: '["theirs"]', "margay.dev/ipv4pools": '["ours"]' } },
      { pools: { 4: ["ours"], 6: [] } },
    ],
    ["addresses: CNI_ARGS", { args: { IP: "10.0.0.4,fd00::4" } }, { addresses: ["10.0.0.4", "fd00::4"] }],
    [
      "addresses: runtimeConfig before it",
      { conf: { runtimeConfig: ips.runtimeConfig }, args: { IP: "10.0.0.4" } },
      { addresses: ["10.0.0.3"] },
    ],
    ["addresses: args before that", { conf: ips }, { addresses: ["10.0.0.2"] }],
    [
      "addresses: the pod before all",
      { conf: ips, pod: { [`${C}ipAddrs`]: '["10.0.0.1"]' } },
      { addresses: ["10.0.0.1"] },
    ],
    [
      "addresses: a namespace has none to give",
      { namespace: { [`${C}ipAddrs`]: '["10.0.0.1"]' } },
      { addresses: [] },
    ],
    ["families", { pod: { [`${C}ipFamilies`]: '["IPv6"]' } }, { families: [6] }],
    [
      "MAC: args, where the plugin tuning reads it, before the runtime",
      { conf: { args: { cni: { mac: "02:00:00:00:00:01" } }, runtimeConfig: { mac: "02:00:00:00:00:02" } } },
      { mac: "02:00:00:00:00:01" },
    ],
    [
      "MAC: the pod before the runtime",
      { pod: { [`${C}hwAddr`]: "02:00:00:00:00:01" }, conf: { runtimeConfig: { mac: "02:00:00:00:00:02" } } },
      { mac: "02:00:00:00:00:01" },
    ],
    [
      "sources, canonical",
      { pod: { [`${C}allowedSourcePrefixes`]: '["192.0.2.7/24", "2001:DB8::/32"]' } },
      { allowedSourcePrefixes: ["192.0.2.0/24", "2001:db8::/32"] },
    ],
    [
      "no IPAM, when that is allowed",
      {
        pod: { [`${C}ipAddrsNoIpam`]: '["10.0.0.9"]' },
        conf: { feature_control: { ip_addrs_no_ipam: true } },
      },
      { addressesWithoutIpam: ["10.0.0.9"] },
    ],
    [
      "floating addresses, when they are allowed",
      {
        pod: { [`${C}floatingIPs`]: '["192.0.2.9", "2001:DB8::9"]' },
        conf: { feature_control: { floating_ips: true } },
      },
      { floatingIPs: ["192.0.2.9", "2001:db8::9"] },
    ],
  ])("%s", (_why, given, expected) => {
    expect(told(ask(given))).toMatchObject(expected);
  });
});

describe("what cannot be", () => {
  test.each<[why: string, given: Given, code: number, message: string]>([
    [
      "no JSON",
      { pod: { [`${C}ipAddrs`]: "10.0.0.1" } },
      7,
      `annotation ${C}ipAddrs of the pod: must be a JSON list of strings; found "10.0.0.1"`,
    ],
    ["no address", { pod: { [`${C}ipAddrs`]: '["10.0.0.300"]' } }, 7, "10.0.0.300"],
    [
      "two of a family",
      { pod: { [`${C}ipAddrs`]: '["10.0.0.1","10.0.0.2"]' } },
      7,
      "more than one address of a family",
    ],
    [
      "no such family",
      { pod: { [`${C}ipFamilies`]: '["IPv5"]' } },
      7,
      '"IPv5" is none of the values there are',
    ],
    [
      "no list of the namespace's",
      { namespace: { [`${C}ipv4pools`]: "{}" } },
      7,
      "of the namespace: must be a JSON list",
    ],
    ["no MAC", { pod: { [`${C}hwAddr`]: "02" } }, 7, "must be a MAC address"],
    ["no MAC in CNI_ARGS", { args: { MAC: "02" } }, 4, 'CNI_ARGS: MAC must be a MAC address; found "02"'],
    ["no IP in CNI_ARGS", { args: { IP: "x" } }, 4, "CNI_ARGS: IP"],
    [
      "switched off",
      { pod: { [`${C}ipAddrsNoIpam`]: '["10.0.0.9"]' } },
      2,
      `annotation ${C}ipAddrsNoIpam = ["10.0.0.9"] is switched off`,
    ],
    [
      "floating addresses, switched off",
      { pod: { [`${C}floatingIPs`]: '["192.0.2.9"]' } },
      2,
      `annotation ${C}floatingIPs = ["192.0.2.9"] is switched off`,
    ],
  ])("%s", (_why, given, code, message) => {
    expect.assertions(2);
    try {
      ask(given);
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      expect(CNI_CODES[error.code]).toBe(code);
      expect(error.message).toContain(message);
    }
  });
});

describe("limits of traffic", () => {
  const Q = "qos.projectcalico.org/";
  test.each<[why: string, pod: Record<string, string>, expected: object]>([
    [
      "Kubernetes' quantities",
      { [`${Q}ingressBandwidth`]: "10M", [`${Q}ingressBurst`]: "64Ki" },
      { ingressBandwidth: 10_000_000, ingressBurst: 65_536 },
    ],
    [
      "the bandwidth plugin's names",
      { "kubernetes.io/egress-bandwidth": "1.5G" },
      { egressBandwidth: 1_500_000_000 },
    ],
    [
      "Calico's before those",
      { "kubernetes.io/egress-bandwidth": "1M", [`${Q}egressBandwidth`]: "2M" },
      { egressBandwidth: 2_000_000 },
    ],
    [
      "ours before Calico's",
      { "qos.margay.dev/egressBandwidth": "3M", [`${Q}egressBandwidth`]: "2M" },
      { egressBandwidth: 3_000_000 },
    ],
    [
      "connections, and a code point by its name",
      { [`${Q}ingressMaxConnections`]: "1k", [`${Q}egressMaxConnections`]: "7", [`${Q}dscp`]: "af41" },
      { ingressMaxConnections: 1000, egressMaxConnections: 7, dscp: 34 },
    ],
    ["a code point by number, the first one", { [`${Q}dscp`]: "0" }, { dscp: 0 }],
  ])("%s", (_why, pod, expected) => expect(ask({ pod }).qos).toEqual(expected));

  test("the namespace's count where the pod has none; a burst goes with its own bandwidth", () => {
    const namespace = {
      ...{ [`${Q}egressBandwidth`]: "9M", [`${Q}egressBurst`]: "1M", [`${Q}egressPacketRate`]: "5" },
      [`${Q}dscp`]: "EF",
    };
    const pod = { [`${Q}egressBandwidth`]: "3M" };
    expect(ask({ pod, namespace }).qos).toEqual({ egressBandwidth: 3e6, egressPacketRate: 5, dscp: 46 });
  });

  test.each<[why: string, pod: Record<string, string>, code: number, words: RegExp]>([
    [
      "no quantity",
      { [`${Q}ingressBandwidth`]: "fast" },
      7,
      /ingressBandwidth must be a quantity between 1k and 1P.*"fast"/,
    ],
    ["too little", { [`${Q}ingressBandwidth`]: "100" }, 7, /between 1k and 1P/],
    ["a burst of nothing", { [`${Q}egressBurst`]: "1M" }, 7, /egressBurst needs egressBandwidth/],
    [
      "a burst no faster than the rest",
      { [`${Q}egressBandwidth`]: "1M", [`${Q}egressPeakrate`]: "1M" },
      7,
      /egressPeakrate must be more than egressBandwidth/,
    ],
    [
      "too many packets",
      { [`${Q}egressPacketRate`]: "20k" },
      7,
      /egressPacketRate must be a quantity between 1 and 10k/,
    ],
    [
      "a packet burst of nothing",
      { [`${Q}egressPacketBurst`]: "9" },
      7,
      /egressPacketBurst needs egressPacketRate/,
    ],
    ["no code point", { [`${Q}dscp`]: "AF14" }, 7, /dscp must be 0 to 63 or a name/],
    ["a code point too high", { [`${Q}dscp`]: "64" }, 7, /found "64"/],
    ["no connection at all", { [`${Q}egressMaxConnections`]: "0" }, 7, /between 1 and 4294967295/],
  ])("%s", (_why, pod, code, words) => {
    const refusal = (() => {
      try {
        return ask({ pod });
      } catch (error) {
        return error;
      }
    })();
    expect(refusal).toBeInstanceOf(CniError);
    expect(CNI_CODES[(refusal as CniError).code]).toBe(code);
    expect((refusal as CniError).message).toMatch(words);
  });
});
