import type { AnyResource } from "./definitions.ts";
import { type BGPSettings, bgpSettings } from "./resources/bgp-configuration.ts";
import { type FelixSettings, felixSettings } from "./resources/felix-configuration.ts";

interface Settings {
  readonly FelixConfiguration: FelixSettings;
  readonly BGPConfiguration: BGPSettings;
}

const schemas = { FelixConfiguration: felixSettings, BGPConfiguration: bgpSettings };

/**
 * What `node` goes by: the object `default`, each field overridden by that of `node.<node>`, and built-in defaults for
 * the rest. `resources` may hold anything; only those two objects of `kind` count.
 */
export function effective<K extends keyof Settings>(
  kind: K,
  resources: Iterable<AnyResource>,
  node: string,
): Settings[K] {
  const specs = new Map<string, object>();
  for (const { kind: actual, metadata, spec } of resources)
    if (actual === kind) specs.set(metadata.name, spec);
  const merged = { ...specs.get("default"), ...specs.get(`node.${node}`) };
  // Each field was validated when its object was stored; parsing only adds defaults. The table pairs kind and type.
  return schemas[kind].parse(merged) as Settings[K];
}
