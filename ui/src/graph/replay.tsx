/** Looking back: a slider over the last six hours, and play from there on. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { Icon } from '../look/icon';
import { setParams } from '../shell/location';
import { ago, clock } from '../words/format';

const back = 6 * 3600;
const step = 30;

export function Replay({ at }: { at: string; history: string }) {
  const [playing, setPlaying] = useState(false);
  const [hand, setHand] = useState<number>();
  const timer = useRef<number>();
  const moment = Date.parse(at);
  const behind = at && Number.isFinite(moment) ? Math.min(back, Math.max(0, (Date.now() - moment) / 1000)) : 0;
  const shown = hand ?? back - behind;

  const put = (seconds: number) => {
    const from = back - seconds;
    setParams({ at: from < step ? undefined : new Date(Date.now() - from * 1000).toISOString().replace(/\.\d+Z/, 'Z') });
  };
  useEffect(() => {
    if (!playing) return undefined;
    if (!at) {
      setPlaying(false);
      return undefined;
    }
    timer.current = window.setTimeout(() => {
      const next = Date.parse(at) + step * 1000;
      setParams({ at: next > Date.now() - step * 1000 ? undefined : new Date(next).toISOString().replace(/\.\d+Z/, 'Z') });
    }, 900);
    return () => window.clearTimeout(timer.current);
  }, [playing, at]);
  return (
    <div class="replay" role="group" aria-label="Replay">
      <button
        class="btn small icon"
        aria-label={playing ? 'Stop the replay' : 'Play from here'}
        title={playing ? 'Stop' : 'Play: half a minute each second'}
        onClick={() => {
          if (!playing && !at) put(back - 900);
          setPlaying(!playing);
        }}
      >
        <Icon name={playing ? 'pause' : 'play'} />
      </button>
      <input
        type="range"
        min={0}
        max={back}
        step={step}
        value={shown}
        aria-label="Moment of the last six hours"
        aria-valuetext={at ? `${clock(moment)}, ${ago(moment)}` : 'now'}
        onInput={(event) => setHand(Number(event.currentTarget.value))}
        onChange={(event) => {
          setHand(undefined);
          setPlaying(false);
          put(Number(event.currentTarget.value));
        }}
      />
      <span class="when">
        {hand !== undefined ? (
          ago(Date.now() - (back - hand) * 1000)
        ) : at ? (
          <>
            <strong>{clock(moment)}</strong> <span class="faint">{ago(moment)}</span>
          </>
        ) : (
          <span class="row">
            <span class="dot healthy" aria-hidden="true" /> Live
          </span>
        )}
      </span>
      <button class="btn small" disabled={!at} onClick={() => (setPlaying(false), setParams({ at: undefined }))}>
        Now
      </button>
    </div>
  );
}
