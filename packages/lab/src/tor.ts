import { mkdirSync, writeFileSync } from "node:fs";
import { must, until } from "./exec.ts";
import { namespacePath } from "./fabric.ts";
import { bare, type LabNode, NODE_AS, OUTSIDE, placeIn, TOR } from "./places.ts";
import type { ProcessSpec } from "./processes.ts";

const FOLDER = "/run/bird"; // where birdc looks by itself, as in `lab exec tor -- birdc`
const CONTROL = `${FOLDER}/bird.ctl`;

/** BIRD's configuration: one eBGP session per node carrying both families; it announces the outside and learns the pods. Pure. */
export function birdConfiguration(nodes: readonly LabNode[]): string {
  const router = bare(TOR.ipv4);
  const outside = `[ ${OUTSIDE.ipv4} ]`;
  const outside6 = `[ ${OUTSIDE.ipv6} ]`;
  return `# made by margay lab
log stderr all;
router id ${router};
protocol device { scan time 10; }
protocol direct { interface "lo"; ipv4; ipv6; }
protocol kernel kernel4 { merge paths on; ipv4 { import none; export where source = RTS_BGP; }; }
protocol kernel kernel6 { merge paths on; ipv6 { import none; export where source = RTS_BGP; }; }
template bgp node {
  local ${router} as ${TOR.as};
  neighbor as ${NODE_AS};
  connect delay time 1;
  connect retry time 2;
  error wait time 1, 4;
  ipv4 { import all; export where net ~ ${outside}; next hop self; };
  ipv6 { import all; export where net ~ ${outside6}; next hop self; next hop address ${bare(TOR.ipv6)}; };
}
${nodes.map(session).join("\n")}
`;
}

/** Over its address in the node's subnet. */
function session({ name, ipv4, subnet = 0 }: LabNode): string {
  const { ipv4: own, ipv6: own6 } = placeIn(subnet, 2);
  const here = ` local ${bare(own)} as ${TOR.as}; ipv6 { next hop address ${bare(own6)}; };`;
  return `protocol bgp ${name} from node {${subnet === 0 ? "" : here} neighbor ${bare(ipv4)}; }`;
}

/** Writes the configuration; @returns the process to start. */
export function bird(nodes: readonly LabNode[]): ProcessSpec {
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(`${FOLDER}/bird.conf`, birdConfiguration(nodes));
  const command = ["bird", "-f", "-c", `${FOLDER}/bird.conf`, "-s", CONTROL, "-P", `${FOLDER}/bird.pid`];
  return { name: "tor/bird", command, namespace: namespacePath(TOR.name) };
}

export const birdc = (words: string): Promise<string> =>
  must(["birdc", "-r", "-s", CONTROL, ...words.split(" ")]);

/** Resolves when BIRD answers. */
export async function birdReady(): Promise<void> {
  const ask = () => birdc("show status").catch(() => undefined);
  await until(ask, { timeoutMs: 60_000, what: "BIRD (the ToR) does not answer" });
}

export interface BirdSession {
  readonly name: string;
  readonly state: string;
  readonly imported: number;
  readonly exported: number;
}

/** The BGP sessions in BIRD's `show protocols all`. Pure. */
export function birdSessions(text: string): BirdSession[] {
  return text.split(/\n(?=\S)/).flatMap((block) => {
    const [name = "", protocol] = block.split(/\s+/);
    if (protocol !== "BGP") return [];
    const state = /BGP state:\s+(\S+)/.exec(block)?.[1] ?? "unknown";
    const routes = [...block.matchAll(/Routes:\s+(\d+) imported,(?: \d+ filtered,)? (\d+) exported/g)];
    const sum = (group: number) => routes.reduce((total, match) => total + Number(match[group]), 0);
    return [{ name, state, imported: sum(1), exported: sum(2) }];
  });
}
