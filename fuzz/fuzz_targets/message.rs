#![no_main]

use libfuzzer_sys::fuzz_target;

#[global_allocator]
static HEAP: pillarbox_fuzz_harness::heap::Counting = pillarbox_fuzz_harness::heap::Counting;

fuzz_target!(|data: &[u8]| pillarbox_fuzz_harness::message::message(data));
