/** A difference, as its lines say it. */
export function Diff({ lines }: { lines: string[] }) {
  if (lines.length === 0) return <p class="faint">No difference.</p>;
  return (
    <pre class="yaml" tabIndex={0} aria-label="Difference">
      {lines.map((line, i) => (
        <span key={i} class={line[0] === '+' ? 'add' : line[0] === '-' ? 'del' : 'same'}>
          {line || ' '}
        </span>
      ))}
    </pre>
  );
}
