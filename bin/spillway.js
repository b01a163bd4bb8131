#!/usr/bin/env node
import { main } from '../dist/src/cli/main.js';
import { outliveReaders } from '../dist/src/cli/output.js';

/** For what is still written; threads of a worker that could not run would keep the process for ever. */
const LAST_WORDS_MS = 2_000;

outliveReaders();
process.exitCode = await main(process.argv.slice(2));
setTimeout(() => process.exit(), LAST_WORDS_MS).unref();
