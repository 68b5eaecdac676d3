import { type Kind, kinds } from "./definitions.ts";

/** Kinds that Margay writes itself, or makes of other objects: in Kubernetes an object of theirs would have no effect. */
const WRITTEN_BY_US: ReadonlySet<Kind> = new Set<Kind>([
  ...(["Node", "WorkloadEndpoint", "Profile", "EndpointSlice", "Service"] as const),
  ...(["BlockAffinity", "IPAMBlock", "ClusterInformation"] as const),
]);

/** Kinds that people write, in Kubernetes as custom resources. */
export const customKinds: readonly Kind[] = kinds.filter((kind) => !WRITTEN_BY_US.has(kind));
