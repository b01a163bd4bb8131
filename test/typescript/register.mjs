// Given to Node with `--import`: this process and its threads load TypeScript themselves, without jest's module system between them.
import { register } from 'node:module';

register('./hooks.mjs', import.meta.url);
