import { createInterface } from "node:readline";
import { type AnyResource, keyOf } from "@margay/api";
import { Calc } from "@margay/calc";
import { Dataplane } from "../../dataplane.ts";
import { Kernel } from "../../kernel.ts";

/**
 * The agent's dataplane alone, in the namespace that it is started in: takes resources from standard input, one JSON line of
 * `{ put, remove }` at a time, makes the kernel match, and answers with a line. It may be killed at any time.
 */
export interface Order {
  readonly put?: readonly AnyResource[];
  readonly remove?: readonly AnyResource[];
}

const key = ({ kind, metadata }: AnyResource): string => keyOf(kind, metadata.name, metadata.namespace);
const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);
const raise = (error: Error): never => {
  throw error;
};

const calc = new Calc("n1");
const kernel = new Kernel({
  onChange: (why) => {
    say({ changed: why });
    dataplane.check();
  },
  ...{
    onLink: () => undefined,
    onAddress: () => undefined,
    onRoute: () => undefined,
    onLost: () => undefined,
    onChosen: () => undefined,
    onLookFailed: () => undefined,
  },
  onRepaired: (what) => say({ repaired: what }),
  ...{ onError: raise, onRemembered: raise },
});
const dataplane: Dataplane = new Dataplane({
  kernel,
  state: () => calc.state(),
  onApplied: () => undefined,
  onError: (error) => process.stderr.write(`${error}\n`),
});
for await (const line of createInterface({ input: process.stdin })) {
  const { put = [], remove = [] } = JSON.parse(line) as Order;
  calc.apply([
    ...put.map((value) => ({ key: key(value), value })),
    ...remove.map((one) => ({ key: key(one) })),
  ]);
  dataplane.changed();
  let pending = await dataplane.pending();
  for (let n = 0; n < 20 && pending !== undefined; n++) pending = await dataplane.pending();
  say({ done: pending ?? null });
}
await dataplane.stop();
await kernel.close();
