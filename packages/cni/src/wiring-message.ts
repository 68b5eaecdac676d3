import { NetlinkError } from "@margay/netlink";
import type { Wiring } from "./deps.ts";
import { type CniCode, CniError } from "./errors.ts";

/** To the thread that makes pods' interfaces. */
export interface WiringCall {
  readonly id: number;
  readonly wiring: Wiring;
}

/** From it: between threads an error loses its class and all but its message. */
export interface WiringAnswer {
  readonly id: number;
  readonly refused?: Refusal;
}

type Refusal =
  | { readonly kind: "netlink"; readonly code: string; readonly request: string; readonly detail?: string }
  | { readonly kind: "cni"; readonly code: CniCode; readonly message: string }
  | { readonly kind: "other"; readonly message: string };

/** What can be sent of an error. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof CniError) return { kind: "cni", code: error.code, message: error.message };
  if (!(error instanceof NetlinkError))
    return { kind: "other", message: error instanceof Error ? error.message : String(error) };
  const { code, request, detail } = error;
  return { kind: "netlink", code, request, ...(detail !== undefined && { detail }) };
}

/** The error that it was made of. */
export function errorOf(refused: Refusal): Error {
  if (refused.kind === "netlink") return new NetlinkError(refused.code, refused.request, refused.detail);
  return refused.kind === "cni" ? new CniError(refused.code, refused.message) : new Error(refused.message);
}
