import { StoreError } from "@margay/datastore";
import { IpamError } from "@margay/ipam";
import { NetlinkError } from "@margay/netlink";
import { CniError } from "./errors.ts";

/** What the runtime is told of any failure. */
export function cniError(error: unknown): CniError {
  if (error instanceof CniError) return error;
  if (error instanceof IpamError) return ofIpam(error);
  const { message } = error instanceof Error ? error : new Error(String(error));
  if (error instanceof StoreError)
    return new CniError("try-again-later", `datastore: ${message}`, { cause: error });
  if (error instanceof NetlinkError) return new CniError("io-failure", message, { cause: error });
  return new CniError("internal", message, {
    cause: error,
    details: "A fault of margay itself; the agent's log has more.",
  });
}

function ofIpam(error: IpamError): CniError {
  const { message } = error;
  if (error.retryable) return new CniError("try-again-later", message, { cause: error });
  const details = "`margay ipam show` lists pools, blocks and who has what.";
  const asked = error.code.startsWith("address-");
  return new CniError(asked ? "address-not-available" : "no-address", message, { cause: error, details });
}
