export interface Answer {
  status: number;
  text: string;
  ms: number;
}
export interface Demo {
  base: string;
  processes: { name: string; pid: number }[];
  halcyon(words: string[], input?: string): Promise<string>;
  get(path: string, headers?: Record<string, string>): Promise<Answer>;
  key(): Promise<string>;
}
export function demo(): Demo;
