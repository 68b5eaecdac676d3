/** The rows of the BGP comparison: who feeds what to whom, what happens then, and what the project wants of it. */

/** A simulated peer. */
export interface Peer {
  readonly address: string;
  readonly as: number;
  /** Tables that it announces: the first prefix, how many, and the AS path length. */
  readonly feeds?: { readonly first: number; readonly count: number; readonly hops: number };
  /** Prefixes that it must hear; with `hops`, only those of so long a path count. */
  readonly wants?: { readonly count: number; readonly hops?: number };
  /** It connects only once all others have heard what they want. */
  readonly late?: true;
}

/**
 * What the clock runs for: until all have heard what they want, from the feed on or, `cold`, from the first connection, each peer
 * feeding as soon as it is up; or, after that: until the feeder's routes are withdrawn everywhere; until late peers have heard
 * all; or for each of some prefixes that change.
 */
export type Work = "feed" | "cold" | "flap" | "join" | "churn";

/** Margay's time against that of another daemon, in percent. */
export interface Against {
  readonly daemon: "bird" | "frr";
  readonly atMost: number;
  /** The other one is measured too: it takes less than ten seconds for this. */
  readonly beside?: "bird" | "frr";
}

export interface Row {
  readonly name: string;
  readonly work: Work;
  readonly peers: readonly Peer[];
  /** Peers are our own, clients of the reflector under test. */
  readonly reflects: boolean;
  /** Prefixes in the table. */
  readonly prefixes: number;
  readonly against: Against;
  /** Resident bytes for each prefix. */
  readonly bytesAtMost?: number;
  /** Resident memory in MB. */
  readonly residentAtMost?: number;
}

export const localAs = 65000;
const address = (n: number): string => `127.1.${n >> 8}.${n & 255}`;

/** The rows; a tenth of the size with `quick`. */
export function rows(quick: boolean): readonly Row[] {
  const size = (n: number) => (quick ? n / 10 : n);
  const [million, fifth, tenth] = [size(1_000_000), size(200_000), size(100_000)];
  return [
    {
      name: "bgp-ingest",
      work: "feed",
      reflects: false,
      prefixes: million,
      peers: [
        { address: address(1), as: 65101, feeds: { first: 0, count: million, hops: 4 } },
        { address: address(2), as: 65102, wants: { count: million } },
      ],
      against: { daemon: "bird", atMost: 80 },
      bytesAtMost: 200,
    },
    {
      name: "bgp-overlap",
      work: "feed",
      reflects: false,
      prefixes: fifth,
      peers: [
        ...[4, 4, 3, 4, 4].map((hops, i) => ({
          ...{ address: address(i + 1), as: 65101 + i, feeds: { first: 0, count: fifth, hops } },
        })),
        // Ours in front makes it one longer.
        { address: address(9), as: 65109, wants: { count: fifth, hops: 4 } },
      ],
      against: { daemon: "bird", atMost: 80, beside: "frr" },
    },
    reflected("bgp-reflect", {
      work: "feed",
      prefixes: fifth,
      sinks: 50,
      against: { daemon: "frr", atMost: 60, beside: "bird" },
    }),
    {
      ...mesh("bgp-mesh", { work: "feed", nodes: size(1000), against: { daemon: "frr", atMost: 80 } }),
      residentAtMost: 200,
    },
    mesh("bgp-restart", {
      work: "cold",
      nodes: size(500),
      against: { daemon: "frr", atMost: 60, beside: "bird" },
    }),
    reflected("bgp-churn", {
      work: "churn",
      prefixes: tenth,
      sinks: 20,
      against: { daemon: "bird", atMost: 50 },
    }),
    reflected("bgp-flap", {
      work: "flap",
      prefixes: fifth,
      sinks: 20,
      against: { daemon: "bird", atMost: 110, beside: "frr" },
    }),
    reflected("bgp-join", {
      work: "join",
      prefixes: fifth,
      sinks: 20,
      against: { daemon: "frr", atMost: 50 },
    }),
  ];
}

interface Reflected extends Pick<Row, "work" | "prefixes" | "against"> {
  readonly sinks: number;
}

/** One client feeds all others; with `join`, all but the first come late. */
function reflected(name: string, { sinks, ...rest }: Reflected): Row {
  const { prefixes, work } = rest;
  return {
    ...{ name, reflects: true, ...rest },
    peers: [
      { address: address(1), as: localAs, feeds: { first: 0, count: prefixes, hops: 4 } },
      ...Array.from({ length: sinks }, (_, i) => ({
        ...{ address: address(i + 2), as: localAs, wants: { count: prefixes } },
        ...(work === "join" && i > 0 ? { late: true as const } : {}),
      })),
    ],
  };
}

/** Nodes with 16 blocks each, clients of one reflector, want all blocks of the others. */
function mesh(
  name: string,
  { nodes, ...rest }: Pick<Row, "work" | "against"> & { readonly nodes: number },
): Row {
  return {
    ...{ name, reflects: true, prefixes: nodes * 16, ...rest },
    peers: Array.from({ length: nodes }, (_, i) => ({
      ...{ address: address(i + 1), as: localAs },
      ...{ feeds: { first: i * 16, count: 16, hops: 0 }, wants: { count: (nodes - 1) * 16 } },
    })),
  };
}
