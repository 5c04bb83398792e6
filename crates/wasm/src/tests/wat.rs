//! Modules in the text format: what all of them have, and texts by their places.

/// What every module has: imports, memory, room in it, and a few words for what is said often.
const PRELUDE: &str = r#"
(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
(import "env" "proxy_get_header_map_value" (func $get_header (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_add_header_map_value" (func $add_header (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_replace_header_map_value" (func $replace_header (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_remove_header_map_value" (func $remove_header (param i32 i32 i32) (result i32)))
(import "env" "proxy_get_header_map_pairs" (func $get_pairs (param i32 i32 i32) (result i32)))
(import "env" "proxy_set_header_map_pairs" (func $set_pairs (param i32 i32 i32) (result i32)))
(import "env" "proxy_get_buffer_bytes" (func $get_buffer (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_set_buffer_bytes" (func $set_buffer (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_get_property" (func $get_property (param i32 i32 i32 i32) (result i32)))
(import "env" "proxy_set_property" (func $set_property (param i32 i32 i32 i32) (result i32)))
(import "env" "proxy_send_local_response" (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
(import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
(import "env" "proxy_set_effective_context" (func $mean (param i32) (result i32)))
(import "env" "proxy_http_call" (func $http_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_get_status" (func $get_status (param i32 i32 i32) (result i32)))
(import "env" "proxy_call_foreign_function" (func $foreign (param i32 i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_set_tick_period_milliseconds" (func $tick_every (param i32) (result i32)))
(import "env" "proxy_get_shared_data" (func $get_shared (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_set_shared_data" (func $set_shared (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_register_shared_queue" (func $register_queue (param i32 i32 i32) (result i32)))
(import "env" "proxy_resolve_shared_queue" (func $resolve_queue (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
(import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))
(import "env" "proxy_define_metric" (func $define_metric (param i32 i32 i32 i32) (result i32)))
(import "env" "proxy_increment_metric" (func $increment_metric (param i32 i64) (result i32)))
(import "env" "proxy_record_metric" (func $record_metric (param i32 i64) (result i32)))
(import "env" "proxy_grpc_send" (func $grpc_send (param i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
(memory (export "memory") 4)
(global $heap (mut i32) (i32.const 65536))
;; What was given last lies where 16 says, and is as long as 20 says.
(func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
  (local $place i32)
  (local.set $place (global.get $heap))
  (global.set $heap (i32.add (global.get $heap) (local.get $size)))
  (local.get $place))
(func $place (result i32) (i32.load (i32.const 16)))
(func $size (result i32) (i32.load (i32.const 20)))
(func $add (param $map i32) (param $n i32) (param $ns i32) (param $v i32) (param $vs i32)
  (drop (call $add_header (local.get $map) (local.get $n) (local.get $ns) (local.get $v) (local.get $vs))))
;; Adds a header with a number of two digits.
(func $tell (param $map i32) (param $n i32) (param $ns i32) (param $value i32)
  (i32.store8 (i32.const 32) (i32.add (i32.const 48) (i32.div_u (local.get $value) (i32.const 10))))
  (i32.store8 (i32.const 33) (i32.add (i32.const 48) (i32.rem_u (local.get $value) (i32.const 10))))
  (call $add (local.get $map) (local.get $n) (local.get $ns) (i32.const 32) (i32.const 2)))
;; Adds a header with what was given last.
(func $tell_given (param $map i32) (param $n i32) (param $ns i32)
  (call $add (local.get $map) (local.get $n) (local.get $ns) (call $place) (call $size)))
;; Adds a request header with the value of a property, if there is one.
(func $tell_property (param $n i32) (param $ns i32) (param $p i32) (param $ps i32)
  (if (i32.eqz (call $get_property (local.get $p) (local.get $ps) (i32.const 16) (i32.const 20)))
    (then (call $tell_given (i32.const 0) (local.get $n) (local.get $ns)))))
(func $answer (param $status i32) (param $b i32) (param $bs i32)
  (drop (call $respond (local.get $status) (i32.const 0) (i32.const 0) (local.get $b) (local.get $bs)
    (i32.const 0) (i32.const 0) (i32.const -1))))
"#;

/// A module of ABI 0.2.1. Texts stand in it as `@"..."`, and mean two values: where they are, and how long.
pub(super) fn module(functions: &str) -> Vec<u8> {
    module_of("0_2_1", functions)
}

/// A module of this ABI.
pub(super) fn module_of(abi: &str, functions: &str) -> Vec<u8> {
    let version = format!("(func (export \"proxy_abi_version_{abi}\"))");
    let text = placed(&format!("{PRELUDE}{version}{functions}"));
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{functions}"))
}

/// Puts the texts into the memory.
fn placed(text: &str) -> String {
    let (mut place, mut data, mut out) = (1024, String::new(), String::new());
    let mut parts = text.split("@\"");
    out.push_str(parts.next().unwrap());
    for part in parts {
        let (literal, rest) = part.split_once('"').unwrap();
        let length = literal.replace("\\00", "0").len();
        out.push_str(&format!("(i32.const {place}) (i32.const {length}){rest}"));
        data.push_str(&format!("(data (i32.const {place}) \"{literal}\")"));
        place += length;
    }
    format!("(module {out}{data})")
}

/// A callback with two numbers that goes on.
pub(super) fn on(callback: &str, body: &str) -> String {
    format!(
        "(func (export \"proxy_on_{callback}\") (param $id i32) (param $n i32) (param $end i32) (result i32) {body})"
    )
}

/// The heads of requests are done this to, and go on.
pub(super) fn on_request(body: &str) -> String {
    on("request_headers", &format!("{body} (i32.const 0)"))
}
