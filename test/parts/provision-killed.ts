// A program for a test: brings up Temporal and PostgreSQL in the home that is its first argument, and is killed at the moment that is its second one, such as `postgres ready`.
import { bringUp } from '../../src/provision/bring-up.ts';
import { cacheDir, hostHardware } from '../integration/provision-home.ts';

const [, , home = '', moment] = process.argv;
await bringUp({
  home,
  cacheDir,
  hardware: hostHardware(),
  systemPackages: false,
  env: process.env,
  only: ['temporal', 'postgres'],
  report({ part, what }) {
    if (`${part} ${what}` === moment) process.kill(process.pid, 'SIGKILL');
  },
});
