// A program for a test: brings up Temporal and PostgreSQL in the home that is its argument; the test kills it meanwhile.
import { bringUp } from '../../src/provision/bring-up.ts';
import { cacheDir, hostHardware } from '../integration/provision-home.ts';

const [, , home = ''] = process.argv;
await bringUp({
  home,
  cacheDir,
  hardware: hostHardware(),
  systemPackages: false,
  env: process.env,
  only: ['temporal', 'postgres'],
  report: ({ part, what }) => process.stdout.write(`${part} ${what}\n`),
});
