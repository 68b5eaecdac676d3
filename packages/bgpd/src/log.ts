/** The part of a logger that we use; pino's. */
export interface Log {
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
  debug(fields: object, text: string): void;
}

/** Of one kind and peer, or network of peers that come by themselves, in a minute. */
const most = 10;

/** The same logger, to which no more is said than people read: others can make these events happen as often as they like. */
export function sparing(log: Log, now = () => performance.now()): Log {
  const counts = new Map<string, number>();
  let began = now();
  const say =
    (level: "info" | "warn") =>
    (
      fields: { readonly event?: string; readonly peer?: string; readonly range?: string },
      text: string,
    ): void => {
      if (now() - began >= 60_000) {
        counts.clear();
        began = now();
      }
      const kind = `${level} ${fields.event} ${fields.range ?? fields.peer ?? ""}`;
      const count = (counts.get(kind) ?? 0) + 1;
      counts.set(kind, count);
      const isLast = count === most;
      if (count <= most)
        log[level](fields, isLast ? `${text}; more of these are not said for a minute` : text);
    };
  return { info: say("info"), warn: say("warn"), debug: (fields, text) => log.debug(fields, text) };
}
