import { type Address, type Family, formatPrefix, NetError, parsePrefix } from "@margay/net";
import { z } from "zod";
import { type Configuration, hostOf } from "./configuration.ts";
import { CniError } from "./errors.ts";
import { type QosControls, qosOf } from "./qos.ts";

/** What is asked for one pod's network, by whoever may ask. */
export interface Wishes {
  /** These families only; absent: what the configuration says, else every family that has a pool. */
  readonly families: readonly Family[] | undefined;
  /** These very addresses, at most one of a family, from IPAM. */
  readonly addresses: readonly Address[];
  /** These addresses and no IPAM: somebody else sees to it that they are unique and routed. */
  readonly addressesWithoutIpam: readonly Address[];
  /** Names or CIDRs of pools; empty: every pool that suits the node. */
  readonly pools: Readonly<Record<Family, readonly string[]>>;
  /** MAC of the pod's end. */
  readonly mac: string | undefined;
  /** Further source addresses that the pod may use: canonical CIDRs. */
  readonly allowedSourcePrefixes: readonly string[];
  /** Addresses outside that stand for its own, one to one. */
  readonly floatingIPs: readonly Address[];
  /** Limits of its traffic. */
  readonly qos: QosControls | undefined;
}

type Annotations = Readonly<Record<string, string>>;

export interface Asking {
  /** Annotations of the pod, and of its namespace. */
  readonly pod: Annotations;
  readonly namespace: Annotations;
  readonly conf: Configuration;
  /** CNI_ARGS. */
  readonly args: Annotations;
}

/** Calico's, which people know, and the same under our own name, which wins. */
const PREFIXES = ["margay.dev/", "cni.projectcalico.org/"] as const;

/**
 * Pod before namespace before configuration (pure). Of addresses: the pod's annotation, then `args`, `runtimeConfig` and
 * CNI_ARGS' IP. Throws CniError 7 for an annotation that cannot be understood, 2 for one that is switched off,
 * 4 for CNI_ARGS.
 */
export function wishes({ pod, namespace, conf, args }: Asking): Wishes {
  const ofPod = reader("pod", pod);
  const both = (name: string) => ofPod(name) ?? reader("namespace", namespace)(name);
  const pools = (family: Family, configured: readonly string[] | undefined) =>
    both(`ipv${family}pools`)?.list() ?? configured ?? [];
  const families = ofPod("ipFamilies")?.each((text) => FAMILIES[text]);
  return {
    families,
    addresses: onePerFamily(ofPod("ipAddrs")?.each(hostOf) ?? asked(conf, args)),
    addressesWithoutIpam: onePerFamily(addressesIf("ip_addrs_no_ipam", ofPod("ipAddrsNoIpam"), conf)),
    pools: { 4: pools(4, conf.ipam?.ipv4_pools), 6: pools(6, conf.ipam?.ipv6_pools) },
    mac: ofPod("hwAddr")?.mac() ?? conf.args?.cni?.mac ?? conf.runtimeConfig?.mac ?? macIn(args),
    allowedSourcePrefixes:
      ofPod("allowedSourcePrefixes")?.each((text) => formatPrefix(parsePrefix(text, { mask: true }))) ?? [],
    floatingIPs: addressesIf("floating_ips", ofPod("floatingIPs"), conf),
    qos: qosOf(pod, namespace),
  };
}

const FAMILIES: Readonly<Record<string, Family>> = { IPv4: 4, IPv6: 6 };

/** One annotation, with what to call it when it is wrong. */
interface Annotation {
  readonly name: string;
  readonly text: string;
  readonly list: () => string[];
  /** Undefined and NetError are refusals. */
  readonly each: <T>(read: (text: string) => T | undefined) => T[];
  readonly mac: () => string;
}

const MAC = /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i;

const strings = z.array(z.string());

function reader(of: string, annotations: Annotations): (name: string) => Annotation | undefined {
  return (name) => {
    const full = PREFIXES.map((prefix) => prefix + name).find((one) => annotations[one] !== undefined);
    const text = full && annotations[full];
    if (full === undefined || text === undefined) return undefined;
    const bad = (why: string) =>
      new CniError(
        "invalid-configuration",
        `annotation ${full} of the ${of}: ${why}; found ${JSON.stringify(text)}`,
      );
    const list = () => {
      const parsed = strings.safeParse(json(text));
      if (!parsed.success) throw bad("must be a JSON list of strings");
      return parsed.data;
    };
    const one = <T>(word: string, read: (text: string) => T | undefined): T => {
      try {
        const value = read(word);
        if (value !== undefined) return value;
      } catch (error) {
        if (!(error instanceof NetError)) throw error;
        throw bad(error.message);
      }
      throw bad(`${JSON.stringify(word)} is none of the values there are`);
    };
    const mac = () => {
      if (MAC.test(text)) return text;
      throw bad("must be a MAC address");
    };
    return { name: full, text, list, each: (read) => list().map((word) => one(word, read)), mac };
  };
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // which is no list
  }
}

/** CNI conventions: `args`, the capability "ips", and CNI_ARGS' IP, one or more with commas. */
function asked(conf: Configuration, { IP }: Annotations): readonly Address[] {
  const given = conf.args?.cni?.ips ?? conf.runtimeConfig?.ips;
  if (given || !IP) return given ?? [];
  try {
    return IP.split(",").map(hostOf);
  } catch (error) {
    if (!(error instanceof NetError)) throw error;
    throw new CniError("invalid-environment", `CNI_ARGS: IP: ${error.message}`);
  }
}

/** CNI conventions: CNI_ARGS' MAC. */
function macIn({ MAC: text }: Annotations): string | undefined {
  if (text === undefined || MAC.test(text)) return text;
  throw new CniError(
    "invalid-environment",
    `CNI_ARGS: MAC must be a MAC address; found ${JSON.stringify(text)}`,
  );
}

/** Of an annotation that the configuration has to allow. */
function addressesIf(
  feature: "ip_addrs_no_ipam" | "floating_ips",
  annotation: Annotation | undefined,
  conf: Configuration,
): Address[] {
  if (!annotation) return [];
  if (conf.feature_control?.[feature]) return annotation.each(hostOf);
  throw new CniError(
    "unsupported-field",
    `annotation ${annotation.name} = ${annotation.text} is switched off`,
    {
      details: `The network configuration's "feature_control": {"${feature}": true} allows it.`,
    },
  );
}

function onePerFamily(addresses: readonly Address[]): readonly Address[] {
  if (new Set(addresses.map(({ family }) => family)).size === addresses.length) return addresses;
  throw new CniError("invalid-configuration", "more than one address of a family is asked for");
}
