import * as z from "zod";
import { labelName, labelValue } from "../fields/names.ts";
import { and, membership, type Selector } from "../selector/ast.ts";

const requirement = z
  .object({
    key: labelName.describe("A label's name."),
    operator: z.enum(["In", "NotIn", "Exists", "DoesNotExist"]).describe("What must hold of its value."),
    values: z.array(labelValue).optional().describe("Values, for In and NotIn."),
  })
  .superRefine(({ operator, values }, context) => {
    const wanted = operator === "In" || operator === "NotIn";
    if (wanted !== Boolean(values?.length))
      context.addIssue({
        code: "custom",
        path: ["values"],
        message: `must ${wanted ? "not " : ""}be empty with ${operator}`,
      });
  });

/** meta/v1 LabelSelector. */
export const labelSelector = z.object({
  matchLabels: z.record(labelName, labelValue).optional().describe("Labels with their values."),
  matchExpressions: z.array(requirement).optional().describe("Further requirements; all must hold."),
});

export type LabelSelector = z.output<typeof labelSelector>;

/** All requirements together, labels first and in order of name; an empty selector is all(). */
export function selectorOf({ matchLabels = {}, matchExpressions = [] }: LabelSelector): Selector {
  const labels = Object.entries(matchLabels).sort(([a], [b]) => (a < b ? -1 : 1));
  return and([
    ...labels.map(([label, value]): Selector => ({ kind: "equals", label, value })),
    ...matchExpressions.map(expression),
  ]);
}

function expression({ key, operator, values = [] }: z.output<typeof requirement>): Selector {
  switch (operator) {
    case "In":
      return membership("in", key, values);
    case "NotIn":
      return membership("not-in", key, values);
    case "Exists":
      return { kind: "has", label: key };
    case "DoesNotExist":
      return { kind: "not", operand: { kind: "has", label: key } };
  }
}
