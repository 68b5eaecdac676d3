import {
  type AnyDefinition,
  type AnyResource,
  definitionOf,
  didYouMean,
  kinds,
  type Resource,
} from "@margay/api";
import { CtlError } from "./error.ts";

/** The definition of a kind as people write it. Throws CtlError `unknown-kind`, listing what there is. */
export function kindNamed(text: string): AnyDefinition {
  const definition = definitionOf(text);
  if (definition) return definition;
  const known = kinds
    .map((kind) => definitionOf(kind))
    .flatMap((d) => (d ? [[d.plural, ...d.aliases].join(", ")] : []));
  const meant = didYouMean(
    text.toLowerCase(),
    known.flatMap((names) => names.split(", ")),
  );
  throw new CtlError(
    "unknown-kind",
    `there is no kind "${text}"${meant || ";"} kinds and their short names:\n  ${known.join("\n  ")}`,
  );
}

/** "networkpolicy/shop/web", as -o name and messages write it. */
export const label = ({ kind, metadata }: Pick<Resource | AnyResource, "kind" | "metadata">): string =>
  [kind.toLowerCase(), metadata.namespace, metadata.name].filter((part) => part !== undefined).join("/");
