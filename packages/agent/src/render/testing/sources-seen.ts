import { run } from "./pods.ts";

/** From where a datagram came. */
export interface Source {
  readonly address: string;
  readonly port: number;
}

/** The different sources whose datagrams to a port have reached a network namespace since the last call. */
export function sourcesSeen(namespace: string, port: number): () => Source[] {
  const nft = (words: string) => run(`ip netns exec ${namespace} nft ${words}`);
  const families = { ip: "ipv4_addr", ip6: "ipv6_addr" };
  nft("add table inet seen");
  nft("add chain inet seen in { type filter hook input priority 0 ; }");
  for (const [family, type] of Object.entries(families)) {
    nft(`add set inet seen from-${family} { type ${type} . inet_service ; flags dynamic ; }`);
    nft(`add rule inet seen in udp dport ${port} add @from-${family} { ${family} saddr . udp sport }`);
  }
  return () => {
    const found = [...nft("-n list ruleset").matchAll(/elements = \{ ([^}]+) \}/g)];
    for (const family of Object.keys(families)) nft(`flush set inet seen from-${family}`);
    return found.flatMap(([, list = ""]) => list.trim().split(/,\s*/)).map(sourceOf);
  };
}

function sourceOf(element: string): Source {
  const [address = "", port] = element.split(" . ");
  return { address, port: Number(port) };
}
