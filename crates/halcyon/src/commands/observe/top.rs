//! `halcyon top`: the busiest paths, live.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use observe::documents::TapEvent;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row, Table};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep_until};

use super::tap::{self, Loss};
use super::{millis, percent, plain};
use crate::cli::TopArgs;
use crate::client::{Client, Events};
use crate::print;

/// How often the screen is drawn.
const DRAW: Duration = Duration::from_millis(250);
/// How long is looked where the output is no terminal.
const PERIOD: Duration = Duration::from_secs(5);
/// So many kinds of requests are told apart.
const MOST: usize = 5000;

const HEAD: [&str; 9] = ["COUNT", "FROM", "TO", "METHOD", "PATH", "BEST", "WORST", "LAST", "SUCCESS"];

/// Requests that are alike.
#[derive(PartialEq, Eq, Hash)]
struct Kind {
    source: String,
    destination: String,
    method: String,
    path: String,
}

/// What was seen of them.
struct Seen {
    count: u64,
    failed: u64,
    best: f64,
    worst: f64,
    last: f64,
}

/// Everything that was seen.
#[derive(Default)]
struct Board {
    kinds: HashMap<Kind, Seen>,
    total: u64,
    lost: u64,
    raw_paths: bool,
}

/// What the columns are sorted by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Count,
    Worst,
    Success,
}

/// `halcyon top`.
pub async fn run(client: Client, args: TopArgs) -> Result<ExitCode> {
    let mut events = client.events(&tap::query(&args.which)).await?;
    let mut board = Board { raw_paths: args.raw_paths, ..Board::default() };
    let live = args.period.is_none() && std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if live {
        let mut terminal = ratatui::try_init().context("the terminal cannot be used")?;
        let shown = watch(&mut terminal, &mut events, &mut board).await;
        ratatui::restore();
        shown?;
    } else {
        gather(&mut events, &mut board, args.period.unwrap_or(PERIOD)).await?;
    }
    print::out!("{}", print::table(HEAD, board.rows(Order::Count, usize::MAX)));
    Ok(ExitCode::SUCCESS)
}

async fn gather(events: &mut Events, board: &mut Board, period: Duration) -> Result<()> {
    let end = Instant::now() + period;
    loop {
        tokio::select! {
            () = sleep_until(end) => return Ok(()),
            event = events.next() => match event? {
                Some(event) => board.take(&event.name, &event.data)?,
                None => return Ok(()),
            }
        }
    }
}

async fn watch(terminal: &mut DefaultTerminal, events: &mut Events, board: &mut Board) -> Result<()> {
    let mut keys = keys();
    let mut frames = interval(DRAW);
    let mut order = Order::Count;
    loop {
        tokio::select! {
            event = events.next() => match event? {
                Some(event) => board.take(&event.name, &event.data)?,
                None => return Ok(()),
            },
            key = keys.recv() => match key {
                None | Some(KeyCode::Char('q') | KeyCode::Esc) => return Ok(()),
                Some(KeyCode::Char('c')) => order = Order::Count,
                Some(KeyCode::Char('w')) => order = Order::Worst,
                Some(KeyCode::Char('s')) => order = Order::Success,
                Some(KeyCode::Char('r')) => board.clear(),
                Some(_) => {}
            },
            _ = frames.tick() => {
                terminal.draw(|frame| board.draw(frame, order))?;
            }
        }
    }
}

/// What is typed. Ctrl-C is as good as `q`.
fn keys() -> mpsc::UnboundedReceiver<KeyCode> {
    let (pressed, keys) = mpsc::unbounded_channel();
    // A thread of its own, since reading the terminal waits. It ends with the process.
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            let Event::Key(key) = event else { continue };
            let is_interrupt = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
            let code = if is_interrupt { KeyCode::Esc } else { key.code };
            if key.kind == KeyEventKind::Press && pressed.send(code).is_err() {
                return;
            }
        }
    });
    keys
}

impl Board {
    fn take(&mut self, name: &str, data: &str) -> Result<()> {
        match name {
            "exchange" => self.count(&serde_json::from_str(data)?),
            "loss" => self.lost += serde_json::from_str::<Loss>(data)?.count,
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, event: &TapEvent) {
        // Both sides tell of what arrived: the called one counts.
        if event.reporter == "source" && !event.destination.is_empty() && event.status != 0 && event.flags.is_empty() {
            return;
        }
        self.total += 1;
        let path = event.path.split('?').next().unwrap_or_default();
        let or = |text: &str| if text.is_empty() { "-".to_owned() } else { plain(text) };
        let kind = Kind {
            source: or(&event.source),
            destination: if event.destination.is_empty() { or(&event.service) } else { or(&event.destination) },
            method: plain(&event.method),
            path: if self.raw_paths { plain(path) } else { plain(&without_ids(path)) },
        };
        if self.kinds.len() >= MOST && !self.kinds.contains_key(&kind) {
            self.lost += 1;
            return;
        }
        let ms = event.duration_ms;
        let seen = self.kinds.entry(kind).or_insert(Seen { count: 0, failed: 0, best: ms, worst: ms, last: ms });
        seen.count += 1;
        let is_failed =
            matches!(event.status, 0 | 500..) || event.grpc_status.as_deref().is_some_and(|code| code != "0");
        seen.failed += u64::from(is_failed);
        (seen.best, seen.worst, seen.last) = (seen.best.min(ms), seen.worst.max(ms), ms);
    }

    fn clear(&mut self) {
        self.kinds.clear();
        (self.total, self.lost) = (0, 0);
    }

    fn rows(&self, order: Order, most: usize) -> Vec<[String; 9]> {
        let mut all: Vec<(&Kind, &Seen)> = self.kinds.iter().collect();
        all.sort_by(|(a_kind, a), (b_kind, b)| {
            let by = match order {
                Order::Count => b.count.cmp(&a.count),
                Order::Worst => b.worst.total_cmp(&a.worst),
                Order::Success => a.success().total_cmp(&b.success()),
            };
            // Rows that are alike keep their place.
            by.then_with(|| (&a_kind.path, &a_kind.source).cmp(&(&b_kind.path, &b_kind.source)))
        });
        let row = |(kind, seen): (&Kind, &Seen)| {
            [
                seen.count.to_string(),
                kind.source.clone(),
                kind.destination.clone(),
                kind.method.clone(),
                kind.path.clone(),
                millis(seen.best),
                millis(seen.worst),
                millis(seen.last),
                percent(seen.success()),
            ]
        };
        all.into_iter().take(most).map(row).collect()
    }

    fn draw(&self, frame: &mut ratatui::Frame<'_>, order: Order) {
        let [top, middle, bottom] =
            Layout::vertical([Constraint::Length(2), Constraint::Min(1), Constraint::Length(1)]).areas(frame.area());
        let dim = Style::new().add_modifier(Modifier::DIM);
        let lost = if self.lost > 0 { format!(", {} not shown", self.lost) } else { String::new() };
        let title = Line::from(vec![
            Span::styled("halcyon top ", Style::new().add_modifier(Modifier::BOLD)),
            Span::styled(format!("{} requests, {} kinds{lost}", self.total, self.kinds.len()), dim),
        ]);
        frame.render_widget(title, top);
        let rows = self.rows(order, usize::from(middle.height)).into_iter().map(|cells| {
            let is_good = cells[8] == "100.00%";
            let last = cells.len() - 1;
            Row::new(cells.into_iter().enumerate().map(move |(at, text)| match (at == last, is_good) {
                (true, true) => Cell::new(text).style(Style::new().fg(Color::Green)),
                (true, false) => Cell::new(text).style(Style::new().fg(Color::Red)),
                _ => Cell::new(text),
            }))
        });
        let widths = [
            Constraint::Length(7),
            Constraint::Fill(3),
            Constraint::Fill(3),
            Constraint::Length(7),
            Constraint::Fill(5),
            Constraint::Length(8),
            Constraint::Length(8),
            Constraint::Length(8),
            Constraint::Length(8),
        ];
        let head = Row::new(HEAD).style(Style::new().add_modifier(Modifier::BOLD));
        frame.render_widget(Table::new(rows, widths).header(head), middle);
        let keys = "c by count  w by worst  s by success  r begin anew  q end";
        frame.render_widget(Line::styled(keys, dim), bottom);
    }
}

impl Seen {
    fn success(&self) -> f64 {
        1.0 - self.failed as f64 / self.count.max(1) as f64
    }
}

/// `/users/42/cart/5f2c…` is one kind: parts that are numbers or ids become `*`.
fn without_ids(path: &str) -> String {
    let is_id = |part: &str| {
        let digits = part.bytes().filter(u8::is_ascii_digit).count();
        let is_hexadecimal = part.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        !part.is_empty() && (digits == part.len() || part.len() >= 16 && is_hexadecimal && digits > 0)
    };
    path.split('/').map(|part| if is_id(part) { "*" } else { part }).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_one_kind() {
        for (path, expected) in [
            ("/", "/"),
            ("/users/42", "/users/*"),
            ("/a/0af7651916cd43dd8448eb211c80319c/b", "/a/*/b"),
            ("/v1/users", "/v1/users"),
            ("/cafe", "/cafe"),
            ("/550e8400-e29b-41d4-a716-446655440000", "/*"),
        ] {
            assert_eq!(without_ids(path), expected);
        }
    }

    #[test]
    fn what_is_alike_is_counted_together() {
        let mut board = Board::default();
        let event = |path: &str, status: u32, ms: f64| {
            serde_json::json!({
                "time": "", "durationMs": ms, "reporter": "destination", "source": "default/web", "destination": "", "service": "cart",
                "protocol": "http", "security": "none", "method": "GET", "scheme": "http", "authority": "cart", "path": path,
                "httpVersion": "HTTP/1.1", "status": status, "flags": "", "codeDetails": "", "route": "", "cluster": "",
                "upstream": "", "downstream": "", "attempts": 1, "requestBytes": 0, "responseBytes": 0, "requestId": "",
                "traceId": "", "reason": ""
            })
            .to_string()
        };
        for (path, status, ms) in [("/a/1", 200, 1.0), ("/a/2?x", 503, 3.0), ("/b", 200, 2.0)] {
            board.take("exchange", &event(path, status, ms)).unwrap();
        }
        board.take("loss", r#"{"count": 2, "why": "too many"}"#).unwrap();
        let rows = board.rows(Order::Count, 10);
        assert_eq!(rows[0].join(" "), "2 default/web cart GET /a/* 1.0ms 3.0ms 3.0ms 50.00%");
        assert_eq!((rows.len(), board.lost), (2, 2));
    }
}
