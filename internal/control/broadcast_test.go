package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"bipd/internal/testkit"
	"bipd/trace"
)

// rawReader asks for the events, and reads nothing but the head of the answer. Its Body is not to be closed, which would read
// to the end.
func rawReader(t *testing.T, path string) *http.Response {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET /v1/events HTTP/1.1\r\nHost: daemon\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// flood emits numbered events, as large as one with an APDU and its response can be.
func flood(stream *trace.Stream, from, n int) {
	apdu := strings.Repeat("80", 260)
	for i := range n {
		stream.Emit(trace.Event{From: trace.CP, To: trace.UICC, Bytes: from + i, APDU: apdu, RAPDU: apdu})
	}
}

// A reader that does not read loses the oldest events, and finds in their place how many; nothing else is missing, and
// the newest event comes last.
func TestSlowReader(t *testing.T) {
	testkit.NoLeaks(t)
	stream := &trace.Stream{Source: "bipd"}
	path := serve(t, source{}, stream)
	slow := rawReader(t, path)
	const n = 60_000 // about 75 MB
	flood(stream, 1, n)
	lines := bufio.NewReader(slow.Body)
	got, lost, holes := 0, 0, 0
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		var e trace.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if e.What == "the last" {
			break
		}
		switch {
		case e.Lost > 0:
			lost += e.Lost
			holes++
			if e.What != fmt.Sprintf("%d events lost", e.Lost) || e.Err == "" || e.Source != "bipd" {
				t.Errorf("the hole is told as %+v", e)
			}
		default:
			if got++; e.Bytes != got+lost {
				t.Fatalf("event %d behind %d events and %d lost ones", e.Bytes, got-1, lost)
			}
		}
		if got+lost == n {
			stream.Emit(trace.Event{From: trace.CP, To: trace.UICC, What: "the last"})
		}
	}
	if got+lost != n || lost < n/2 || holes == 0 || holes > 20 {
		t.Errorf("%d events, %d lost in %d holes; %d were emitted", got, lost, holes, n)
	}
}

// What is kept for a reader that does not read is bounded, and what was dropped is told to it, in one place and in full.
func TestBacklog(t *testing.T) {
	testkit.NoLeaks(t)
	stream := &trace.Stream{Source: "bipd"}
	b := &broadcast{stream: stream}
	join := func() *eventReader {
		r, err := b.join()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	slow, reading := join(), join()
	defer b.leave(slow)
	defer b.leave(reading)
	const chunks, chunk = 16, 1000 // 20 MB, at the pace of the reader that reads
	for i := range chunks {
		flood(stream, i*chunk, chunk)
		for lines := 0; lines < chunk; {
			receive(t, "more lines", reading.wake)
			for text := b.take(reading); text != nil; text = b.take(reading) {
				lines += bytes.Count(text, []byte("\n"))
			}
		}
	}
	b.mu.Lock()
	size := b.size
	b.mu.Unlock()
	if size > backlogSize {
		t.Errorf("%d octets are kept, want %d at most", size, backlogSize)
	}
	var text []byte
	for more := b.take(slow); more != nil; more = b.take(slow) {
		text = append(text, more...)
	}
	events, err := trace.DecodeAll(bytes.NewReader(text))
	if err != nil || len(events) == 0 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	lost := events[0].Lost
	if lost == 0 || lost+len(events)-1 != chunks*chunk {
		t.Errorf("%d events lost at first, and %d more of %d", lost, len(events)-1, chunks*chunk)
	}
	for i, e := range events[1:] {
		if e.Lost != 0 || e.Bytes != lost+i {
			t.Fatalf("event %d behind %d lost ones: %d, %d more lost", i, lost, e.Bytes, e.Lost)
		}
	}
}

// However many do not read, they cost a bounded amount of memory, and readers that are too many are told so.
func TestManySlowReaders(t *testing.T) {
	stream := &trace.Stream{Source: "bipd"}
	path := serve(t, source{}, stream)
	before := heap()
	got := make(chan int, 1)
	c := NewClient(path)
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready := make(chan struct{})
	go func() {
		seen := 0
		_ = c.Events(ctx, func() { close(ready) }, func(e trace.Event) {
			if seen += max(e.Lost, 1); seen%1000 == 0 {
				got <- seen
			}
		})
	}()
	receive(t, "the answer to the reader that reads", ready)
	refused := 0
	for range 40 {
		switch resp := rawReader(t, path); resp.StatusCode {
		case http.StatusOK:
		case http.StatusServiceUnavailable:
			refused++
		default:
			t.Errorf("a reader got %s", resp.Status)
		}
	}
	if refused != 41-maxReaders {
		t.Errorf("%d readers refused", refused)
	}
	late := NewClient(path)
	defer late.Close()
	err := late.Events(within(t), func() {}, func(trace.Event) {})
	if err == nil || !strings.Contains(err.Error(), "32 clients read events already") {
		t.Errorf("one more hears %v", err)
	}
	for i := range 20 { // at the pace of the reader that reads
		flood(stream, 1000*i, 1000)
		receive(t, "the events", got)
	}
	if after := heap(); after > before+3*backlogSize {
		t.Errorf("the readers cost %d MB of memory", (after-before)>>20)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A place is free again when a reader leaves, and nothing is kept without readers.
func TestReaderLeaves(t *testing.T) {
	testkit.NoLeaks(t)
	stream := &trace.Stream{Source: "bipd"}
	b := &broadcast{stream: stream}
	for range 3 {
		var readers []*eventReader
		for range maxReaders {
			r, err := b.join()
			if err != nil {
				t.Fatal(err)
			}
			readers = append(readers, r)
		}
		if _, err := b.join(); !errors.Is(err, errReaders) {
			t.Errorf("one reader more: %v", err)
		}
		stream.Emit(trace.Event{From: trace.CP, To: trace.UICC, What: "one"})
		receive(t, "a line", readers[0].wake)
		if text := string(b.take(readers[0])); strings.Count(text, "one") != 1 || b.take(readers[0]) != nil {
			t.Errorf("the reader got %q", text)
		}
		for _, r := range readers {
			b.leave(r)
		}
		if stream.Wanted() || b.lines != nil {
			t.Error("events are kept for nobody")
		}
	}
}

// At the end of the daemon readers get what was emitted before it, and a clean end. One that does not read does not hold
// up the end, and its answer is visibly cut.
func TestReadersAtTheEnd(t *testing.T) {
	stream := &trace.Stream{Source: "bipd"}
	path := t.TempDir() + "/s"
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, path, 0, source{}, stream) }()
	waitFor(t, path)
	slow := rawReader(t, path)
	var got int
	ended := make(chan error, 1)
	ready := make(chan struct{})
	c := NewClient(path)
	defer c.Close()
	go func() {
		ended <- c.Events(within(t), func() { close(ready) }, func(e trace.Event) { got += max(e.Lost, 1) })
	}()
	receive(t, "the first answer", ready)
	flood(stream, 0, 300)
	cancel()
	if err := receive(t, "the reader's end", ended); err != nil || got != 300 {
		t.Errorf("the reader got %d events, and %v", got, err)
	}
	if err := receive(t, "the end of Serve", served); err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, slow.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the answer that was cut ended with %v", err)
	}
}

// A client that sends no body of a request is not waited for for ever.
func TestNoBody(t *testing.T) {
	before := clientTime
	t.Cleanup(func() { clientTime = before }) // after the end of the server
	clientTime = 100 * time.Millisecond
	path := serve(t, &operator{}, &trace.Stream{})
	ask := func() *http.Response {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /v1/cards/card0/apdu HTTP/1.1\r\nHost: daemon\r\nContent-Length: 20\r\n\r\n")
		answered := make(chan *http.Response, 1)
		go func() {
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err == nil {
				resp.Body.Close()
			}
			answered <- resp
		}()
		return receive(t, "the answer", answered)
	}
	resp := ask()
	for tries := 0; resp == nil && tries < 20; tries++ { // on a busy machine the head may have been too late
		resp = ask()
	}
	if resp == nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("got %+v", resp)
	}
}
