/** Where the answering pod listens: UDP, UDP and TCP. */
export const PORTS = { allowed: 80, denied: 81, established: 82 } as const;
