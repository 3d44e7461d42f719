import react from '@vitejs/plugin-react';

export default {
  plugins: [react()],
  // With two copies of @grafana/data the panels would not get the theme.
  resolve: { dedupe: ['@grafana/data', '@grafana/schema'] },
  define: { 'process.env': {} },
  build: { chunkSizeWarningLimit: 1e5 },
};
