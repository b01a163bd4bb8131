import type { PipelineSpec, SinkResult } from '../src/contracts/pipeline.ts';
import { runPipeline } from '../src/sdk/index.ts';

/** Runs a pipeline that comes as data, for example `temporal workflow start --type eltPipeline --input-file job.json`. */
export async function eltPipeline(job: PipelineSpec): Promise<SinkResult[]> {
  return runPipeline(job);
}
