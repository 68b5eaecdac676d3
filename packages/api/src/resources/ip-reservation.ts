import * as z from "zod";
import { net } from "../fields/addresses.ts";
import { define, type SpecOf } from "../resource.ts";

const spec = z
  .object({
    reservedCIDRs: z
      .array(net())
      .default([])
      .describe(
        "Networks and addresses of both families that no pod is given unless it asks for one by name.",
      ),
  })
  .prefault({});

export type IPReservationSpec = SpecOf<typeof spec>;

export const ipReservation = define({
  kind: "IPReservation",
  plural: "ipreservations",
  aliases: ["ipr", "reservation", "reservations"],
  scope: "cluster",
  description: "Addresses inside pools that are not given out by themselves.",
  spec,
  columns: [{ title: "RESERVED", value: ({ spec }) => spec.reservedCIDRs.join(",") }],
  example: {
    metadata: { name: "gateways" },
    spec: { reservedCIDRs: ["10.244.0.0/30", "10.244.255.254"] },
  },
});
