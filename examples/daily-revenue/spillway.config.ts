import { defineConfig } from 'spillway';

export default defineConfig({
  workflows: './workflows.ts',
});
