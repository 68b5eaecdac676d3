import { controlGet } from "@margay/daemon";
import { runDir } from "./daemons.ts";
import type { Lab } from "./lab.ts";

/** One BGP session as a node's bgpd tells it on its control socket. */
export interface Session {
  readonly node: string;
  readonly peer: string;
  readonly as: number;
  readonly state: string;
  readonly received: number;
  readonly sent: number;
}

/** The sessions of all nodes, by node and peer. */
export async function sessions({ topology }: Lab): Promise<Session[]> {
  const perNode = topology.nodes.map(async ({ name }) => {
    const peers = (await controlGet(runDir(name), "bgpd", "/peers")) as Omit<Session, "node">[];
    return peers.map((peer) => ({ node: name, ...peer }));
  });
  return (await Promise.all(perNode)).flat();
}
