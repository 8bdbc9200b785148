//! What reading one request head costs: ours, httparse alone (the floor under both), and monoio-http's decoder. Not a load
//! test. Invariant: all three read the same bytes, a browser-like request with 12 fields, and their results are used.
#![allow(missing_docs, reason = "criterion's macros make the items")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a benchmark may fail loudly"
)]

use std::hint::black_box;
use std::mem::MaybeUninit;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dbpower_gateway::http1::{HEAD_BYTES_MAX, Scratch, head_end, parse_request, write};
use monoio_codec::Decoder;
use monoio_http::h1::codec::decoder::RequestHeadDecoder;

const HEAD: &[u8] = b"POST /api/v1/measurements?from=2024-01-15&to=2024-01-16 HTTP/1.1\r\n\
Host: gateway.example.com\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
Accept: application/json, text/plain, */*\r\n\
Accept-Language: en-US,en;q=0.5\r\n\
Accept-Encoding: gzip, deflate, br\r\n\
Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjMiLCJvcmdhbml6YXRpb25faWQiOjEsImV4cCI6MTk5OTk5OTk5OX0.c2lnbmF0dXJlLXNpZ25hdHVyZS1zaWduYXR1cmU\r\n\
Content-Type: application/json\r\n\
Content-Length: 42\r\n\
Origin: https://app.example.com\r\n\
Connection: keep-alive\r\n\
Referer: https://app.example.com/dashboard\r\n\
X-Request-ID: 0b9f1f6e-5d3c-4a58-9d55-7f3a3b2c1d0e\r\n\r\n";

fn heads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("head");
    group.bench_function("gateway: end, parse", |bench| {
        bench.iter(|| {
            let buf = black_box(HEAD);
            let end = head_end(buf, &mut 0, HEAD_BYTES_MAX).unwrap().unwrap();
            let mut scratch = Scratch::new();
            let request = parse_request(&buf[..end], &mut scratch).unwrap();
            black_box((request.target.len(), request.fields.len(), request.body))
        });
    });
    group.bench_function("gateway: end, parse, write anew", |bench| {
        let mut out = Vec::with_capacity(HEAD_BYTES_MAX);
        bench.iter(|| {
            let buf = black_box(HEAD);
            let end = head_end(buf, &mut 0, HEAD_BYTES_MAX).unwrap().unwrap();
            let mut scratch = Scratch::new();
            let request = parse_request(&buf[..end], &mut scratch).unwrap();
            out.clear();
            write::request_line(&mut out, request.method_text, &[""], request.target);
            write::copy_fields(&mut out, request.head, request.fields, |field| !field.hop);
            write::end(&mut out);
            black_box(out.len())
        });
    });
    group.bench_function("httparse alone, uninitialised fields", |bench| {
        bench.iter(|| {
            let mut lines = [const { MaybeUninit::uninit() }; 100];
            let mut request = httparse::Request::new(&mut []);
            request
                .parse_with_uninit_headers(black_box(HEAD), &mut lines)
                .unwrap();
            black_box(request.headers.len())
        });
    });
    group.bench_function("monoio-http RequestHeadDecoder", |bench| {
        bench.iter_batched_ref(
            || BytesMut::from(HEAD),
            |buf| black_box(RequestHeadDecoder.decode(black_box(buf)).unwrap()),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, heads);
criterion_main!(benches);
