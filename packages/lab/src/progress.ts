import { pcErr as pc } from "./colours.ts";

/** Runs one named step of a start and reports it with its duration. */
export type Step = <T>(name: string, work: () => Promise<T>) => Promise<T>;

export interface Timing {
  readonly name: string;
  readonly ms: number;
}

/** Steps told on `out`: a running clock on a terminal, one line per finished step in a pipe. */
export function progress(out: NodeJS.WriteStream): {
  readonly step: Step;
  readonly timings: readonly Timing[];
} {
  const timings: Timing[] = [];
  const clear = () => out.isTTY && out.write("\r\x1b[K");
  const step: Step = async (name, work) => {
    const since = performance.now();
    const ms = () => Math.round(performance.now() - since);
    const clock = setInterval(() => out.isTTY && out.write(`\r\x1b[K  ${name} … ${seconds(ms())}`), 200);
    try {
      const result = await work();
      timings.push({ name, ms: ms() });
      clear();
      out.write(`${pc.green("✓")} ${name} ${pc.dim(`(${seconds(ms())})`)}\n`);
      return result;
    } catch (error) {
      clear();
      out.write(`${pc.red("✗")} ${name} ${pc.dim(`(${seconds(ms())})`)}\n`);
      throw error;
    } finally {
      clearInterval(clock);
    }
  };
  return { step, timings };
}

const seconds = (ms: number): string => (ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`);
