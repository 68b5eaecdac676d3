/** From a wanted peer to what its session machine is configured with (pure). */
import type { Settings } from "@margay/bgp";
import { type Address, type Family, formatAddress } from "@margay/net";
import { isLinkLocal, type Self, type WantedPeer } from "./config.ts";
import { textOf } from "./text-of.ts";

const both = [4, 6] as const;

export interface SettingsInputs {
  readonly self: Self;
  /** The R bit: this speaker has restarted and waits for its peers (RFC 4724 §3). */
  readonly restarting: boolean;
  /** The F bit: what we forwarded before the session is forwarded still. */
  readonly forwarding: boolean;
  readonly connectRetrySeconds?: number | undefined;
  readonly idleHoldSeconds?: number | undefined;
  readonly sendHoldSeconds?: number | undefined;
}

export function settingsOf(wanted: WantedPeer, inputs: SettingsInputs): Settings {
  const { families = both, sessionTerms: terms } = wanted;
  const { self, restarting, forwarding, idleHoldSeconds = 1 } = inputs;
  const connectRetrySeconds = wanted.connectRetrySeconds ?? inputs.connectRetrySeconds ?? 5;
  const { longLivedSeconds: staleTimeSeconds } = wanted;
  return {
    localAs: wanted.localAs,
    peerAs: wanted.peerAs,
    bgpId: self.bgpId,
    holdTimeSeconds: wanted.holdTimeSeconds,
    ...{ connectRetrySeconds, idleHoldSeconds },
    ...(inputs.sendHoldSeconds === undefined ? {} : { sendHoldSeconds: inputs.sendHoldSeconds }),
    passive: wanted.passive ?? false,
    ...(terms?.delayOpenSeconds ? { delayOpenSeconds: terms.delayOpenSeconds } : {}),
    ...(terms?.roleRequired ? { roleRequired: true } : {}),
    capabilities: {
      ...(terms?.role ? { role: terms.role } : {}),
      ...(terms?.extendedNextHop ? { extendedNextHop: true } : {}),
      families,
      as4: wanted.localAs,
      routeRefresh: true,
      enhancedRouteRefresh: true,
      extendedMessage: true,
      gracefulRestart: {
        restarting,
        notification: true,
        restartTimeSeconds: wanted.restartTimeSeconds,
        families: families.map((family) => ({ family, forwarding })),
      },
      ...addPathOf(terms?.addPath, families),
      ...(staleTimeSeconds === undefined
        ? {}
        : { longLived: families.map((family) => ({ family, forwarding, staleTimeSeconds })) }),
    },
  };
}

/** RFC 7911 §4, for every family. */
function addPathOf(
  terms: NonNullable<WantedPeer["sessionTerms"]>["addPath"],
  families: readonly Family[],
): Pick<Settings["capabilities"], "addPath"> {
  const { receive = false, send = false } = terms ?? {};
  return receive || send ? { addPath: families.map((family) => ({ family, receive, send })) } : {};
}

/**
 * What makes a session: all but the policy that its routes are judged by, what only the next one needs, and the password, which
 * changes under it.
 */
export function sessionOf(wanted: WantedPeer) {
  const {
    name: _name,
    connectRetrySeconds: _retry,
    sessionTerms: { addPath, ...terms } = {},
    filters: _f,
    policyTerms: _p,
    nextHop: _n,
    allowedLocalAs: _a,
    warnings: _w,
    type: _t,
    password: _pw,
    ...rest
  } = wanted;
  const { receive = false, send = false } = addPath ?? {};
  return { ...rest, terms, receive, send };
}

/** What the peer goes by: its address, a link-local one with `%interface`; that alone while the address is not found out yet. */
export const keyOf = ({ unnumbered, device, address }: WantedPeer): string =>
  unnumbered && address.bits === 0n ? `%${device}` : keyFrom(address, device);

/** Whom a line of the log is about. Those who came by themselves are counted by their network, whose addresses may be many. */
export const inLog = (wanted: WantedPeer): { readonly peer: string; readonly range?: string } => ({
  peer: keyOf(wanted),
  ...(wanted.dynamic !== undefined && { range: wanted.dynamic }),
});

/** What a peer that comes from there goes by. */
export const keyFrom = (address: Address, device: string | undefined): string =>
  formatAddress(address) + (device !== undefined && isLinkLocal(address) ? `%${device}` : "");

export const same = (a: unknown, b: unknown): boolean => textOf(a) === textOf(b);
