import { call } from "./control.ts";
import type { FoundLab } from "./discover.ts";
import { LabError } from "./errors.ts";
import type { Lab, LabelChange } from "./lab.ts";
import type { Matrix, MatrixRequest } from "./matrix.ts";
import type { LabNode } from "./places.ts";
import type { Pod, PodRequest } from "./pods.ts";
import type { ProcessStatus } from "./processes.ts";

type Id = { readonly namespace: string; readonly name: string };

export interface LabStatus {
  readonly name: string;
  readonly phase: "starting" | "ready" | "ending";
  readonly nodes: readonly LabNode[];
  readonly processes: readonly ProcessStatus[];
  readonly pods: number;
}

/** What the supervisor does for its clients. `lab` is undefined until the lab is up. */
export function methods(state: {
  readonly name: string;
  lab: Lab | undefined;
  ending: boolean;
  readonly end: () => void;
}) {
  const lab = (): Lab => {
    if (!state.lab || state.ending)
      throw new LabError("not-running", `lab ${state.name} is ${state.ending ? "ending" : "still starting"}`);
    return state.lab;
  };
  return {
    status: (): LabStatus => ({
      name: state.name,
      phase: state.ending ? "ending" : state.lab ? "ready" : "starting",
      nodes: state.lab?.topology.nodes ?? [],
      processes: state.lab?.processes.status() ?? [],
      pods: state.lab?.pods.length ?? 0,
    }),
    pods: (): readonly Pod[] => lab().pods,
    pod: (id: Id): Pod => lab().pod(id),
    addPod: (request: PodRequest): Promise<Pod> => lab().addPod(request),
    removePod: (id: Id): Promise<void> => lab().removePod(id),
    labelPod: ({ labels, ...id }: Id & { labels: LabelChange }): Promise<void> => lab().labelPod(id, labels),
    labelNamespace: ({ namespace, labels }: { namespace: string; labels: LabelChange }): Promise<void> =>
      lab().labelNamespace(namespace, labels),
    probe: (request: MatrixRequest): Promise<Matrix> => lab().probe(request),
    signal: ({ name, signal }: { name: string; signal: NodeJS.Signals }): Promise<void> =>
      lab().processes.signal(name, signal),
    restart: ({ name }: { name: string }): void => lab().processes.restart(name),
    end: (): void => state.end(),
  };
}

/** Calls the supervisor of a lab found. */
export const ask = ({ socket }: FoundLab) => call<ReturnType<typeof methods>>(socket);
