import * as z from "zod";
import { text } from "../fields/text.ts";
import { define, type SpecOf } from "../resource.ts";
import { order } from "./rule.ts";

/** The name of a tier: a DNS label, so that policy names can be told from it. */
export const tierName = (name: string): string | undefined =>
  /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name)
    ? undefined
    : "must be a DNS label: at most 63 of a-z 0-9 '-', beginning and ending with a letter or digit";

/** A reference to a tier. */
export const tier = text(tierName).default("default").describe("The tier the policy belongs to.");

const tierSpec = z
  .object({
    order,
    defaultAction: z
      .enum(["Deny", "Pass"])
      .default("Deny")
      .describe("What happens to a packet that no rule of the tier decided."),
  })
  .prefault({});

export type TierSpec = SpecOf<typeof tierSpec>;

/** The tiers every cluster has (calico.md §1.9); their order and action are fixed. */
const BUILT_IN: Readonly<Record<string, { order: number; defaultAction: "Deny" | "Pass" }>> = {
  "kube-admin": { order: 1000, defaultAction: "Pass" },
  default: { order: 1_000_000, defaultAction: "Deny" },
  "kube-baseline": { order: 10_000_000, defaultAction: "Pass" },
};

export const tierDefinition = define({
  kind: "Tier",
  plural: "tiers",
  aliases: [],
  scope: "cluster",
  description:
    "A rank of policies; tiers are evaluated in order. `kube-admin`, `default` and `kube-baseline` are built in.",
  spec: tierSpec,
  name: tierName,
  check: ({ name, spec }) => {
    const fixed = Object.hasOwn(BUILT_IN, name) ? BUILT_IN[name] : undefined;
    if (!fixed) return [];
    const fields = ["order", "defaultAction"] as const;
    return fields
      .filter((field) => spec[field] !== fixed[field])
      .map((field) => ({
        path: `spec.${field}`,
        message: `must be ${fixed[field]} in the built-in tier ${name}`,
      }));
  },
  columns: [
    { title: "ORDER", value: ({ spec }) => spec.order },
    { title: "DEFAULTACTION", value: ({ spec }) => spec.defaultAction },
  ],
  example: { metadata: { name: "security" }, spec: { order: 100, defaultAction: "Pass" } },
});
