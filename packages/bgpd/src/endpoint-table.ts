import type { AnyResource, WorkloadEndpoint } from "@margay/api";
import { type Prefix, parsePrefix } from "@margay/net";

/** As it was written; decoded when something is made of it, and once. */
interface Unread {
  readonly value: string;
  decoded?: { readonly resource: AnyResource | undefined };
}

/**
 * Endpoints that bgpd may have to announce. Most are ordinary pods of which it makes nothing: they are not decoded until something
 * is made of all. That the schema refuses one is told then, and by the agent at once.
 */
export class EndpointTable {
  readonly #decode: (key: string, value: string) => AnyResource | undefined;
  readonly #endpoints = new Map<string, Unread>();

  constructor(decode: (key: string, value: string) => AnyResource | undefined) {
    this.#decode = decode;
  }

  /** Undefined removes. @returns the texts of before and of now, as far as there are any */
  set(key: string, value: string | undefined): readonly string[] {
    const before = this.#endpoints.get(key)?.value;
    if (value === undefined) this.#endpoints.delete(key);
    else this.#endpoints.set(key, { value });
    return [before, value].filter((one) => one !== undefined);
  }

  /** All that can be read. */
  all(): WorkloadEndpoint[] {
    return [...this.#endpoints].flatMap(([key, one]) => {
      one.decoded ??= { resource: this.#decode(key, one.value) };
      return one.decoded.resource?.kind === "WorkloadEndpoint" ? [one.decoded.resource] : [];
    });
  }
}

/** Of an endpoint without floating addresses, as far as its text can be read without knowing more of it: what is wrong there is no ordinary one. */
export function ordinaryNetworks(value: string): readonly Prefix[] | undefined {
  try {
    const { spec } = JSON.parse(value) as { spec: { ipNATs?: unknown; ipNetworks: readonly string[] } };
    return spec.ipNATs ? undefined : spec.ipNetworks.map((text) => parsePrefix(text));
  } catch {
    return undefined; // looked at when it is decoded
  }
}
