import { type Address, contains, type Family, formatAddress, parsePrefix, sameAddress } from "@margay/net";

/** An address of the node's own, as the kernel has it. */
export interface Candidate {
  readonly dev: string;
  readonly address: Address;
  /** Bits of its network. */
  readonly length: number;
}

/** How the node's own address is found: Calico's methods and names. */
export type Method =
  | { readonly kind: "none" | "first-found" | "kubernetes-internal-ip" }
  | { readonly kind: "interface" | "skip-interface"; readonly patterns: readonly RegExp[] }
  | { readonly kind: "cidr"; readonly cidrs: readonly ReturnType<typeof parsePrefix>[] }
  | { readonly kind: "can-reach"; readonly target: string };

/** Interfaces that never bear a node's own address (calico.md §7.2). */
const NEVER =
  /^(lo|docker|cbr|dummy|virbr|lxcbr|veth|cali|tunl|vxlan|flannel|kube-ipvs|cni|nodelocaldns|br-|wireguard|ipvs)/;

/** "interface=eth.*,ens3", "cidr=10.0.0.0/8", "can-reach=192.0.2.1", ... Throws Error for any other text. */
export function parseMethod(text: string): Method {
  const [kind = "", value = ""] = text.split(/=(.*)/s);
  const list = value.split(",").map((word) => word.trim());
  if (kind === "none" || kind === "first-found" || kind === "kubernetes-internal-ip") return { kind };
  if ((kind === "interface" || kind === "skip-interface") && value)
    return { kind, patterns: list.map((word) => new RegExp(`^(?:${word})$`)) };
  if (kind === "cidr" && value) return { kind, cidrs: list.map((word) => parsePrefix(word, { mask: true })) };
  if (kind === "can-reach" && value) return { kind, target: value };
  throw new Error(
    `"${text}" is none of kubernetes-internal-ip, first-found, interface=REGEX, skip-interface=REGEX, cidr=CIDR, can-reach=ADDRESS, none`,
  );
}

export interface Surroundings {
  /** In the kernel's order, of addresses of global scope on interfaces that are up. */
  readonly candidates: readonly Candidate[];
  /** The Kubernetes node's InternalIPs. */
  readonly internal: readonly Address[];
  /** The source address towards the target of can-reach. */
  readonly towards?: Address | undefined;
}

/** The node's address of a family with its subnet, or undefined (pure). The same surroundings give the same answer. */
export function nodeAddress(method: Method, family: Family, { candidates, internal, towards }: Surroundings) {
  const own = candidates.filter(
    // a lone address is a VIP, as keepalived's, unless nothing else is asked for
    ({ address, dev, length }) =>
      address.family === family && (!NEVER.test(dev) || method.kind === "interface") && length > 0,
  );
  const exact = (wanted: Address | undefined) =>
    wanted && candidates.find(({ address }) => sameAddress(address, wanted));
  const found = (): Candidate | undefined => {
    switch (method.kind) {
      case "none":
        return undefined;
      case "first-found":
        return preferred(own);
      case "kubernetes-internal-ip":
        return exact(internal.find((address) => address.family === family));
      case "interface":
        return method.patterns.map((one) => preferred(own.filter(({ dev }) => one.test(dev)))).find(Boolean);
      case "skip-interface":
        return preferred(own.filter(({ dev }) => !method.patterns.some((one) => one.test(dev))));
      case "cidr":
        return method.cidrs
          .map((cidr) => preferred(own.filter(({ address }) => contains(cidr, address))))
          .find(Boolean);
      case "can-reach":
        return towards?.family === family ? exact(towards) : undefined;
    }
  };
  const chosen = found();
  return chosen && `${formatAddress(chosen.address)}/${chosen.length}`;
}

/** What to say of a method by which the node has no address of a family; undefined where Kubernetes may yet tell one (pure). */
export function unfound(text: string, family: Family, candidates: readonly Candidate[]): string | undefined {
  if (["none", "kubernetes-internal-ip"].includes(parseMethod(text).kind)) return undefined;
  const own = candidates.filter(({ address }) => address.family === family);
  const words = own.map(({ dev, address, length }) => `${dev} ${formatAddress(address)}/${length}`);
  return `"${text}" is none of this node's IPv${family} addresses (${words.join(", ") || "there are none"}): without one it speaks no BGP`;
}

/** An address with a subnet before a lone one: the latter is a virtual address, as keepalived's. */
const preferred = (all: readonly Candidate[]): Candidate | undefined =>
  all.find(({ address, length }) => length < (address.family === 4 ? 32 : 128)) ?? all[0];
