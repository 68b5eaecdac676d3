/** From the session fields that BGPPeer and the configuration file share to what the speaker is told (pure). */
import { type SessionFields, secondsOf } from "@margay/api";
import type { PrefixLimit } from "@margay/bgp";
import type { Family } from "@margay/net";
import type { PolicyTerms, SessionTerms, WantedPeer } from "./config.ts";
import { policyOf } from "./policy-data.ts";

const number = { ipv4: 4, ipv6: 6 } as const satisfies Record<string, Family>;

type Terms = Pick<
  WantedPeer,
  | "passive"
  | "families"
  | "device"
  | "sessionTerms"
  | "policyTerms"
  | "longLivedSeconds"
  | "connectRetrySeconds"
>;

/** Nothing where nothing is wanted, so that peers that are told the same share an update group. */
export function termsOf(fields: SessionFields): Terms {
  const { passive, families, interface: device, longLivedStaleTime, connectRetryTime } = fields;
  return {
    ...(passive ? { passive } : {}),
    ...(families ? { families: families.map((f) => number[f]) } : {}),
    ...(device === undefined ? {} : { device }),
    ...(longLivedStaleTime === undefined ? {} : { longLivedSeconds: secondsOf(longLivedStaleTime) }),
    ...(connectRetryTime === undefined ? {} : { connectRetrySeconds: secondsOf(connectRetryTime) }),
    ...given("sessionTerms", sessionTerms(fields)),
    ...given("policyTerms", policyTerms(fields)),
  };
}

const given = <K extends string, V extends object>(name: K, value: V): { readonly [_ in K]?: V } =>
  (Object.keys(value).length > 0 ? { [name]: value } : {}) as { [_ in K]?: V }; // the one key is the type's

function sessionTerms(fields: SessionFields): SessionTerms {
  const { role, roleRequired, extendedNextHop, delayOpenTime, addPath } = fields;
  return {
    ...(role ? { role } : {}),
    ...(roleRequired ? { roleRequired } : {}),
    ...(extendedNextHop ? { extendedNextHop } : {}),
    ...(addPath ? { addPath: pathsOf(addPath) } : {}),
    ...(delayOpenTime === undefined ? {} : { delayOpenSeconds: secondsOf(delayOpenTime) }),
  };
}

const pathsOf = ({
  receive,
  send,
  sendMax,
}: NonNullable<SessionFields["addPath"]>): SessionTerms["addPath"] & object => ({
  ...(receive ? { receive } : {}),
  ...(send ? { send } : {}),
  ...(sendMax === undefined ? {} : { sendMax }),
});

function policyTerms(fields: SessionFields): PolicyTerms {
  const { maxPrefixes, removePrivateAs, enforceFirstAs, showBothAses, importPolicy, exportPolicy } = fields;
  return {
    ...(maxPrefixes
      ? { prefixLimits: { ...limitOf(4, maxPrefixes.ipv4), ...limitOf(6, maxPrefixes.ipv6) } }
      : {}),
    ...(removePrivateAs ? { removePrivateAs } : {}),
    ...(enforceFirstAs ? { enforceFirstAs } : {}),
    ...(showBothAses ? { showBothAses } : {}),
    ...(importPolicy ? { import: policyOf(importPolicy) } : {}),
    ...(exportPolicy ? { export: policyOf(exportPolicy) } : {}),
  };
}

type Limit = NonNullable<SessionFields["maxPrefixes"]>["ipv4"];

function limitOf(family: Family, limit: Limit): Partial<Record<Family, PrefixLimit>> {
  if (!limit) return {};
  const { max, warnPercent, restartAfter, warnOnly } = limit;
  const restart = restartAfter === undefined ? {} : { restartSeconds: secondsOf(restartAfter) };
  return { [family]: { max, warnPercent, exceeded: warnOnly ? "warn" : restart } };
}
