import * as z from "zod";
import { labelName } from "../fields/names.ts";
import { define, type SpecOf } from "../resource.ts";
import { rules } from "./rule.ts";
import { outdatedRules, withNowhere } from "./rule-domains.ts";

const spec = z
  .object({
    ingress: rules.optional().describe("Rules for packets to the endpoint; the first that matches decides."),
    egress: rules.optional().describe("Rules for packets from the endpoint."),
    labelsToApply: z
      .record(labelName, z.string())
      .optional()
      .describe("Labels that endpoints with this profile inherit."),
  })
  .prefault({});

export type ProfileSpec = SpecOf<typeof spec>;

export const profile = define({
  kind: "Profile",
  plural: "profiles",
  aliases: ["pro"],
  scope: "cluster",
  description: "What endpoints that name it inherit: labels, and rules for packets that no policy decided.",
  spec,
  complete: withNowhere,
  outdated: outdatedRules,
  columns: [
    { title: "INGRESS", wide: true, value: ({ spec }) => spec.ingress?.length ?? 0 },
    { title: "EGRESS", wide: true, value: ({ spec }) => spec.egress?.length ?? 0 },
  ],
  example: {
    metadata: { name: "kns.shop" },
    spec: {
      ingress: [{ action: "Allow" }],
      egress: [{ action: "Allow" }],
      labelsToApply: { "pcns.team": "shop" },
    },
  },
});
