/**
 * What came to the user while away: the offline messages, which a connection that comes without a position brings.
 */

export class Offline {
  /** The channel of the session's own user, once it is known. */
  channel = "";
  /**
   * To come, coming, all here, or not to be had on this client any more (the durable cursor stays, so that the next
   * one gets them).
   */
  stage: "owed" | "coming" | "whole" | "delayed" = "owed";
  /** Whether the channel began at the durable cursor. */
  fromCursor = false;
  /** Whether the connection has just begun the channel live, and not said yet why. */
  beganLive = false;

  /** Whether the channel's connection owes them. */
  owes(channel: string): boolean {
    return channel === this.channel && this.stage === "owed";
  }

  /** They are, or will be, not all of the channel: the output of tasks is left out. */
  isSparse(channel: string): boolean {
    return channel === this.channel && (this.stage === "coming" || this.stage === "owed");
  }

  /** Whether the channel's position passes over something that is still to come: then it is nothing to go on from. */
  passesOver(channel: string): boolean {
    const isAbove = this.beganLive || (this.stage === "owed" && !this.fromCursor);
    return channel === this.channel && (this.stage === "delayed" || isAbove);
  }

  /** The channel begins where somebody asked it to, so that nothing is owed. */
  settle(channel: string): void {
    if (channel !== this.channel) return;
    this.stage = "whole";
    this.fromCursor = true;
  }

  /** The channel goes on from its own position; what lies below the durable cursor's is left to the next client. */
  goesOn(channel: string): void {
    if (channel === this.channel && this.stage !== "delayed")
      this.stage = this.fromCursor ? "whole" : "delayed";
  }

  /** Right behind a channel that began live the server says that they are delayed; else there are none. */
  explain(isDelayed: boolean): void {
    if (!this.beganLive) return;
    this.beganLive = false;
    this.stage = isDelayed ? "delayed" : "whole";
  }

  caughtUp(): void {
    if (this.stage === "coming") this.stage = "whole";
  }

  disconnected(): void {
    this.beganLive = false;
    if (this.stage === "coming") this.stage = "owed";
  }
}
