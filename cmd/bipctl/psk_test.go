package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bipd/softuicc"
)

// The key of the pre-shared key suites, which cards offer for OTA over HTTPS (GlobalPlatform Amendment B).
const (
	pskKey      = "00112233445566778899aabbccddeeff"
	pskIdentity = "8986001200000000001"
)

// pskCase is one suite at one port of the server.
type pskCase struct {
	port     int
	ciphers  string // as openssl has it
	suite    uint16 // as the IANA registry has it
	fragment int    // RFC 6066 clause 4; 0 = not negotiated
}

// recordLimit is the largest record: 2^14 octets or the fragment negotiated, and what CBC and SHA-256 add.
func (c pskCase) recordLimit() int {
	const iv, mac, padding = 16, 32, 16
	if c.fragment == 0 {
		return 1<<14 + iv + mac + padding
	}
	return c.fragment + iv + mac + padding
}

// A card's own TLS stack is openssl s_client here: its records cross the applet, BIP, and in method 2 the multiplexer, to
// openssl s_server, which echoes each line reversed.
func TestPSK(t *testing.T) {
	needNamespaces(t)
	openssl, err := exec.LookPath("openssl")
	need(t, openssl, err)
	eachMethod(t, nil, func(s *stand) {
		for i, c := range []pskCase{
			{ciphers: "PSK-AES128-CBC-SHA256", suite: 0x00AE},
			{ciphers: "PSK-NULL-SHA256:@SECLEVEL=0", suite: 0x00B0},
			{ciphers: "PSK-AES128-CBC-SHA256", suite: 0x00AE, fragment: 512},
		} {
			c.port = 4433 + i
			s.startPSKServer(openssl, c)
			if !s.Run(fmt.Sprintf("%s/%d", c.ciphers, c.fragment), func(t *testing.T) {
				inner := *s
				inner.T = t
				inner.echoPSK(openssl, c)
				s.events = inner.events
			}) {
				return
			}
		}
	})
}

func (s *stand) startPSKServer(openssl string, c pskCase) {
	s.Helper()
	p, err := startProcess(context.WithoutCancel(s.ctx), s.net.internet, s.dir, openssl, "s_server", "-accept", s.server(c.port),
		"-nocert", "-psk", pskKey, "-psk_identity", pskIdentity, "-tls1_2", "-cipher", c.ciphers, "-no_ticket", "-rev")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(p.close)
	// Not a connection to try: this server serves one at a time.
	if err := p.until(s.ctx, func(context.Context) error {
		if n := strings.Count(s.log(p), "ACCEPT"); n < c.port-4432 {
			return errors.New("it accepts nothing")
		}
		return nil
	}); err != nil {
		s.Fatal(err)
	}
}

// echoPSK runs s_client over a channel, and compares what it gets with what it was given.
func (s *stand) echoPSK(openssl string, c pskCase) {
	local, err := net.Listen("unix", filepath.Join(s.dir, fmt.Sprintf("psk%d", c.port)))
	if err != nil {
		s.Fatal(err)
	}
	defer local.Close()
	local.(*net.UnixListener).SetDeadline(time.Now().Add(within)) // s_client may end without a connection
	args := []string{"s_client", "-unix", local.Addr().String(), "-psk", pskKey, "-psk_identity", pskIdentity, "-tls1_2",
		"-cipher", c.ciphers, "-quiet"}
	if c.fragment != 0 {
		args = append(args, "-maxfraglen", fmt.Sprint(c.fragment))
	}
	sent, want := pskLines()
	client := exec.CommandContext(s.ctx, openssl, args...)
	client.WaitDelay = within
	var stdout, stderr bytes.Buffer
	client.Stdin, client.Stdout, client.Stderr = strings.NewReader(sent+"CLOSE\n"), &stdout, &stderr
	if err := client.Start(); err != nil {
		s.Fatal(err)
	}
	peer, err := local.Accept()
	if err != nil {
		client.Process.Kill()
		s.Fatalf("s_client does not connect: %v; it ended: %v\n%s", err, client.Wait(), &stderr)
	}
	var up, down bytes.Buffer // what crosses the channel
	err = s.use(func(ctx context.Context, tk *softuicc.Toolkit) error {
		channel, err := tk.Dialer(s.dial(background))(ctx, "tcp", s.server(c.port))
		if err != nil {
			peer.Close()
			return err
		}
		return relay(peer, channel, &up, &down)
	})
	peer.Close() // where the card has not
	if err != nil {
		s.Error(err)
	}
	if err := client.Wait(); err != nil {
		s.Errorf("s_client: %v\n%s", err, &stderr)
	}
	if got := stdout.String(); got != want {
		s.Errorf("%d octets came back, want %d\n%s", len(got), len(want), &stderr)
	}
	checkRecords(s.T, "to the server", up.Bytes(), c)
	if hello := checkRecords(s.T, "from the server", down.Bytes(), c); hello != c.suite {
		s.Errorf("suite %04X, want %04X", hello, c.suite)
	}
}

// pskLines gives lines of all lengths up to 2000 octets, and what the server answers to them.
func pskLines() (sent, want string) {
	for n := 1; n <= 2000; n += 111 {
		line := []byte(strings.Repeat(fmt.Sprintf("%d, ", n), n)[:n])
		sent += string(line) + "\n"
		slices.Reverse(line)
		want += string(line) + "\n"
	}
	return sent, want
}

// relay copies both ways until the server has closed, and keeps a copy of each. The applet's own goroutine is the one that
// waits for s_client: the card then holds its answers back for what that is about to say, and need not await a poll.
func relay(peer, channel net.Conn, up, down io.Writer) error {
	received := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.MultiWriter(peer, down), channel)
		peer.Close()
		received <- err
	}()
	io.Copy(io.MultiWriter(channel, up), peer) // its end is that of peer
	select {
	case err := <-received:
		return errors.Join(err, channel.Close())
	case <-time.After(within): // s_client has ended, and the server does not
		return errors.Join(channel.Close(), <-received)
	}
}

// checkRecords wants whole TLS records (RFC 5246 clause 6.2.1) of no more than the case's length. It gives the suite of
// the ServerHello, where there is one.
func checkRecords(t *testing.T, what string, b []byte, c pskCase) (suite uint16) {
	t.Helper()
	const handshake, serverHello = 22, 2
	data := 0
	for len(b) > 0 {
		if len(b) < 5 || b[1] != 3 || len(b) < 5+int(binary.BigEndian.Uint16(b[3:])) {
			t.Errorf("%s: no whole TLS record: %x", what, b[:min(len(b), 20)])
			return suite
		}
		body := b[5 : 5+int(binary.BigEndian.Uint16(b[3:]))]
		if len(body) > c.recordLimit() {
			t.Errorf("%s: a record of %d octets, at most %d were agreed upon", what, len(body), c.recordLimit())
		}
		if b[0] == handshake && len(body) > 39 && body[0] == serverHello { // type, length 3, version 2, random 32, session id
			if id := 38 + 1 + int(body[38]); len(body) >= id+2 {
				suite = binary.BigEndian.Uint16(body[id:])
			}
		}
		if b[0] == 23 {
			data += len(body)
		}
		b = b[5+len(body):]
	}
	if data < 10000 {
		t.Errorf("%s: %d octets of application data only", what, data)
	}
	return suite
}
