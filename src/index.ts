/** What host programs import as `spillway`. Workflow code imports `spillway/workflow` instead. */
export { defineConfig, type SpillwayOptions } from './config/options.ts';
export { loadConfig, type LoadOptions } from './config/load-config.ts';
export type { ResolvedConfig, ResolvedHardware } from './config/resolved.ts';
export { SpillwayError, type FailureCode } from './contracts/errors.ts';
export type { PipelineSpec, SinkResult, StepReport, StepSpec } from './contracts/pipeline.ts';
export type { PoolStatus } from './contracts/pool.ts';
export { connect } from './worker/connect.ts';
export type { RunningWorker, WorkerHooks } from './worker/running-worker.ts';
export { startWorker } from './worker/start-worker.ts';
export { spillway } from './worker/plugin.ts';
