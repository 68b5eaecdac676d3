import { type Kind, parseKey } from "@margay/api";
import type { Doubt } from "./doubt.ts";
import type { Inheritance } from "./inheritance.ts";
import { NAMESPACE } from "./scope.ts";

type Labels = Pick<Inheritance<unknown>, "labelsOf" | "valuesUnder">;

/** What each value that cannot be read may be, by what its key says and by the labels that others are known to bear. */
export function doubtsOf(keys: Iterable<string>, labels: Labels): readonly Doubt[] {
  return [...keys].sort().flatMap((key) => {
    const name = parseKey(key);
    return name ? (READERS[name.kind]?.({ ...name, key }, labels) ?? []) : [];
  });
}

interface Named {
  readonly key: string;
  readonly name: string;
  readonly namespace?: string;
}

const READERS: Partial<Record<Kind, (named: Named, labels: Labels) => readonly Doubt[]>> = {
  WorkloadEndpoint: ({ key, namespace }) => [endpoint(key, namespace)],
  HostEndpoint: ({ key }) => [endpoint(key, undefined)],
  NetworkSet: ({ key, namespace = "" }, { labelsOf }) => {
    const inherited = labelsOf(`kns.${namespace}`);
    const known = { ...inherited, [NAMESPACE]: namespace };
    return [
      { ...endpoint(key, namespace), known, inheritsNothing: inherited !== undefined, hasPorts: false },
    ];
  },
  GlobalNetworkSet: ({ key }) => [{ ...endpoint(key, undefined), inheritsNothing: true, hasPorts: false }],
  // Those that name the profile: each bears its own labels, and may bear any other.
  Profile: ({ key, name }, { valuesUnder }) =>
    [...valuesUnder(name, NAMESPACE)].sort().map((namespace) => endpoint(key, namespace)),
  EndpointSlice: ({ key }) => [{ ...endpoint(key, undefined), among: "services" }],
  Node: ({ key }) => [{ ...endpoint(key, undefined), among: "nodes" }],
};

/** All that is known of an endpoint is whether it is in a namespace, and in which. */
const endpoint = (subject: string, namespace: string | undefined): Doubt => ({
  ...{ subject, among: "endpoints", inheritsNothing: false, hasPorts: true },
  known: namespace === undefined ? {} : { [NAMESPACE]: namespace },
  absent: namespace === undefined ? [NAMESPACE] : [],
});
