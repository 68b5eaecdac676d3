import { get as httpGet } from "node:http";
import { Socket } from "node:net";
import { namespacePath } from "@margay/lab";
import { socketIn } from "@margay/netlink";
import type { Container, Probe } from "./objects.ts";

/** One try of a probe, from the node's network namespace as its kubelet asks. */
function answers(node: string, { httpGet: asked, timeoutSeconds = 1 }: Probe): Promise<boolean> {
  if (!asked) return Promise.resolve(true);
  const { host = "127.0.0.1", path, port } = asked;
  return new Promise<boolean>((resolve) => {
    const fd = socketIn(namespacePath(node), { family: 4, type: "stream" });
    const createConnection = () => new Socket({ fd }).connect({ host, port });
    const signal = AbortSignal.timeout(timeoutSeconds * 1000); // a process that stands still
    const request = httpGet({ path, createConnection, signal }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on("error", () => resolve(false));
  }).catch(() => false); // its node is gone
}

/** A container's readiness probe, once in each pass: sooner than a kubelet would. Without one it is ready. */
export const isReady = async (node: string, { readinessProbe }: Container): Promise<boolean> =>
  readinessProbe === undefined || answers(node, readinessProbe);

/** A container's startup probe until it succeeds, then its liveness probe, by the figures of its spec. */
export class Life {
  readonly #node: string;
  readonly #spec: Container;
  #hasStarted = false;
  #failures = 0;
  #dueAt: number;
  #asking = false;

  constructor(node: string, spec: Container, now: number) {
    this.#node = node;
    this.#spec = spec;
    this.#dueAt = now;
  }

  /** Before, no kubelet asks whether it is ready. */
  get hasStarted(): boolean {
    return this.#hasStarted || this.#spec.startupProbe === undefined;
  }

  /** Whether it has failed too often, and is to be started again. Asks when it is time (`now` in ms), and does not wait. */
  isOver(now: number): boolean {
    const { startupProbe, livenessProbe } = this.#spec;
    const probe = this.hasStarted ? livenessProbe : startupProbe;
    if (!probe) return false;
    const { periodSeconds = 10, failureThreshold = 3 } = probe;
    if (!this.#asking && now >= this.#dueAt) {
      this.#dueAt = now + periodSeconds * 1000;
      void this.#ask(probe);
    }
    return this.#failures >= failureThreshold;
  }

  async #ask(probe: Probe): Promise<void> {
    this.#asking = true;
    const isAlive = await answers(this.#node, probe);
    this.#asking = false;
    this.#failures = isAlive ? 0 : this.#failures + 1;
    this.#hasStarted ||= isAlive;
  }
}
