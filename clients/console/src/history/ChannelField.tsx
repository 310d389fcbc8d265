import { useEffect, useState } from "react";
import { isChannel } from "./channels";

interface ChannelFieldProps {
  readonly names: readonly string[];
  readonly chosen: string;
  /** Empty: all of them. */
  readonly onChoose: (channel: string) => void;
}

/** Choose one channel, of those that are known or by its name. */
export function ChannelField({ names, chosen, onChoose }: ChannelFieldProps) {
  const [text, setText] = useState(chosen);
  useEffect(() => setText(chosen), [chosen]);
  const said = text.trim();
  const isGood = said === "" || isChannel(said);
  const choose = (): void => {
    if (isGood && said !== chosen) onChoose(said);
  };
  return (
    <form
      className="field"
      onSubmit={(event) => {
        event.preventDefault();
        choose();
      }}
    >
      <input
        type="search"
        list="channels"
        aria-label="Channel"
        aria-invalid={!isGood}
        title="task:ID, project:ID, user:ID, system or broadcast; empty: all of yours"
        placeholder="all my channels, or task:…"
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          // Taken from the list, or emptied: there is no Enter then.
          if (event.target.value === "" || names.includes(event.target.value)) onChoose(event.target.value);
        }}
        onBlur={choose}
      />
      <datalist id="channels">
        {names.map((name) => (
          <option key={name} value={name} />
        ))}
      </datalist>
    </form>
  );
}
