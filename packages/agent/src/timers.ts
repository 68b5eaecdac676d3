/** Work that comes back after an interval that may change meanwhile. */
export interface Chore {
  /** Seconds from now; 0 switches it off until asked again a minute later. */
  readonly seconds: () => number;
  readonly act: () => void;
}

const ASK_AGAIN_SECONDS = 60;

/** Runs each chore for ever; the timers do not keep the process alive. @returns what stops them */
export function keepDoing(chores: readonly Chore[]): () => void {
  const timers = new Map<Chore, NodeJS.Timeout>();
  const schedule = (chore: Chore) => {
    const seconds = chore.seconds();
    const fire = () => {
      if (seconds > 0) chore.act();
      schedule(chore);
    };
    timers.set(chore, setTimeout(fire, (seconds || ASK_AGAIN_SECONDS) * 1000).unref());
  };
  for (const chore of chores) schedule(chore);
  return () => {
    for (const timer of timers.values()) clearTimeout(timer);
  };
}
