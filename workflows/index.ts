/** Workflows registered beside the user's own; exported as `spillway/registered`. The pool has a bundle of its own. */
export { eltPipeline } from './elt-pipeline.ts';
