/** What tests of workflows import as `spillway/testing`. */
export { readPipeline } from '../config/pipeline-schema.ts';
