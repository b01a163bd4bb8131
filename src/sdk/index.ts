/** What workflow code imports as `spillway/workflow`. Deterministic: it runs inside Temporal's workflow isolate. */
export { datafusion, files, postgres, runPipeline, transform, trino, write } from './verbs.ts';
export { mergeFiles, type PartitionValue, perPartition, sortExternal, type SortKey } from './composed-steps.ts';
export { Dataset } from './dataset.ts';
export type {
  IndexSpec,
  LoadStrategy,
  Parameter,
  PipelineSpec,
  Profile,
  SinkResult,
  StepOptions,
} from '../contracts/pipeline.ts';
