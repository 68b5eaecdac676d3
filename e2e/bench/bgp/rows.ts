/** The headline rows of the BGP comparison: who feeds what to whom, and what the project wants of them. */

/** A simulated peer. */
export interface Peer {
  readonly address: string;
  readonly as: number;
  /** Tables that it announces: the first prefix, how many, and the AS path length. */
  readonly feeds?: { readonly first: number; readonly count: number; readonly hops: number };
  /** Prefixes that it must hear; with `hops`, only those of so long a path count. */
  readonly wants?: { readonly count: number; readonly hops?: number };
}

export interface Row {
  readonly name: string;
  readonly peers: readonly Peer[];
  /** Peers are our own, clients of the reflector under test. */
  readonly reflects: boolean;
  /** Every peer feeds as soon as it is up, and the clock runs from the first connection: a reflector that restarts. */
  readonly cold?: true;
  /** Prefixes in the table. */
  readonly prefixes: number;
  /** Margay's time against that of this daemon, in percent. */
  readonly against: { readonly daemon: "bird" | "frr"; readonly atMost: number };
  /** Resident bytes for each prefix. */
  readonly bytesAtMost?: number;
}

export const localAs = 65000;
const address = (n: number): string => `127.1.${n >> 8}.${n & 255}`;

/** The rows; a tenth of the size with `quick`. */
export function rows(quick: boolean): readonly Row[] {
  const size = (n: number) => (quick ? n / 10 : n);
  const [million, fifth] = [size(1_000_000), size(200_000)];
  const nodes = size(500);
  return [
    {
      name: "bgp-ingest",
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
      reflects: false,
      prefixes: fifth,
      peers: [
        ...[4, 4, 3, 4, 4].map((hops, i) => ({
          ...{ address: address(i + 1), as: 65101 + i, feeds: { first: 0, count: fifth, hops } },
        })),
        // Ours in front makes it one longer.
        { address: address(9), as: 65109, wants: { count: fifth, hops: 4 } },
      ],
      against: { daemon: "bird", atMost: 80 },
    },
    {
      name: "bgp-reflect",
      reflects: true,
      prefixes: fifth,
      peers: [
        { address: address(1), as: localAs, feeds: { first: 0, count: fifth, hops: 4 } },
        ...Array.from({ length: 50 }, (_, i) => ({
          ...{ address: address(i + 2), as: localAs, wants: { count: fifth } },
        })),
      ],
      against: { daemon: "frr", atMost: 60 },
    },
    {
      name: "bgp-restart",
      reflects: true,
      cold: true,
      prefixes: nodes * 16,
      peers: Array.from({ length: nodes }, (_, i) => ({
        ...{ address: address(i + 1), as: localAs },
        ...{ feeds: { first: i * 16, count: 16, hops: 0 }, wants: { count: (nodes - 1) * 16 } },
      })),
      against: { daemon: "frr", atMost: 60 },
    },
  ];
}
