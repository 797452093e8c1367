package capture

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"bipd/bip"
	"bipd/cat"
	"bipd/internal/testkit"
	"bipd/softuicc"
	"bipd/trace"
	"bipd/uicc"
)

const testTime = 30 * time.Second // bounds each thing that a test waits for

// record has a card run the applet, and writes its APDUs to a file.
func record(t *testing.T, applet softuicc.Applet) string {
	t.Helper()
	return recordWithHoles(t, applet, func(int, []byte) bool { return false })
}

// recordWithHoles is record with a reader that is too slow for the exchanges, counted from 0, that lose names.
func recordWithHoles(t *testing.T, applet softuicc.Applet, lose func(n int, capdu []byte) bool) string {
	t.Helper()
	before := runtime.NumGoroutine()
	path := filepath.Join(t.TempDir(), "trace.pcapng")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := NewWriter(f)
	if err != nil {
		t.Fatal(err)
	}
	card, err := softuicc.New(softuicc.Config{Applets: []softuicc.Applet{applet}, ThinkTime: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	n, lost := 0, 0
	tap := func(capdu, rapdu []byte, start time.Time, _ time.Duration) {
		n++
		if lose(n-1, capdu) {
			lost++
			return
		}
		if lost > 0 {
			hole := trace.LostEvent("bipd", lost, "the reader was too slow")
			hole.Time, lost = start, 0
			if err := w.Event(hole); err != nil {
				t.Error(err)
			}
		}
		e := trace.Event{Time: start, Card: "card0", APDU: hex.EncodeToString(capdu), RAPDU: hex.EncodeToString(rapdu)}
		if err := w.Event(e); err != nil {
			t.Errorf("%X %X: %v", capdu, rapdu, err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	session := cat.NewSession(uicc.Settle(card, tap), cat.Config{Name: "card0", Log: log, PollInterval: 20 * time.Millisecond})
	gateway := bip.New(session, bip.Config{Card: "card0", Router: &bip.Table{Method1: &bip.KernelBearer{}}, Log: log})
	gateway.Register(session)
	ctx, cancel := context.WithTimeout(t.Context(), 2*testTime)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- session.Run(ctx) }()
	if err := card.Wait(ctx); err != nil {
		t.Errorf("applet: %v", err)
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(testTime):
		t.Fatal("the session does not end")
	}
	gateway.Close()
	card.Close()
	if err := testkit.Goroutines(before); err != nil {
		t.Fatal(err)
	}
	return path
}

// tshark gives what the program makes of the file.
func tshark(t *testing.T, path string, args ...string) string {
	t.Helper()
	program, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("REQUIRE_PROGRAMS") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), program, append([]string{"-n", "-r", path}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark %q: %v", args, err)
	}
	return string(out)
}

// clean wants tshark to find no fault, and packets on the interface.
func clean(t *testing.T, path, network string) {
	t.Helper()
	if out := tshark(t, path, "-Y", "_ws.malformed || _ws.expert.severity >= warning || tcp.analysis.flags"); out != "" {
		t.Errorf("tshark finds faults:\n%s", out)
	}
	for filter, name := range map[string]string{"gsm_sim": "card", "tcp || udp.port != 4729": network} {
		seen := strings.Fields(tshark(t, path, "-Y", filter, "-T", "fields", "-e", "frame.interface_name"))
		if len(seen) < 2 {
			t.Errorf("%d packets are %q", len(seen), filter)
		}
		for _, s := range seen {
			if s != name {
				t.Fatalf("a packet that is %q is on the interface %q", filter, s)
			}
		}
	}
	last := 0.0
	for _, field := range strings.Fields(tshark(t, path, "-T", "fields", "-e", "frame.time_relative")) {
		var at float64
		if _, err := fmt.Sscan(field, &at); err != nil || at < last {
			t.Fatalf("a packet at %s after one at %v (%v)", field, last, err)
		}
		last = at
	}
}

// stream is what one side sent in the first TCP connection: lines of hex, those of the server indented.
func stream(t *testing.T, path string, fromServer bool) []byte {
	t.Helper()
	var all []byte
	for line := range strings.Lines(tshark(t, path, "-q", "-z", "follow,tcp,raw,0")) {
		if b, err := hex.DecodeString(strings.TrimSpace(line)); err == nil && strings.HasPrefix(line, "\t") == fromServer {
			all = append(all, b...)
		}
	}
	return all
}

// TestHTTP has an applet download over HTTP, and tshark find request and response in the capture.
func TestHTTP(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 1250)
	for _, mode := range []struct {
		name, listen, network string
		qualifier             byte
	}{
		{"immediate", "127.0.0.1:0", "bip-net", cat.OpenImmediate},
		{"background", "127.0.0.1:0", "bip-net", cat.OpenImmediate | cat.OpenBackground},
		{"on demand", "127.0.0.1:0", "bip-net", 0},
		{"IPv6", "[::1]:0", "bip-net6", cat.OpenImmediate},
	} {
		t.Run(mode.name, func(t *testing.T) {
			l, err := net.Listen("tcp", mode.listen)
			if err != nil {
				t.Skip(err)
			}
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", fmt.Sprint(len(body))) // not chunked
				w.Write(body)
			}))
			srv.Listener.Close()
			srv.Listener = l
			srv.Start()
			defer srv.Close()
			path := record(t, func(ctx context.Context, tk *softuicc.Toolkit) error {
				tr := &http.Transport{DialContext: tk.Dialer(softuicc.DialParams{Qualifier: mode.qualifier})}
				defer tr.CloseIdleConnections()
				resp, err := (&http.Client{Transport: tr}).Get(srv.URL + "/file")
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, body) {
					return fmt.Errorf("%d octets came, %v", len(got), err)
				}
				return nil
			})
			clean(t, path, mode.network)
			if got := stream(t, path, true); !bytes.HasPrefix(got, []byte("HTTP/1.1 200 OK\r\n")) || !bytes.HasSuffix(got, body) {
				t.Errorf("the server's side has %d octets: %.40q", len(got), got)
			}
			if got := stream(t, path, false); !bytes.HasPrefix(got, []byte("GET /file HTTP/1.1\r\n")) {
				t.Errorf("the client's side: %q", got)
			}
			if got := strings.TrimSpace(tshark(t, path, "-Y", "http.response", "-T", "fields", "-e", "http.response.code")); got != "200" {
				t.Errorf("HTTP responses: %q", got)
			}
			port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
			if got := strings.TrimSpace(tshark(t, path, "-Y", "tcp.flags.syn==1 && tcp.flags.ack==0", "-T", "fields", "-e", "tcp.dstport")); got != port {
				t.Errorf("connections to the ports %q, want %s", got, port)
			}
		})
	}
}

// TestDNS has an applet ask a name server over UDP: question and long answer are one datagram each.
func TestDNS(t *testing.T) {
	question, err := hex.DecodeString("123401000001000000000000" + "076578616d706c6503636f6d0000100001")
	if err != nil {
		t.Fatal(err)
	}
	answer := bytes.Clone(question)
	answer[2], answer[7] = 0x81, 2
	for range 2 { // longer than one RECEIVE DATA brings
		answer = append(answer, 0xC0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, 251, 250)
		answer = append(answer, bytes.Repeat([]byte("t"), 250)...)
	}
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	served := make(chan error, 1)
	go func() {
		buf := make([]byte, 512)
		n, from, err := server.ReadFrom(buf)
		if err == nil && !bytes.Equal(buf[:n], question) {
			err = fmt.Errorf("the question arrived as %X", buf[:n])
		}
		if err == nil {
			_, err = server.WriteTo(answer, from)
		}
		served <- err
	}()
	remote := netip.MustParseAddrPort(server.LocalAddr().String())
	path := record(t, func(ctx context.Context, tk *softuicc.Toolkit) error {
		c, err := tk.Dial(ctx, softuicc.DialParams{Transport: cat.UDPClientRemote, Remote: remote, Qualifier: cat.OpenImmediate})
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write(question); err != nil {
			return err
		}
		got := make([]byte, 1024)
		n, err := c.Read(got)
		if err == nil && !bytes.Equal(got[:n], answer) {
			err = fmt.Errorf("the answer came as %X", got[:n])
		}
		return err
	})
	server.Close() // where no question came
	if err := <-served; err != nil {
		t.Error(err)
	}
	clean(t, path, "bip-net")
	got := tshark(t, path, "-d", fmt.Sprintf("udp.port==%d,dns", remote.Port()), "-Y", "dns", "-T", "fields",
		"-e", "dns.flags.response", "-e", "dns.qry.name", "-e", "dns.count.answers")
	if got != "0\texample.com\t0\n1\texample.com\t2\n" {
		t.Errorf("tshark reads these DNS messages:\n%s", got)
	}
}
