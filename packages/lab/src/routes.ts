import type { ResourceOf } from "@margay/api";
import { resources } from "@margay/datastore";
import { formatPrefix, parsePrefix } from "@margay/net";
import { must } from "./exec.ts";
import type { Lab } from "./lab.ts";
import { TOR } from "./places.ts";

export interface Block {
  readonly cidr: string;
  /** Undefined when no node has it. */
  readonly node: string | undefined;
  readonly used: number;
}

/** The address blocks in the datastore, by node. */
export async function blocks({ store }: Lab): Promise<Block[]> {
  return (await resources(store, "IPAMBlock").list()).map(({ spec }: ResourceOf<"IPAMBlock">) => ({
    cidr: spec.cidr,
    node: spec.affinity?.replace(/^host:/, ""),
    used: Object.keys(spec.allocations).length,
  }));
}

/** "n2 lacks 10.244.0.0/26" for every block that a kernel of another node, or, with BGP, the ToR's, has no route to. */
export async function missingRoutes(lab: Lab): Promise<string[]> {
  const all = await blocks(lab);
  const nodes = lab.topology.nodes.map(({ name }) => name);
  const places = [...nodes, ...(lab.options.bgp === false ? [] : [TOR.name])];
  const missing = await Promise.all(
    places.map(async (place) => {
      const known = await kernelRoutes(place);
      return all
        .filter(({ node, cidr }) => node !== place && !known.has(cidr))
        .map(({ cidr }) => `${place} lacks ${cidr}`);
    }),
  );
  return missing.flat();
}

/** Destinations in a namespace's main table, in canonical form; blackholes and the default route left out. */
async function kernelRoutes(namespace: string): Promise<Set<string>> {
  const list = async (family: "-4" | "-6") => {
    const text = await must(["ip", "-n", namespace, "-j", family, "route", "show"]);
    return JSON.parse(text || "[]") as { dst: string; type?: string }[];
  };
  const routes = [...(await list("-4")), ...(await list("-6"))];
  return new Set(
    routes
      .filter(({ dst, type }) => dst !== "default" && type !== "blackhole")
      .map(({ dst }) =>
        formatPrefix(parsePrefix(dst.includes("/") ? dst : `${dst}/${dst.includes(":") ? 128 : 32}`)),
      ),
  );
}
