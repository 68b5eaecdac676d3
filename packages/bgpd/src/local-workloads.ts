/** Peers that are pods of this node (pure), calico.md §5.3: each peers with an address that every node has, for this alone. */
import { evaluate, parseSelector } from "@margay/api";
import { type Address, type Family, formatAddress, type Prefix, parseAddress } from "@margay/net";
import { isLinkLocal, type WantedPeer } from "./config.ts";
import { networksOf } from "./originate.ts";
import { commonOf, type Extras, isClient, type Scene } from "./peer-session.ts";

/** A session with each selected pod for each family that it has an address in, about routes of that family. */
export function localWorkloads(selector: string, scene: Scene, extras: Extras): WantedPeer[] {
  const { localWorkloadPeeringIPV4: own4, localWorkloadPeeringIPV6: own6 } = scene.settings;
  const isSelected = parseSelector(selector);
  return scene.endpoints
    .filter(({ metadata, spec }) => spec.node === scene.self && evaluate(isSelected, metadata.labels ?? {}))
    .flatMap((endpoint) => {
      const { metadata, spec } = endpoint;
      const name = `${metadata.namespace}/${spec.pod ?? spec.workload ?? metadata.name}`;
      return networksOf(endpoint).flatMap((pod) => {
        const own = pod.family === 4 ? own4 : own6;
        if (own === undefined && (own4 ?? own6) !== undefined) return []; // only the other family is wanted
        return [
          localWorkload({ name, pod, own: own === undefined ? undefined : parseAddress(own) }, scene, extras),
        ];
      });
    });
}

function localWorkload(
  { name, pod, own }: { readonly name: string; readonly pod: Prefix; readonly own: Address | undefined },
  scene: Scene,
  extras: Extras,
): WantedPeer {
  const { family, bits } = pod;
  const peerAs = extras.spec?.asNumber ?? scene.settings.asNumber;
  const problem = problemOf(family, own);
  const common = commonOf({ peerAs }, scene, { ...(problem ? { problem } : {}), ...extras });
  return {
    ...{ name, address: { family, bits }, port: 179, peerAs, isLocalWorkload: true },
    ...{ families: [family], ...common },
    ...(own ? { localAddress: own } : {}),
    client: common.localAs === peerAs && isClient(scene.me, undefined),
  };
}

function problemOf(family: Family, own: Address | undefined): string | undefined {
  if (!own) return `BGPConfiguration names no localWorkloadPeeringIPV${family}`;
  return isLinkLocal(own) ? `localWorkloadPeeringIPV6 ${formatAddress(own)} is link-local` : undefined; // `lo` is no pod's link
}

/** The addresses that pods peer with, by text; none where no pod does. */
export const peeringAddresses = (peers: ReadonlyMap<string, WantedPeer>): ReadonlyMap<string, Address> =>
  new Map(
    [...peers.values()].flatMap(({ isLocalWorkload, localAddress }) =>
      isLocalWorkload && localAddress && !isLinkLocal(localAddress)
        ? [[formatAddress(localAddress), localAddress] as const]
        : [],
    ),
  );
