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

/// Columns of [`HEAD`].
const FROM: usize = 1;
const TO: usize = 2;
const METHOD: usize = 3;
const PATH: usize = 4;
const BEST: usize = 5;
const WORST: usize = 6;
const LAST: usize = 7;
const SUCCESS: usize = 8;
/// Between columns.
const GAP: usize = 2;

const HEAD: [&str; 9] = ["COUNT", "FROM", "TO", "METHOD", "PATH", "BEST", "WORST", "LAST", "SUCCESS"];

/// Requests that are alike.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Kind {
    path: String,
    source: String,
    destination: String,
    method: String,
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
            by.then_with(|| a_kind.cmp(b_kind))
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
        let rows = self.rows(order, usize::from(middle.height));
        let columns = columns(&rows, usize::from(middle.width));
        let row = |cells: &[String; 9]| {
            let cell = |&(at, width): &(usize, usize)| {
                let cell = Cell::new(cut(&cells[at], width));
                match (at, &*cells[at]) {
                    (SUCCESS, "100.00%") => cell.style(Style::new().fg(Color::Green)),
                    (SUCCESS, _) => cell.style(Style::new().fg(Color::Red)),
                    _ => cell,
                }
            };
            Row::new(columns.iter().map(cell).collect::<Vec<_>>())
        };
        let head = Row::new(columns.iter().map(|(at, _)| HEAD[*at])).style(Style::new().add_modifier(Modifier::BOLD));
        let widths = columns.iter().map(|(_, width)| Constraint::Length(*width as u16));
        frame.render_widget(Table::new(rows.iter().map(row), widths).column_spacing(GAP as u16).header(head), middle);
        let keys = "c by count  w by worst  s by success  r begin anew  q end";
        frame.render_widget(Line::styled(keys, dim), bottom);
    }
}

/// Columns by their place in [`HEAD`], with their widths: as wide as what stands in them. Where the terminal is too narrow
/// for that, those go that say least, and then names are cut.
fn columns(rows: &[[String; 9]], width: usize) -> Vec<(usize, usize)> {
    let longest = |at: usize| rows.iter().map(|cells| cells[at].chars().count()).chain([HEAD[at].len()]).max();
    // What changes all the time has room to change.
    let wide = |at: usize| longest(at).unwrap_or(0).max(if [BEST, WORST, LAST].contains(&at) { 7 } else { 0 });
    let mut columns: Vec<(usize, usize)> = (0..HEAD.len()).map(|at| (at, wide(at))).collect();
    let over = |columns: &[(usize, usize)]| {
        let all: usize = columns.iter().map(|(_, width)| width + GAP).sum();
        (all - GAP).saturating_sub(width)
    };
    for least in [BEST, LAST, METHOD] {
        if over(&columns) > 0 {
            columns.retain(|(at, _)| *at != least);
        }
    }
    for _ in 0..over(&columns) {
        let widest = columns.iter_mut().filter(|(at, _)| [FROM, TO, PATH].contains(at)).max_by_key(|(_, width)| *width);
        if let Some((_, width)) = widest {
            *width = width.saturating_sub(1);
        }
    }
    columns
}

/// A name that is too long loses its beginning, which others share, and says so.
fn cut(text: &str, width: usize) -> String {
    let over = text.chars().count().saturating_sub(width);
    if over == 0 { text.to_owned() } else { std::iter::once('…').chain(text.chars().skip(over + 1)).collect() }
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
    fn columns_fit() {
        let row = [
            "7",
            "default/productpage-v1",
            "default/reviews-v3",
            "GET",
            "/reviews/*",
            "1.2ms",
            "3.6ms",
            "1.4ms",
            "100.00%",
        ];
        let rows = [row.map(str::to_owned)];
        for (width, expected) in [
            (120, "COUNT 5, FROM 22, TO 18, METHOD 6, PATH 10, BEST 7, WORST 7, LAST 7, SUCCESS 7"),
            (104, "COUNT 5, FROM 22, TO 18, METHOD 6, PATH 10, WORST 7, LAST 7, SUCCESS 7"),
            (80, "COUNT 5, FROM 22, TO 18, PATH 10, WORST 7, SUCCESS 7"),
            (60, "COUNT 5, FROM 11, TO 10, PATH 10, WORST 7, SUCCESS 7"),
        ] {
            let columns = columns(&rows, width);
            let shown: Vec<String> = columns.iter().map(|(at, wide)| format!("{} {wide}", HEAD[*at])).collect();
            assert_eq!(shown.join(", "), expected, "{width}");
        }
        assert_eq!((cut("default/reviews-v3", 11), cut("short", 5)), ("…reviews-v3".to_owned(), "short".to_owned()));
        assert_eq!(columns(&[], 3).len(), 6, "a window that is too small for anything");
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
