/** Takes lines about what the worker does. */
export interface WorkerLog {
  info: (line: string) => void;
  warn: (line: string) => void;
}
