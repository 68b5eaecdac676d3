import { controlGet } from "@margay/daemon";
import type { Lab } from "./lab.ts";
import { runDir } from "./places.ts";

/** One BGP session as a node's bgpd tells it on its control socket. */
export interface Session {
  readonly node: string;
  readonly name: string;
  readonly as: number;
  readonly state: string;
  readonly received: number;
  readonly sent: number;
}

/** The sessions of all nodes, by node and peer. Throws ControlError when a bgpd cannot be asked. */
export async function sessions({ topology, options }: Lab): Promise<Session[]> {
  if (options.bgp === false) return [];
  const perNode = topology.nodes.map(async ({ name: node }) => {
    const peers = (await controlGet(runDir(node), "bgpd", "/peers")) as Omit<Session, "node">[];
    return peers.map((peer) => ({ ...peer, node }));
  });
  return (await Promise.all(perNode)).flat();
}
