package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bipd/trace"
)

// Pages and captures are their owner's alone, whatever the umask and whatever was there before; what is no regular file is
// neither written nor replaced.
func TestCreatePrivate(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0)) // not parallel
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	err := errors.Join(os.WriteFile(at("precious"), []byte("keep"), 0o644), os.Symlink(at("precious"), at("link")),
		os.Symlink(at("nowhere"), at("dangling")), syscall.Mkfifo(at("fifo"), 0o666), os.WriteFile(at("old"), []byte("old and long"), 0o666),
		os.Link(at("old"), at("other")))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "dangling", "fifo", "."} {
		if _, err := createPrivate(at(name)); err == nil || !strings.Contains(err.Error(), "no regular file") {
			t.Errorf("%s: %v", name, err)
		}
		if err := writeLadders(screen{}, []trace.Event{{}}, false, at(name)); err == nil {
			t.Errorf("a page was written to %s", name)
		}
		if err := followCapture(t.Context(), nil, at(name)); err == nil {
			t.Errorf("a capture was written to %s", name)
		}
	}
	for _, name := range []string{"old", "new"} {
		if err := writeLadders(screen{}, []trace.Event{{From: trace.CP, To: trace.UICC, What: "hello"}}, false, at(name)); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(at(name))
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
		if b, _ := os.ReadFile(at(name)); !strings.Contains(string(b), "hello") || strings.Contains(string(b), "old and long") {
			t.Errorf("%s has %.60q", name, b)
		}
		if err := followCapture(t.Context(), nil, at(name)); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(at(name)); err != nil || st.Mode().Perm() != 0o600 || st.Size() == 0 {
			t.Errorf("capture %s: %v, %v", name, st, err)
		}
	}
	for name, want := range map[string]string{"precious": "keep", "other": "old and long"} {
		if b, err := os.ReadFile(at(name)); string(b) != want {
			t.Errorf("%s has %q, %v", name, b, err)
		}
	}
	if _, err := createPrivate(at("no such folder/x")); err == nil {
		t.Error("a folder that is not there is no error")
	}
	if left, _ := filepath.Glob(at(".*-*")); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
}

func TestReadHex(t *testing.T) {
	if got, err := readHex(strings.NewReader("00 20 00 01 08\n31323334 FFFFFFFF\n")); err != nil || got != "002000010831323334FFFFFFFF" {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"", " \n", strings.Repeat("0", maxHex+1)} {
		if _, err := readHex(strings.NewReader(bad)); err == nil {
			t.Errorf("%.10q is no error", bad)
		}
	}
}

// The events of a daemon that was killed make a ladder too; where that cannot be written is said before the first of them.
func TestLadderOfKilledDaemon(t *testing.T) {
	dir := t.TempDir()
	socket, page, link := filepath.Join(dir, "s"), filepath.Join(dir, "page"), filepath.Join(dir, "link")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close() // in the middle of the answer, as the kernel does for a process that was killed
		var line strings.Builder
		_ = trace.Encode(&line, trace.Event{Time: time.Now(), Source: "bipd", From: trace.CP, To: trace.UICC, What: "hello"})
		_, _ = conn.Read(make([]byte, 4096))
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", line.Len(), line.String())
	}()
	out, err := bipctl(t.Context(), t, dir, "trace", "-s", socket, "--ladder", "--html", page).CombinedOutput()
	if text, _ := os.ReadFile(page); err == nil || !strings.Contains(string(out), "hello") || !strings.Contains(string(text), "hello") {
		t.Errorf("%v: %s\npage: %.60q", err, out, text)
	}
	if err := os.Symlink(page, link); err != nil {
		t.Fatal(err)
	}
	for where, why := range map[string]string{link: "no regular file", filepath.Join(dir, "none", "page"): "no such file"} {
		out, err := bipctl(t.Context(), t, dir, "trace", "-s", filepath.Join(dir, "nobody"), "--html", where).CombinedOutput()
		if err == nil || !strings.Contains(string(out), why) || strings.Contains(string(out), "nobody") {
			t.Errorf("%s: %v: %s", where, err, out)
		}
	}
}
