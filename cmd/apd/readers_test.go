package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"bipd/trace"
)

// Forty readers of events that do not read cost neither the cards anything nor bipd more than a bounded amount of memory.
// One that begins to read hears how many events it has lost, and goes on.
func TestReadersThatDoNotRead(t *testing.T) {
	s := newKillStand(t)
	s.dialIn()
	file, socket := filepath.Join(s.dir, "bipd.toml"), filepath.Join(s.dir, "bipd.sock")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, strings.Replace(string(text), "socket = \"\"", fmt.Sprintf("socket = %q", socket), 1))
	s.start("apd")
	s.start("bipd")
	s.awaitLoading()
	before := resident(t, s)

	events := func() (*http.Response, *bufio.Reader) {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		fmt.Fprint(conn, "GET /v1/events HTTP/1.1\r\nHost: daemon\r\n\r\n")
		in := bufio.NewReader(conn)
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		return resp, bufio.NewReader(resp.Body)
	}
	next := func(in *bufio.Reader) trace.Event {
		t.Helper()
		line, err := in.ReadBytes('\n')
		var e trace.Event
		if err == nil {
			err = json.Unmarshal(line, &e)
		}
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	_, counting := events()
	_, sleeper := events()
	for range 39 {
		events()
	}
	const n = 100_000
	for seen := 0; seen < n; {
		seen += max(next(counting).Lost, 1)
	}
	after := resident(t, s)
	t.Logf("%d MB before, %d MB after %d events that were not read", before>>20, after>>20, n)
	if after > before+150<<20 {
		t.Errorf("the readers cost %d MB", (after-before)>>20)
	}
	s.awaitLoading()
	lost := 0
	for lost == 0 {
		lost = next(sleeper).Lost
	}
	if e := next(sleeper); e.Lost != 0 || e.What == "" {
		t.Errorf("behind the %d lost ones: %+v", lost, e)
	}
	s.stop("apd")
	s.stop("bipd")
}

// resident is bipd's resident memory, in octets.
func resident(t *testing.T, s *killStand) int {
	t.Helper()
	kB, err := strconv.Atoi(strings.TrimSuffix(s.memory("bipd"), " kB"))
	if err != nil {
		t.Fatal(err)
	}
	return kB << 10
}
