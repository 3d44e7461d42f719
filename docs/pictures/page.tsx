// The first screen of a dashboard, drawn by Grafana's own components from a Prometheus's answers.
import { useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import {
  applyFieldOverrides, createTheme, dateTime, FieldConfigOptionsRegistry, FieldType, getFieldDisplayName,
  getFieldDisplayValues, standardTransformers, standardTransformersRegistry, ThemeContext, toDataFrame,
  transformDataFrame, type DataFrame,
} from '@grafana/data';
import { BigValue, GlobalStyles, PanelChrome, TimeSeries } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { initPluginTranslations } from '@grafana/i18n';
import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';

const { dashboard, prometheus } = window as any;
const SCREEN = 19; // rows of the grid, of 38 pixels each
const WIDTH = 1280 - 32;
const SCRAPE = 5; // seconds
const MINUTES = 15;

const theme = createTheme({ colors: { mode: 'dark' } });
const to = Math.floor(Date.now() / 1000 / SCRAPE) * SCRAPE;
const range: any = { from: dateTime((to - MINUTES * 60) * 1000), to: dateTime(to * 1000) };
range.raw = { from: `now-${MINUTES}m`, to: 'now' };
const transformers = ['joinByField', 'filterFieldsByName', 'organize'].map((id) => {
  const transformer = Object.values(standardTransformers).find((each: any) => each.id === id)!;
  return { id, name: id, transformation: () => Promise.resolve(transformer), editor: () => null };
});
standardTransformersRegistry.setInit(() => transformers as any);

// The options that the panels here have, each taken over as it is.
const PLAIN = ['unit', 'min', 'max', 'decimals', 'displayName', 'noValue', 'mappings', 'links', 'color', 'thresholds'];
const CUSTOM = [
  'drawStyle', 'lineInterpolation', 'lineWidth', 'fillOpacity', 'showPoints', 'spanNulls', 'lineStyle', 'stacking',
  'thresholdsStyle', 'axisSoftMin', 'axisSoftMax', 'cellOptions', 'align', 'width',
];
const option = (id: string, isCustom: boolean): any => ({
  id: isCustom ? `custom.${id}` : id, path: id, name: id, isCustom,
  editor: () => null, override: () => null, process: (value: any) => value, shouldApply: () => true,
});
const registry = new FieldConfigOptionsRegistry(() => [
  ...PLAIN.map((id) => option(id, false)), ...CUSTOM.map((id) => option(id, true)),
]);

/** What a query gives, as the data source hands it to a panel; everything is chosen. */
async function ask(target: any): Promise<DataFrame[]> {
  const values: Record<string, string> = {
    __rate_interval: `${4 * SCRAPE}s`, __interval: `${SCRAPE}s`, __interval_ms: `${1000 * SCRAPE}`, __range: `${MINUTES}m`, job: 'fastapi', instance: '.*', path: '.*',
  };
  const query = target.expr.replace(/\$(\w+)/g, (whole: string, name: string) => values[name] ?? whole);
  const parameters: any = target.instant
    ? { query, time: to }
    : { query, start: to - MINUTES * 60, end: to, step: SCRAPE };
  const path = target.instant ? 'query' : 'query_range';
  const answer = await (await fetch(`${prometheus}/api/v1/${path}?${new URLSearchParams(parameters)}`)).json();
  if (answer.status !== 'success') throw new Error(answer.error);
  const rows: any[] = answer.data.result;
  if (target.format === 'table') {
    return [toDataFrame({ fields: [
      ...['path', 'shown'].filter((label) => rows[0]?.metric[label]).map((label) => (
        { name: label, type: FieldType.string, values: rows.map((row) => row.metric[label]) })),
      { name: `Value #${target.refId}`, type: FieldType.number, values: rows.map((row) => Number(row.value[1])) },
    ] })];
  }
  return rows.map((row) => {
    row.values ??= [row.value];
    const legend = target.legendFormat.replace(/{{(\w+)}}/g, (_: string, label: string) => row.metric[label] ?? '');
    const at = new Map<number, number>(row.values.map(([time, value]: any) => [time, Number(value)]));
    const times = Array.from({ length: (MINUTES * 60) / SCRAPE + 1 }, (_, i) => to - MINUTES * 60 + i * SCRAPE);
    const finite = (time: number) => (Number.isFinite(at.get(time)) ? at.get(time)! : null);
    return toDataFrame({ refId: target.refId, fields: [
      { name: 'Time', type: FieldType.time, values: times.map((time) => time * 1000) },
      {
        name: 'Value', type: FieldType.number, config: { displayNameFromDS: legend },
        // A tile shows the last value whatever it is, a line has a gap.
        values: times.map(target.tile ? (time) => at.get(time) ?? null : finite),
      },
    ] });
  });
}

async function load(panel: any): Promise<DataFrame[]> {
  const targets = panel.targets.map((target: any) => ({ ...target, tile: panel.type === 'stat' }));
  const raw = (await Promise.all(targets.map(ask))).flat();
  const context: any = { interpolate: (text: string) => text };
  const data: DataFrame[] = await new Promise((done) =>
    transformDataFrame(panel.transformations, raw, context).subscribe(done));
  const frames = applyFieldOverrides({
    data, theme, fieldConfig: panel.fieldConfig, fieldConfigRegistry: registry,
    replaceVariables: (text) => text, timeZone: 'utc',
  });
  for (const frame of frames) {
    for (const field of frame.fields) {
      if (field.type === FieldType.time) continue;
      const displayName = getFieldDisplayName(field, frame, frames);
      field.state = { ...field.state, displayName };
      if (panel.type === 'timeseries') field.name = displayName; // joining frames drops the state
    }
  }
  return frames;
}

function Content({ panel, frames, width, height }: any) {
  if (!frames.length) return <>{panel.fieldConfig.defaults.noValue}</>;
  const { options, fieldConfig } = panel;
  if (panel.type === 'timeseries') {
    return (
      <TimeSeries frames={frames} width={width} height={height} timeRange={range} timeZone="utc"
        legend={options.legend} options={options} />
    );
  }
  if (panel.type === 'table') {
    const more: any = { structureRev: 1, enableVirtualization: false };
    return (
      <TableNG data={frames[0]} width={width} height={height} sortBy={options.sortBy} cellHeight={options.cellHeight}
        {...more} />
    );
  }
  const values = getFieldDisplayValues({
    fieldConfig, theme, data: frames, reduceOptions: options.reduceOptions, replaceVariables: (text) => text,
  });
  return values.map((value, i) => (
    <BigValue key={i} value={value.display} theme={theme} width={width} height={height / values.length - 2}
      text={options.text} colorMode={options.colorMode} graphMode={options.graphMode}
      justifyMode={options.justifyMode} textMode={options.textMode} />
  ));
}

function Panel({ panel, done }: any) {
  const { x, y, w, h } = panel.gridPos;
  const column = (WIDTH + 8) / 24;
  const [width, height] = [w * column - 8, h * 38 - 8];
  const [frames, setFrames] = useState<DataFrame[]>();
  useEffect(() => { load(panel).then((loaded) => { setFrames(loaded); done(); }); }, []);
  return (
    <div style={{ position: 'absolute', left: x * column, top: y * 38, width, height }}>
      <PanelChrome title={panel.title} description={panel.description} width={width} height={height}>
        {(inner, outer) => frames && <Content panel={panel} frames={frames} width={inner} height={outer} />}
      </PanelChrome>
    </div>
  );
}

function Page() {
  const panels = dashboard.panels.filter(({ gridPos }: any) => gridPos.y + gridPos.h <= SCREEN);
  let open = panels.length;
  const done = () => { if (!--open) setTimeout(() => Object.assign(window, { ready: true }), 1000); };
  const { background, text } = theme.colors;
  return (
    <div style={{ padding: 16, background: background.canvas, color: text.primary }}>
      <div style={{ fontWeight: 500, fontSize: 18, marginBottom: 16 }}>{dashboard.title}</div>
      <div style={{ position: 'relative', height: SCREEN * 38 - 8 }}>
        {panels.map((panel: any) => <Panel key={panel.id} panel={panel} done={done} />)}
      </div>
    </div>
  );
}

await initPluginTranslations('picture');
createRoot(document.getElementById('root')!).render(
  <ThemeContext.Provider value={theme}><GlobalStyles /><Page /></ThemeContext.Provider>,
);
