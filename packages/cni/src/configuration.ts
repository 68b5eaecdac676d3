import { type Address, NetError, parseAddress, parsePrefix } from "@margay/net";
import * as z from "zod";

const flag = z.union([z.boolean(), z.enum(["true", "false"]).transform((text) => text === "true")]);

const ip = z.string().transform((text, context) => {
  try {
    return hostOf(text);
  } catch (error) {
    if (!(error instanceof NetError)) throw error;
    context.addIssue({ code: "custom", message: error.message });
    return z.NEVER;
  }
});

/** The address of "10.0.0.5" or "10.0.0.5/24": the length is the network's affair. Throws NetError. */
export function hostOf(text: string): Address {
  if (!text.includes("/")) return parseAddress(text);
  parsePrefix(text, { mask: true });
  return parseAddress(text.slice(0, text.indexOf("/")));
}

/** Go writes an empty list as null. */
const list = <T extends z.ZodType>(of: T) =>
  z
    .array(of)
    .nullish()
    .transform((value) => value ?? []);

/** A result as the plugin before us, or our own ADD, gave it. What else it has stays in it. */
export const result = z.looseObject({
  interfaces: list(
    z.looseObject({ name: z.string(), mac: z.string().optional(), sandbox: z.string().optional() }),
  ),
  ips: list(z.looseObject({ address: z.string(), interface: z.int().optional() })),
  routes: list(z.looseObject({ dst: z.string(), gw: z.string().optional() })),
  dns: z.looseObject({}).nullish(),
});

export type PreviousResult = z.output<typeof result>;

const dns = z.looseObject({
  nameservers: list(z.string()),
  domain: z.string().optional(),
  search: list(z.string()),
  options: list(z.string()),
});

const mac = z.string().regex(/^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$/, "not a MAC address");

/** What of the network configuration Margay reads; runtimes and other plugins add fields of their own. */
export const configuration = z.looseObject({
  cniVersion: z.string().default("0.1.0"),
  /** With the container and interface it must fit an interface's alias. */
  name: z
    .string()
    .max(128)
    .regex(
      /^[A-Za-z0-9][A-Za-z0-9_.-]*$/,
      "must be letters, digits, '_', '.', '-', the first a letter or digit",
    ),
  type: z.string().optional(),
  mtu: z.int().min(0).max(65535).optional(),
  ipam: z
    .looseObject({
      type: z.string().optional(),
      assign_ipv4: flag.optional(),
      assign_ipv6: flag.optional(),
      ipv4_pools: z.array(z.string()).optional(),
      ipv6_pools: z.array(z.string()).optional(),
      routes: z.array(z.looseObject({ dst: z.string(), gw: z.string().optional() })).optional(),
    })
    .optional(),
  dns: dns.optional(),
  /** Pod facts from whoever runs pods without Kubernetes (CNI conventions, "args"). */
  args: z
    .looseObject({
      cni: z
        .looseObject({
          labels: z.array(z.object({ key: z.string(), value: z.string() })).optional(),
          ips: z.array(ip).optional(),
          mac: mac.optional(),
          annotations: z.record(z.string(), z.string()).optional(),
          namespaceAnnotations: z.record(z.string(), z.string()).optional(),
          serviceAccountName: z.string().optional(),
          ports: z
            .array(z.object({ name: z.string(), protocol: z.string(), port: z.int().min(1).max(65535) }))
            .optional(),
        })
        .optional(),
    })
    .optional(),
  /** Calico's switches of what an annotation may do. */
  feature_control: z
    .looseObject({ ip_addrs_no_ipam: z.boolean().optional(), floating_ips: z.boolean().optional() })
    .optional(),
  /** Capabilities that the runtime fills in (CNI conventions). */
  runtimeConfig: z
    .looseObject({
      ips: z.array(ip).optional(),
      mac: mac.optional(),
      dns: z
        .looseObject({ servers: list(z.string()), searches: list(z.string()), options: list(z.string()) })
        .optional(),
    })
    .optional(),
  prevResult: result.optional(),
  /** GC: what the runtime still has of this network. */
  "cni.dev/valid-attachments": z
    .array(z.object({ containerID: z.string().min(1), ifname: z.string().min(1) }))
    .optional(),
});

export type Configuration = z.output<typeof configuration>;
