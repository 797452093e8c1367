package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"bipd/cat"
	"bipd/internal/netbed"
	"bipd/softuicc"
	"bipd/trace"
)

// inside is the host that makes the connections.
func (s *stand) inside() *netbed.Host {
	if s.net.method == trace.Method2 {
		return s.net.ap
	}
	return s.net.cp
}

// serve runs a TCP server on the internet host; handle has each connection on a goroutine of its own, and is to return
// when the connection fails. At the end of the test all connections are closed.
func (s *stand) serve(port int, handle func(c *net.TCPConn)) {
	s.Helper()
	l, err := s.net.internet.Listen(s.ctx, "tcp", s.server(port))
	if err != nil {
		s.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conns := make(map[net.Conn]chan struct{})
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			done := make(chan struct{})
			conns[c] = done
			go func() {
				defer close(done)
				defer c.Close()
				handle(c.(*net.TCPConn))
			}()
		}
		for c, done := range conns {
			c.Close()
			<-done
		}
	}()
	s.Cleanup(func() {
		l.Close()
		<-ended
	})
}

// download is what a card does on a sound network: it sends a word and gets it back behind data.
func (s *stand) download(ctx context.Context, tk *softuicc.Toolkit, port int) error {
	c, err := tk.Dialer(s.dial(background))(ctx, "tcp", s.server(port))
	if err != nil {
		return err
	}
	word := fmt.Sprintf("word %d", time.Now().UnixNano())
	if _, err := io.WriteString(c, word+"\n"); err != nil {
		return errors.Join(err, c.Close())
	}
	got, err := io.ReadAll(c)
	if err == nil && string(got) != strings.Repeat(word, 1000) {
		err = fmt.Errorf("%d octets came back, want %d", len(got), 1000*len(word))
	}
	return errors.Join(err, c.Close())
}

// repeatWord is the server of download.
func repeatWord(c *net.TCPConn) {
	var word []byte
	b := make([]byte, 1)
	for {
		if _, err := c.Read(b); err != nil {
			return
		}
		if b[0] == '\n' {
			c.Write(bytes.Repeat(word, 1000))
			return
		}
		word = append(word, b[0])
	}
}

const wordPort = 7000

// refusalConfigs has the time for a connection; the CP waits for its AP longer than that does for the server. The rule is
// that of the daemon that makes the connection.
func refusalConfigs(method trace.Method, limit time.Duration, rule string) map[string]string {
	cp := limit
	if method == trace.Method2 {
		cp += 10 * time.Second
	}
	more := map[string]string{
		"bipd.toml": fmt.Sprintf("connect_timeout = \"%v\"\n", cp), // the file ends in [terminal]
		"apd.toml":  fmt.Sprintf("[proxy]\nconnect_timeout = \"%v\"\n%s", limit, nowhereRule),
	}
	more["bipd.toml rules"], more["apd.toml rules"] = nowhereRule, rule
	if method == trace.Method1 {
		more["bipd.toml rules"] = rule + nowhereRule
	}
	return more
}

// nowhereRule allows what no route leads to.
const nowhereRule = "[[egress.rule]]\naction = \"allow\"\nprefix = [\"198.51.100.0/24\"]\n"

const denyRule = "[[egress.rule]]\naction = \"deny\"\nprefix = [\"203.0.113.80\"]\nports = [\"7070-7079\"]\n"

// refusal is a destination that a card cannot reach.
type refusal struct {
	destination string
	info        byte     // additional information on 3A, ETSI TS 102 223 clause 8.12.11
	deciding    []string // in one line of the log of the daemon that makes the connection, or that denies it
	deniedByCP  bool     // by method 2 too, without asking the AP
}

// Each cause has its answer to the card and its line in the log, and does not hinder the next connection.
func TestRefusals(t *testing.T) {
	needNamespaces(t)
	for _, m := range []trace.Method{trace.Method1, trace.Method2} {
		t.Run(fmt.Sprintf("method%d", m), func(t *testing.T) {
			t.Parallel()
			s := newStand(t, m, refusalConfigs(m, within, denyRule))
			s.serve(7075, repeatWord)
			s.refuses(
				refusal{s.server(81), cat.BIPNoSpecificCause, []string{s.server(81), "refused"}, false},
				refusal{"198.51.100.1:80", cat.BIPNoSpecificCause, []string{"198.51.100.1:80", "unreachable"}, false},
				refusal{"203.0.113.99:80", cat.BIPNoSpecificCause, []string{"203.0.113.99:80", "no route to host"}, false},
				refusal{s.server(7075), cat.BIPSecurityError, []string{s.server(7075), "rule 1 (deny 203.0.113.80/32) of " + s.dir}, false},
				refusal{"127.0.0.1:80", cat.BIPSecurityError, []string{"127.0.0.1:80", "default: loopback (an allow rule of " + s.dir + "/bipd.toml"}, true},
				refusal{"169.254.169.254:80", cat.BIPSecurityError, []string{"169.254.169.254:80", "default: link-local (an allow rule of " + s.dir + "/bipd.toml"}, true},
			)
		})
		// On a stand of its own: for the others the time for a connection is too long to be waited for.
		t.Run(fmt.Sprintf("method%d silence", m), func(t *testing.T) {
			t.Parallel()
			s := newStand(t, m, refusalConfigs(m, 2*time.Second, ""))
			s.refuses(refusal{silentHost + ":80", cat.BIPNoSpecificCause, []string{silentHost + ":80", "i/o timeout"}, false})
		})
	}
}

const silentHost = "203.0.113.98"

// refuses has a card try each destination.
func (s *stand) refuses(list ...refusal) {
	s.Helper()
	s.serve(wordPort, repeatWord)
	s.silence(silentHost)
	for _, r := range list {
		decides := s.term.cp
		if s.net.method == trace.Method2 && !r.deniedByCP {
			decides = s.term.ap
		}
		refused := func(ctx context.Context, tk *softuicc.Toolkit) error { return s.refused(ctx, tk, r) }
		cause := r.deciding[1]
		if err := s.use(refused, sight{cause, func(e trace.Event) bool { return strings.Contains(e.Err, cause) }}); err != nil {
			s.Errorf("%s: %v", r.destination, err)
		}
		s.logged(decides, r.deciding...)
		s.logged(s.term.cp, r.destination)
	}
}

// silence makes a host on the link that gets packets and never answers. Other hosts that do not exist are looked for in
// vain, though not for the three seconds that the kernel takes its time.
func (s *stand) silence(silent string) {
	s.Helper()
	const link = "to-internet"
	if err := s.inside().Sysctl("net.ipv4.neigh."+link+".retrans_time_ms", "50"); err != nil {
		s.Fatal(err)
	}
	if err := s.inside().Do(func() error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		return netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT,
			IP: net.ParseIP(silent), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}})
	}); err != nil {
		s.Fatal(err)
	}
}

// refused opens a channel that waits for its link, one in background mode, and then one that works.
func (s *stand) refused(ctx context.Context, tk *softuicc.Toolkit, r refusal) error {
	_, err := tk.Dialer(s.dial(cat.OpenImmediate))(ctx, "tcp", r.destination)
	var result *softuicc.ResultError
	if !errors.As(err, &result) || result.Result.General != cat.ResultBIPError || !slices.Equal(result.Result.Info, []byte{r.info}) {
		return fmt.Errorf("immediate link: %v, want 3A %02X", err, r.info)
	}
	c, err := tk.Dialer(s.dial(background))(ctx, "tcp", r.destination)
	if err == nil {
		return errors.Join(errors.New("background mode: connected"), c.Close())
	}
	if errors.As(err, &result) && !slices.Equal(result.Result.Info, []byte{r.info}) {
		return fmt.Errorf("background mode: %w, want 3A %02X", err, r.info)
	}
	return s.download(ctx, tk, wordPort)
}
